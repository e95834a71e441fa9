"""The table of a tree's pairs, ``manifest.csv``: one row for each (split, class, stem)."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from pathlib import Path

from datasets.classes import folder_name
from utils.errors import DataError, nearest
from utils.files import write_text
from utils.names import all_safe, name_problem, path_problem, shown

MANIFEST_FILE = "manifest.csv"
ANNOTATION = "annotation"
# fmt: off
COLUMNS = (
    "split", "class", "stem", "group", "photo", "width", "height", "content_width", "content_height",
    "area_fraction", "box_left", "box_top", "box_width", "box_height", "photo_sha256", "mask_sha256", "mask_source",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One pair.

    Attributes:
        split: folder name of the split.
        class_name: class name (column ``class``).
        stem: file name of the photo and of both cut-outs, without suffix.
        group: name shared by rows that are not independent of each other.
        photo: path of the photo inside its archive, with ``/``.
        width: width of the upright original photo in pixels.
        height: height of the upright original photo in pixels.
        content_width: width of the stored cut-outs in pixels.
        content_height: height of the stored cut-outs in pixels.
        area_fraction: roi pixels over all pixels of the stored mask, 0..1.
        box_left: left edge of the roi's tight box in stored pixels, counted from 0.
        box_top: top edge of that box.
        box_width: width of that box.
        box_height: height of that box.
        photo_sha256: of the photo's file.
        mask_sha256: of the mask's file, or of the prompts and the segmenter's settings.
        mask_source: ``annotation``, or the tool that drew the mask.
    """

    split: str
    class_name: str
    stem: str
    group: str
    photo: str
    width: int
    height: int
    content_width: int
    content_height: int
    area_fraction: float
    box_left: int
    box_top: int
    box_width: int
    box_height: int
    photo_sha256: str
    mask_sha256: str
    mask_source: str = ANNOTATION

    @property
    def key(self) -> tuple[str, str, str]:
        """The pair's key: (split, class, stem)."""
        return self.split, self.class_name, self.stem


_cells_of = attrgetter(*(field.name for field in fields(ManifestRow)))
_TYPES: tuple[Callable[[str], object], ...] = (*[str] * 5, *[int] * 4, float, *[int] * 4, *[str] * 3)


def write_manifest(path: Path, rows: Iterable[ManifestRow], classes: Sequence[str]) -> None:
    """Write ``manifest.csv`` sorted by split, class index (the position in ``classes``) and stem."""
    write_text(path, manifest_text(rows, classes))


def manifest_text(rows: Iterable[ManifestRow], classes: Sequence[str]) -> str:
    """Return the text of ``manifest.csv``: the same bytes for the same rows in any order."""
    position = {name: index for index, name in enumerate(classes)}
    area = COLUMNS.index("area_fraction")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: (row.split, position[row.class_name], row.stem)):
        cells = list(_cells_of(row))
        cells[area] = f"{row.area_fraction:.6f}"
        writer.writerow(cells)
    return buffer.getvalue()


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read every row of ``manifest.csv`` in the file's order.

    Raises:
        DataError: where the file is no manifest, naming the line and what is wrong with it.
    """
    return list(_parsed(path))


def read_columns(path: Path, names: Sequence[str], *, checked: bool = False) -> list[tuple[str, ...]]:
    """Read some columns of ``manifest.csv`` as text, one tuple per row: the fast way to an index.

    Args:
        path: of the manifest.
        names: of the columns.
        checked: whether its names were found to be safe before, so that nobody needs to look at them again.

    Raises:
        DataError: where the file is no manifest or a row has too few or too many cells.
    """
    wanted = [COLUMNS.index(name) for name in names]
    pick = itemgetter(*wanted)
    if len(wanted) == 1:
        return [(pick(cells),) for _, cells in _cells(path, checked=checked)]
    return [pick(cells) for _, cells in _cells(path, checked=checked)]


def _cells(path: Path, *, checked: bool = False) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            order = _column_order(path, next(reader, []))
            for cells in reader:
                if len(cells) != len(COLUMNS):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells where {len(COLUMNS)} are needed; "
                        f"the file was cut short or edited: write it again with preprocess_foodseg103.py"
                    )
                if order is not None:
                    cells = list(order(cells))
                if checked:
                    yield reader.line_num, cells
                    continue
                split, name, stem, _, photo = cells[:5]
                if "/" in split or "/" in stem or not all_safe((split, name, stem, photo)):
                    _check_names(path, reader.line_num, cells)
                yield reader.line_num, cells
    except FileNotFoundError:
        raise DataError(f"{path} is missing; preprocess_foodseg103.py writes it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a UTF-8 CSV file ({error})") from None


def _check_names(path: Path, line: int, cells: list[str]) -> None:
    """Refuse a row of which a split, class, stem or photo would lead out of its folder."""
    split, name, stem, _, photo = cells[:5]
    problems = {
        "split": (split, name_problem(split)),
        "class": (name, name_problem(folder_name(name))),
        "stem": (stem, name_problem(stem)),
        "photo": (photo, path_problem(photo)),
    }
    for column, (value, problem) in problems.items():
        if problem:
            raise DataError(
                f"{path}, line {line}: column '{column}' is {shown(value)}, which {problem}; write the manifest again "
                f"with preprocess_foodseg103.py"
            )


def _column_order(path: Path, header: list[str]) -> Callable[[list[str]], tuple[str, ...]] | None:
    """Return None where the columns stand in our order, else a function that puts a row's cells in it."""
    if tuple(header) == COLUMNS:
        return None
    for name in header:
        if name not in COLUMNS:
            needed = ",".join(COLUMNS)
            raise DataError(f"{path}: unknown column {shown(name)}{nearest(name[:80], COLUMNS)} (needed: {needed})")
    missing = [name for name in COLUMNS if name not in header]
    if missing or len(header) != len(COLUMNS):
        raise DataError(f"{path}: missing or repeated columns ({', '.join(missing)}); needed: {','.join(COLUMNS)}")
    return itemgetter(*(header.index(name) for name in COLUMNS))


def _parsed(path: Path) -> Iterator[ManifestRow]:
    for line, cells in _cells(path):
        values: list[object] = []
        for name, convert, cell in zip(COLUMNS, _TYPES, cells, strict=True):
            try:
                values.append(convert(cell))
            except ValueError:
                raise DataError(f"{path}, line {line}: column '{name}' holds {shown(cell)}, not a number") from None
        yield ManifestRow(*values)  # type: ignore[arg-type]  # _TYPES stands in the order of the fields
