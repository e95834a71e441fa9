"""Prompts of many photos from a file; classes, splits and groups in it mean nothing here."""

from dataclasses import dataclass, field
from pathlib import Path

from datasets.prompted.cells import seen
from datasets.prompted.listing import read_prompt
from datasets.prompted.table import Row, read_rows
from segmenters.prompts import Prompt
from utils.errors import DataError, problem_list
from utils.names import path_problem, shown

_NEEDED = ("photo",)
_MOST_PROBLEMS = 200


@dataclass
class PromptsOfPhoto:
    """The prompts of one photo in the order of the file, and where each stands, for messages."""

    prompts: list[Prompt] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def read_prompt_file(path: Path, root: Path) -> dict[Path, PromptsOfPhoto]:
    """Return the prompts by photo, photos in the order in which the file first names them.

    Args:
        path: CSV, JSON or YAML with the columns photo, points, labels, box.
        root: folder that the photos' paths start from.

    Raises:
        DataError: with everything that is wrong with the file, as far as photos need not be opened for it.
    """
    problems: list[str] = []
    found: dict[Path, PromptsOfPhoto] = {}
    for row in read_rows(path, problems, _NEEDED):
        photo, prompt = _photo(row, root, problems), read_prompt(row, problems)
        if photo is not None and prompt is not None:
            entry = found.setdefault(photo, PromptsOfPhoto())
            entry.prompts.append(prompt)
            entry.names.append(f"{path}, {row.where}")
    if not found and not problems:
        problems.append("it has no row; give one for each region")
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown_ones = problems[:_MOST_PROBLEMS] + ([f"… and {more:,} more, not shown"] if more > 0 else [])
        raise DataError(problem_list(f"prompts {path}", shown_ones))
    return found


def _photo(row: Row, root: Path, problems: list[str]) -> Path | None:
    """Return the photo of a row; None, with the problem noted, where it cannot be one."""
    name = row.cells.get("photo")
    if not isinstance(name, str):
        problems.append(f"{row.where}: 'photo' is {seen(name)}; give the photo's path below {root}")
        return None
    name = name.removeprefix("./")
    if problem := path_problem(name):
        problems.append(f"{row.where}: the photo {shown(name)} {problem}; give its path below {root}, with '/'")
    elif not (root / name).is_file():
        problems.append(f"{row.where}: {root / name} does not exist; copy it there, or name the folder with --photo")
    else:
        return root / name
    return None
