"""The ordered class list that data, model and scores share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from utils.errors import DataError, nearest
from utils.files import write_text
from utils.names import name_problem, portable_name, shown
from utils.yaml_file import LARGEST_RECORD, read_yaml

CLASSES_FILE = "classes.yaml"


def folder_name(class_name: str) -> str:
    """Return the folder of a class: the stripped name, inner blanks kept, ``-`` for ``/`` and ``<>:"|?*``, no dot last.

    Trees move between systems, and not all can hold those characters.
    """
    return portable_name(class_name.strip())


@dataclass(frozen=True)
class ClassMap:
    """Ordered classes.

    Attributes:
        names: class names; a class's index is its position.
        folders: folder names, in the same order.
        ambiguous: names of the classes that cannot be told apart without their surroundings.
        supercategories: class name to group name, for all classes or for none.

    Raises:
        DataError: if a name or a folder occurs twice (case and blanks aside), cannot be one folder inside a tree, or
            an ambiguous name is unknown.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    ambiguous: tuple[str, ...] = ()
    supercategories: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("the class list is empty; a classifier needs at least two classes")
        seen: dict[str, str] = {}
        for name, folder in zip(self.names, self.folders, strict=True):
            if problem := name_problem(folder_name(name)) or name_problem(folder):
                raise DataError(f"class {shown(name)} in folder {shown(folder)}: one of them {problem}; rename it")
            key = " ".join(folder.lower().split())
            if key in seen:
                raise DataError(
                    f"classes '{seen[key]}' and '{name}' differ only by blanks, case or a slash (or <>:\"|?*) and "
                    f"would share a folder; rename one of them"
                )
            seen[key] = name
        for name in self.ambiguous:
            self.index(name)

    @classmethod
    def from_names(
        cls, names: Iterable[str], ambiguous: Iterable[str] = (), supercategories: dict[str, str] | None = None
    ) -> "ClassMap":
        """Build a class map whose folders follow from the names."""
        stripped = tuple(name.strip() for name in names)
        folders = tuple(folder_name(name) for name in stripped)
        return cls(stripped, folders, tuple(ambiguous), dict(supercategories or {}))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of a class name; a ``DataError`` with the nearest names where it is unknown."""
        try:
            return self.names.index(name)
        except ValueError:
            raise DataError(f"no class is called '{name}'{nearest(name, self.names)}") from None

    @property
    def ambiguous_indices(self) -> tuple[int, ...]:
        """Indices of the ambiguous classes."""
        return tuple(self.index(name) for name in self.ambiguous)

    def without(self, excluded: Iterable[str]) -> "ClassMap":
        """Return the class map less some classes, in the same order."""
        gone = {self.index(name) for name in excluded}
        kept = [i for i in range(len(self)) if i not in gone]
        if not kept:
            raise DataError(f"data.exclude leaves none of the {len(self)} classes; a classifier needs at least two")
        names = tuple(self.names[i] for i in kept)
        return ClassMap(
            names,
            tuple(self.folders[i] for i in kept),
            tuple(name for name in self.ambiguous if name in names),
            {name: group for name, group in self.supercategories.items() if name in names},
        )

    def save(self, path: Path) -> None:
        """Write ``classes.yaml``."""
        document: dict[str, Any] = {
            "classes": [
                {"name": name, "folder": folder}
                | ({"supercategory": self.supercategories[name]} if name in self.supercategories else {})
                for name, folder in zip(self.names, self.folders, strict=True)
            ],
            "ambiguous": list(self.ambiguous),
        }
        write_text(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    @classmethod
    def load(cls, path: Path) -> "ClassMap":
        """Read ``classes.yaml``; a ``DataError`` names the file and what is wrong with it."""
        document = read_yaml(path, "class file", DataError, largest=LARGEST_RECORD)
        try:
            rows = [_texts(row) for row in document["classes"]]
            return cls(
                tuple(row["name"] for row in rows),
                tuple(row["folder"] for row in rows),
                tuple(_text(name) for name in document.get("ambiguous") or ()),
                {row["name"]: row["supercategory"] for row in rows if "supercategory" in row},
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{path} is not a class file ({reason}); it needs 'classes: [{{name: …, folder: …}}, …]' and "
                f"'ambiguous: […]', as preprocess_foodseg103.py writes it"
            ) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text; put it in quotes")
    return value


def _texts(row: object) -> dict[str, str]:
    if not isinstance(row, dict):
        raise TypeError(f"{row!r} is no '{{name: …, folder: …}}'")
    return {key: _text(row[key]) for key in ("name", "folder", *(("supercategory",) if "supercategory" in row else ()))}
