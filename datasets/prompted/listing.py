"""A prompt file and a folder of photos in; photos with their prompts out, or everything that is wrong with them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.class_file import check_class_names, folder_problem
from datasets.links import LinkGuard
from datasets.prompted.cells import LARGEST, default_labels, read_box, read_labels, read_points, seen
from datasets.prompted.photos import PromptedObject, PromptedPhoto
from datasets.prompted.table import NEEDED, Row, read_rows
from segmenters.prompts import Prompt
from utils.errors import DataError, nearest, problem_list
from utils.names import name_problem, path_problem, shown

DEFAULT_SPLIT = "train"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_MOST_PROBLEMS = 200  # a column that slipped makes one of every row
_TEXTS = ("photo", "class", "split", "group")


def list_prompts(
    path: Path, root: Path, allowed: Sequence[str] | None = None
) -> tuple[tuple[PromptedPhoto, ...], list[str]]:
    """Read a prompt file. No photo is opened: whether prompts lie inside it is seen when it is cut.

    Args:
        path: of the prompt file.
        root: folder of the photos.
        allowed: names of the classes that may occur; None allows any.

    Returns:
        The photos, sorted by split and stem; and the names of their classes, in the order in which they come.

    Raises:
        DataError: with every problem at once: rows that cannot be read, unknown classes, photos that are absent or
            lie outside of the folder, two photos with one stem in a split, photos with two splits or groups.
    """
    if not root.is_dir():
        raise DataError(f"--src {root} is not a folder; give the folder of the photos that {path} names")
    listing = _Listing(path, root, allowed)
    for row in read_rows(path, listing.problems):
        listing.add(row)
    photos = listing.photos()
    if not listing.count and not listing.problems:
        listing.problems.append("it has no row; give one for each object")
    if listing.problems:
        shown_ones, more = listing.problems[:_MOST_PROBLEMS], len(listing.problems) - _MOST_PROBLEMS
        raise DataError(
            problem_list(f"prompts {path}", shown_ones + ([f"… and {more:,} more, not shown"] if more > 0 else []))
        )
    return photos, list(listing.classes)


def read_prompt(row: Row, problems: list[str]) -> Prompt | None:
    """Return the prompt of a row; None, with its problems noted, where it cannot be one in any photo."""
    before = len(problems)
    values: dict[str, Any] = {}
    for name, read in (("points", read_points), ("labels", read_labels), ("box", read_box)):
        try:
            values[name] = read(row.cells[name]) if name in row.cells else None
        except ValueError as error:
            problems.append(f"{row.where}: '{name}': {error}")
    if len(problems) > before:
        return None
    points = values["points"] or ()
    labels = default_labels(points) if values["labels"] is None else values["labels"]
    prompt = Prompt(points, labels, values["box"])
    problems += [f"{row.where}: {problem}" for problem in prompt.problems(int(LARGEST), int(LARGEST))]
    return None if len(problems) > before else prompt


@dataclass
class _Photo:
    """What rows say of one photo; the first of them decides."""

    where: str
    split: str
    group: str | None
    objects: list[PromptedObject] = field(default_factory=list)


@dataclass
class _Listing:
    path: Path
    root: Path
    allowed: Sequence[str] | None
    problems: list[str] = field(default_factory=list)
    classes: dict[str, None] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self._guard = LinkGuard(self.root)
        self._photos: dict[str, _Photo] = {}
        self._absent: set[str] = set()

    def add(self, row: Row) -> None:
        """Take a row, or note what is wrong with it."""
        self.count += 1
        texts = self._texts(row)
        prompt = read_prompt(row, self.problems)
        if texts is None:
            return
        name = texts["photo"].removeprefix("./")
        self._check_class(row.where, texts["class"])
        if not self._photo_is_there(row.where, name):
            return
        split, group = texts.get("split", DEFAULT_SPLIT), texts.get("group")
        photo = self._photos.setdefault(name, _Photo(row.where, split, group))
        if photo.where == row.where:
            self._check_names(photo)
        for what, first, second in (("split", photo.split, split), ("group", photo.group, group)):
            if first != second:
                said = f"{name} has the {what} {_said(second)}, but {_said(first)} in {photo.where}"
                self.problems.append(f"{row.where}: {said}; keep one")
        if prompt is not None:
            photo.objects.append(PromptedObject(texts["class"], prompt, row.where))

    def photos(self) -> tuple[PromptedPhoto, ...]:
        """Return the photos; two with one stem in a split are a problem."""
        found: list[str] = []
        check_class_names(self.path, self.classes, found)
        self.problems += [problem.removeprefix(f"{self.path}: ") for problem in found]  # the title names it
        by_key: dict[tuple[str, str], PromptedPhoto] = {}
        for name, photo in self._photos.items():
            stem = _stem(name)
            group = photo.group or f"{photo.split}/{stem}"
            listed = PromptedPhoto(photo.split, stem, name, group, tuple(photo.objects))
            other = by_key.setdefault((photo.split, stem), listed)
            if other is not listed:
                self.problems.append(
                    f"{photo.where}: {name} and {other.photo} share the stem '{stem}' in {photo.split}; rename one"
                )
        return tuple(by_key[key] for key in sorted(by_key))

    def _texts(self, row: Row) -> dict[str, str] | None:
        """Return the texts of a row; None, with the problem noted, where one is missing or none."""
        found = {name: row.cells[name] for name in _TEXTS if name in row.cells}
        wrong = [name for name, value in found.items() if not isinstance(value, str)]
        self.problems += [
            f"{row.where}: '{name}' is {seen(found[name])}, not a text; put it in quotes" for name in wrong
        ]
        found = {name: value.strip() for name, value in found.items() if name not in wrong}
        missing = [name for name in NEEDED if not found.get(name) and name not in wrong]
        self.problems += [f"{row.where}: '{name}' is empty; fill it" for name in missing]
        return None if wrong or missing else {name: text for name, text in found.items() if text}

    def _photo_is_there(self, where: str, name: str) -> bool:
        """Return whether a photo can be used, and note why not."""
        if name in self._photos or name in self._absent:
            return name in self._photos
        before = len(self.problems)
        if problem := path_problem(name):
            self.problems.append(f"{where}: the photo {shown(name)} {problem}; give its path below --src, with '/'")
        elif problem := self._guard.problem(self.root / name):
            self.problems.append(f"{where}: {problem}")
        elif not (self.root / name).is_file():
            self._absent.add(name)
            self.problems.append(f"{where}: {self.root / name} does not exist; copy it there or remove the row")
        return len(self.problems) == before

    def _check_names(self, photo: _Photo) -> None:
        if problem := name_problem(photo.split):
            self.problems.append(f"{photo.where}: the split {shown(photo.split)} {problem}; rename it")
        if photo.group is not None and not photo.group.isprintable():
            self.problems.append(f"{photo.where}: the group {shown(photo.group)} cannot be printed; rename it")

    def _check_class(self, where: str, name: str) -> None:
        if self.allowed is not None and name not in self.allowed:
            hint = nearest(name[:80], self.allowed)
            self.problems.append(f"{where}: the class {shown(name)} is not among those of --classes{hint}")
        elif problem := folder_problem(name):
            self.problems.append(f"{where}: the class {shown(name)} cannot be a folder's name: it {problem}; rename it")
        else:
            self.classes.setdefault(name)


def _said(text: str | None) -> str:
    return "none" if text is None else shown(text)


def _stem(name: str) -> str:
    """Return a photo's file name without its suffix, if it has one of a picture; dots inside the name stay."""
    file = name.rpartition("/")[2]
    stem, suffix = os.path.splitext(file)  # noqa: PTH122  # a name, not a path on this machine
    return stem if suffix.lower() in _SUFFIXES else file
