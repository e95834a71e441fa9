"""What is known of FoodSeg103's classes beyond their ids: supercategories and the ambiguous pair."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from datasets.classes import ClassMap
from utils.errors import ConfigError, nearest, problem_list
from utils.yaml_file import load_yaml

CLASSES_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "FoodSeg103.yaml"


@cache
def _config() -> dict[str, Any]:
    return load_yaml(CLASSES_CONFIG)


def foodseg103_classes() -> ClassMap:
    """Return the 103 published classes, in the order of their ids, with supercategories."""
    rows = _config()["classes"]
    return ClassMap.from_names(
        [row["name"] for row in rows], supercategories={row["name"]: row["supercategory"] for row in rows}
    )


def default_ambiguous() -> tuple[str, ...]:
    """Return the names of the paper's two ambiguous classes, which FoodSeg103 itself does not hold."""
    return tuple(row["name"] for row in _config()["ambiguous"])


def known_supercategories() -> dict[str, str]:
    """Return the supercategory of every class in ``configs/FoodSeg103.yaml``."""
    return {row["name"]: row["supercategory"] for part in ("classes", "ambiguous") for row in _config()[part]}


def build_class_map(
    names: Sequence[str],
    base: ClassMap | None,
    ambiguous: Sequence[str] | None,
    say: Callable[[str], None],
    option: str = "--ambiguous",
) -> ClassMap:
    """Return the class map of a tree or an archive.

    Args:
        names: class names of the archive, in the order of their ids.
        base: classes that the tree has already; their indices stay, new names go to the end.
        ambiguous: names of ambiguous classes, each of which must exist; None takes those of the default pair that do.
        say: takes a line for the user.
        option: what the user calls ``ambiguous``.

    Raises:
        ConfigError: where an ambiguous name is given that no class has.
    """
    merged = list(base.names) if base else []
    merged += [name for name in names if name not in merged]
    wanted = default_ambiguous() if ambiguous is None else tuple(ambiguous)
    unknown = [name for name in wanted if name not in merged]
    if ambiguous is None and unknown:
        say(f"ambiguous classes: {' and '.join(unknown)} not among the classes, left out")
    elif unknown:
        problems = [f"no class is called '{name}'{nearest(name, merged)}" for name in unknown]
        raise ConfigError(problem_list(option, problems))
    chosen = [name for name in merged if name in wanted or (base and name in base.ambiguous)]
    return ClassMap.from_names(merged, chosen, _supercategories(merged, base, say))


def new_classes(names: Sequence[str], present: Sequence[str]) -> list[str]:
    """Return a line for each class that a tree does not have yet, with those of its classes that are spelt alike."""
    return [f"'{name}' is a new class of the tree{nearest(name, present)}" for name in names if name not in present]


def _supercategories(names: Sequence[str], base: ClassMap | None, say: Callable[[str], None]) -> dict[str, str]:
    known = known_supercategories() | (base.supercategories if base else {})
    covered = [name for name in names if name in known]
    if len(covered) == len(names):
        return {name: known[name] for name in names}
    if base and base.supercategories:
        missing = ", ".join(name for name in names if name not in known)
        say(f"supercategories: dropped, because {missing} has none in {CLASSES_CONFIG.name}")
    return {}
