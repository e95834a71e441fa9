"""The groups file of an archive: which photos are not independent of each other."""

import csv
from collections.abc import Callable
from pathlib import Path

from utils.names import name_problem, shown

_NEEDED = ("split", "image", "group")


def read_groups(
    path: Path, stem_of: Callable[[str], str], option: str, problems: list[str]
) -> dict[tuple[str, str], str]:
    """Read a CSV file with the columns split, image, group.

    Args:
        path: the file.
        stem_of: returns a photo's stem from what stands in the column ``image``.
        option: what the user calls the file.
        problems: takes what is wrong with the file, one line each.

    Returns:
        Groups by (split, stem).
    """
    groups: dict[tuple[str, str], str] = {}
    for number, (split, image, group) in _rows(path, option, problems):
        where, key = f"{path}, line {number}", (split, stem_of(image))
        if problem := next((f"{shown(name)} {why}" for name in key if (why := name_problem(name))), None):
            problems.append(f"{where}: {problem}; name a split and a photo of the archive")
        elif not group:
            problems.append(f"{where}: the group of {split}/{image} is empty; name it")
        elif not group.isprintable():
            problems.append(f"{where}: the group {shown(group)} holds characters that cannot be printed; rename it")
        elif groups.setdefault(key, group) != group:
            problems.append(
                f"{where}: {split}/{image} has two groups, {shown(groups[key])} and {shown(group)}; keep one of them"
            )
    return groups


def _rows(path: Path, option: str, problems: list[str]) -> list[tuple[int, tuple[str, str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not set(_NEEDED) <= set(reader.fieldnames or ()):
                has = shown(",".join(reader.fieldnames or ()))
                problems.append(f"{path} needs the columns split,image,group, but has {has}; write that first line")
                return []
            rows = [(reader.line_num, [(row[name] or "").strip() for name in _NEEDED]) for row in reader]
    except FileNotFoundError:
        problems.append(f"{option} {path} does not exist; give a CSV file with the columns split,image,group")
        return []
    except (OSError, ValueError, csv.Error) as error:
        problems.append(f"{option} {path} is not a UTF-8 CSV file ({shown(str(error))}); save it as one")
        return []
    if not rows:
        problems.append(f"{path} has no row; give split,image,group for every photo")
    return [(line, (split, image, group)) for line, (split, image, group) in rows]
