"""The rows of a prompt file: CSV, JSON or YAML, each refused as a whole where it is not one, else row by row."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.prompted.cells import seen
from utils.errors import DataError, nearest, os_error_text
from utils.json_file import LARGEST_FILE, read_json
from utils.names import shown
from utils.yaml_file import LARGEST_RECORD, read_yaml

COLUMNS = ("photo", "class", "split", "group", "points", "labels", "box")
NEEDED = ("photo", "class")
SUFFIXES = (".csv", ".json", ".yaml", ".yml")
_WHAT = "prompt file"
_LIST = "a list of objects, such as [{photo: table.jpg, class: ketchup, box: [10, 20, 110, 90]}]"


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        where: ``line 7``, or ``entry 7`` of a list.
        cells: by column; text from CSV, else what the file holds. Empty ones are left out.
    """

    where: str
    cells: dict[str, Any]


def read_rows(path: Path, problems: list[str], needed: Sequence[str] = NEEDED) -> Iterator[Row]:
    """Yield the rows of a prompt file.

    Args:
        path: of the file; its suffix says what it is.
        problems: takes what is wrong with single rows.
        needed: columns that a CSV file must have.

    Raises:
        DataError: where the file as a whole cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"the {_WHAT} {path} must end in {', '.join(SUFFIXES)}, which says how to read it; rename it")
    if suffix == ".csv":
        yield from _csv_rows(path, problems, needed)
        return
    if suffix == ".json":
        document = read_json(path, _WHAT, unique=True)
    else:
        document = read_yaml(path, _WHAT, DataError, largest=LARGEST_RECORD)
    if not isinstance(document, list):
        raise DataError(f"the {_WHAT} {path} holds no list; write {_LIST}")
    yield from _entries(document, problems)


def _entries(document: list[Any], problems: list[str]) -> Iterator[Row]:
    for number, entry in enumerate(document, start=1):
        where = f"entry {number}"
        if not isinstance(entry, dict):
            problems.append(f"{where} is {seen(entry)}; write {_LIST}")
            continue
        unknown = [str(name)[:80] for name in entry if name not in COLUMNS]
        problems += [f"{where}: {_unknown(name)}" for name in unknown]
        yield Row(where, {name: value for name, value in entry.items() if name in COLUMNS and value is not None})


def _csv_rows(path: Path, problems: list[str], needed: Sequence[str]) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        found = [_unknown(name) for name in header if name not in COLUMNS]
        found += [f"the column '{name}' is given twice; keep one" for name in COLUMNS if header.count(name) > 1]
        found += [f"the column '{name}' is missing" for name in needed if name not in header]
        if found:
            raise DataError(f"{path}, line 1: {'; '.join(found[:8])} (columns: {', '.join(COLUMNS)})")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                problems.append(
                    f"{where} has {len(cells)} cells where the first line has {len(header)}; put cells that hold a "
                    f"comma in quotes"
                )
                continue
            filled = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            yield Row(where, {name: cell for name, cell in filled.items() if cell})
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}, is not CSV ({shown(str(error))}); save it as one") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise DataError(f"the {_WHAT} {path} has more than {LARGEST_FILE:,} bytes, which is the most that is read")
        return data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"the {_WHAT} {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise DataError(f"the {_WHAT} {path} is not UTF-8 text (at byte {error.start:,}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"the {_WHAT} {path} cannot be read: {os_error_text(error)}") from None


def _unknown(name: str) -> str:
    return f"unknown column {shown(name)}{nearest(name[:80], COLUMNS)}"
