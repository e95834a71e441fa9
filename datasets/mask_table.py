"""The scores of masks that a segmenter drew, ``masks.csv``: one row for each pair of a tree that was prompted."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from datasets.classes import folder_name
from utils.errors import DataError
from utils.files import write_text
from utils.names import name_problem, shown

COLUMNS = ("split", "class", "stem", "prompts", "score", "area", "segmenter")


@dataclass(frozen=True, slots=True)
class MaskRow:
    """How sure a segmenter was of one pair's mask.

    Attributes:
        split: folder name of the split.
        class_name: class name (column ``class``).
        stem: of the photo.
        prompts: objects that were prompted; the mask is the union of theirs.
        score: the segmenter's own, the lowest of the objects'; segmenters do not share a scale.
        area: pixels of the mask in the photo itself, before it was made smaller.
        segmenter: as in the manifest's ``mask_source``.
    """

    split: str
    class_name: str
    stem: str
    prompts: int
    score: float
    area: int
    segmenter: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The pair's key: (split, class, stem)."""
        return self.split, self.class_name, self.stem


def write_masks(path: Path, rows: Iterable[MaskRow], classes: Sequence[str]) -> None:
    """Write ``masks.csv`` in the order of the manifest: by split, class index (the place in ``classes``) and stem."""
    position = {name: index for index, name in enumerate(classes)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: (row.split, position[row.class_name], row.stem)):
        writer.writerow(f"{cell:.6f}" if isinstance(cell, float) else cell for cell in astuple(row))
    write_text(path, buffer.getvalue())


def read_masks(path: Path) -> list[MaskRow]:
    """Read every row of ``masks.csv``; a ``DataError`` names the line and what is wrong with it."""
    rows: list[MaskRow] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise DataError(f"{path} has the columns {shown(','.join(header))}; needed: {','.join(COLUMNS)}")
            rows = [_row(cells, f"{path}, line {reader.line_num}") for cells in reader]
    except FileNotFoundError:
        raise DataError(f"{path} is missing; preprocess_foodseg103.py --prompts writes it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a UTF-8 CSV file ({error}); restore it") from None
    return rows


def _row(cells: list[str], where: str) -> MaskRow:
    if len(cells) != len(COLUMNS):
        raise DataError(f"{where}: {len(cells)} cells where {len(COLUMNS)} are needed; restore the file")
    split, name, stem, prompts, score, area, segmenter = cells
    if problem := next((p for text in (split, folder_name(name), stem) if (p := name_problem(text))), None):
        raise DataError(f"{where}: the key {shown('/'.join((split, name, stem)))} {problem}; restore the file")
    try:
        row = MaskRow(split, name, stem, int(prompts), float(score), int(area), segmenter)
    except ValueError:
        raise DataError(f"{where}: prompts, score and area must be numbers; restore the file") from None
    if row.prompts < 1 or row.area < 0 or not math.isfinite(row.score):
        raise DataError(f"{where}: prompts, score or area is out of range; restore the file")
    return row
