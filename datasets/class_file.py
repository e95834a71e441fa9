"""``category_id.txt``: which label id of the masks means which class."""

import re
from collections.abc import Iterable
from pathlib import Path

from datasets.classes import folder_name
from utils.errors import DataError
from utils.names import name_problem, shown

CLASS_FILE = "category_id.txt"
BACKGROUND_ID = 0
_LINE = re.compile(r"\s*([0-9]{1,5})\s+(\S.*?)\s*")  # a mask has at most 16 bits


def read_class_file(path: Path, problems: list[str], notes: list[str]) -> dict[int, str]:
    """Read ``id name`` lines, separated by blanks or a tab, in any order and with any line end.

    Returns:
        Class names by label id, in the order of the ids, without id 0, which is the background in every mask. What is
        wrong with the file is added to ``problems``, what is unusual to ``notes``.
    """
    found: dict[int, str] = {}
    for number, line in enumerate(_lines(path, problems), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"{path}, line {number}: {shown(line.strip())} is not 'id name', such as '7 pudding'")
            continue
        label, name = int(match[1]), match[2]
        if label in found:
            both = f"{shown(found[label])} and {shown(name)}"
            problems.append(f"{path}, line {number}: id {label} is {both}; give each its own id")
        else:
            found[label] = name
    background = found.pop(BACKGROUND_ID, "background")
    if background.lower() != "background":
        notes.append(f"id 0 ({shown(background)}) is taken as the background of the masks and makes no class")
    if not found and not problems:
        problems.append(f"{path} names no class; add lines such as '1 candy' (id 0 is the background)")
    check_class_names(path, found.values(), problems)
    return dict(sorted(found.items()))


def describe_ids(label_ids: dict[int, str]) -> str:
    """Return the allowed label ids in short: ``0 (background) and 1..103``, gaps kept."""
    runs: list[list[int]] = []
    for label in sorted(label_ids):
        if runs and label == runs[-1][1] + 1:
            runs[-1][1] = label
        else:
            runs.append([label, label])
    return "0 (background) and " + ", ".join(f"{low}..{high}" if low < high else f"{low}" for low, high in runs)


def load_class_file(path: Path) -> dict[int, str]:
    """Read a class file on its own; a ``DataError`` names the first thing wrong with it."""
    problems: list[str] = []
    found = read_class_file(path, problems, [])
    if problems:
        raise DataError(problems[0])
    return found


def _lines(path: Path, problems: list[str]) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        problems.append(f"{path} is missing; it has one line 'id name' per class, such as '1 candy'")
    except (UnicodeDecodeError, IsADirectoryError):
        problems.append(f"{path} is not a UTF-8 text file; save it as UTF-8")
    return []


def folder_problem(class_name: str) -> str | None:
    """Say why the folder of a class cannot be; None where it can."""
    folder = folder_name(class_name)
    return name_problem(folder) if folder or not class_name.strip() else "is made of dots and blanks alone"


def check_class_names(path: Path, names: Iterable[str], problems: list[str]) -> None:
    """Add names that cannot be folders, or would share one, to the problems of a file."""
    seen: dict[str, str] = {}
    for name in names:
        folder = folder_name(name)
        if problem := folder_problem(name):
            problems.append(f"{path}: class {shown(name)} cannot be a folder's name, since it {problem}; rename it")
        key = " ".join(folder.lower().split())
        if key in seen:
            problems.append(
                f"{path}: classes {shown(seen[key])} and {shown(name)} differ only by blanks, case or a slash "
                f'(or <>:"|?*) and would share a folder; rename one of them'
            )
        seen.setdefault(key, name)
