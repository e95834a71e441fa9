"""Pictures of explained pairs, as in the paper's Figure 4: photo, roi and extra_roi with their maps."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.explanation.lettering import Picture, Sheet
from experiments.explanation.measures import enlarge
from experiments.figures import BLUE, INK, PALE, VERMILION
from utils.files import write_atomic

TILE = 216  # pixels
OPACITY = (0.3, 0.8)  # of the map's colour, without heat and at its strongest
PLACES_ONLY = "*"  # behind the name of a view whose map shows where, not how much
_GAP, _LINE, _SMALL, _MARGIN, _FOOT = 8, 17, 13, 16, 36
_LETTER = 6.2  # mean width of a small letter in pixels
_ROW = _LINE + TILE + 2 * _SMALL + 12  # title, pictures, captions


@dataclass(frozen=True)
class ViewPicture:
    """One view: pixels uint8 S×S×3, heat h×w in 0..1 on the pair's scale, and the lines below it.

    ``places_only`` says that the map shows where, not how much; the first line then carries ``PLACES_ONLY``.
    """

    pixels: Picture
    heat: NDArray[np.float32]
    captions: Sequence[str]
    places_only: bool = False


@dataclass(frozen=True)
class RunRow:
    """One run's answer to a pair, whether it is right, and its views by name."""

    title: str
    right: bool
    views: Mapping[str, ViewPicture]


@dataclass(frozen=True)
class PairPicture:
    """One pair: a title, its key, the photo uint8 S×S×3, and a row per run."""

    title: str
    key: str
    photo: Picture
    rows: Sequence[RunRow]


def draw_sheet(path: Path, heading: str, pairs: Sequence[PairPicture], views: Sequence[str]) -> None:
    """Write a PNG of some pairs, two beside each other, with one colour bar for all maps.

    Args:
        path: of the PNG.
        heading: line at the top.
        pairs: at least one; all with the same runs.
        views: names of the columns beside the photo, in order; a run without a view leaves its place empty.
    """
    across = min(2, len(pairs))
    block_width = (1 + len(views)) * (TILE + _GAP)
    block_height = _LINE + len(pairs[0].rows) * _ROW + _LINE
    width = across * block_width + (across - 1) * 3 * _GAP + 2 * _MARGIN
    lines = _foot_lines(pairs, width - 2 * _MARGIN)
    foot = _FOOT + len(lines) * _SMALL
    height = _MARGIN + 2 * _LINE + math.ceil(len(pairs) / across) * block_height + foot
    sheet = Sheet(width, height)
    sheet.text(_MARGIN, _MARGIN, heading, size=15, color=INK, bold=True, room=width - 2 * _MARGIN)
    for number, pair in enumerate(pairs):
        line, column = divmod(number, across)
        left = _MARGIN + column * (block_width + 3 * _GAP)
        _draw_pair(sheet, pair, left, _MARGIN + 2 * _LINE + line * block_height, views)
    _draw_foot(sheet, _MARGIN, height - foot + 6, lines)
    write_atomic(path, lambda temporary: sheet.image.save(temporary, "PNG", compress_level=3), durable=False)


class SheetWriter:
    """Collects pairs and draws a sheet whenever there are enough; only the pairs of one sheet are held.

    Attributes:
        written: heading and file name of each sheet, in order.
    """

    def __init__(self, folder: Path, per_sheet: int, views: Sequence[str]) -> None:
        self.written: list[tuple[str, str]] = []
        self._folder, self._per_sheet, self._views = folder, per_sheet, views
        self._pairs: list[PairPicture] = []
        self._heading = self._name = ""

    def add(self, heading: str, name: str, pair: PairPicture) -> str:
        """Take a pair and return the file name of its sheet; a sheet of one pair carries the pair's ``name``."""
        if heading != self._heading:
            self.close()
        if not self._pairs:
            suffix = f"_{name}" if self._per_sheet == 1 else ""
            self._heading, self._name = heading, f"{len(self.written) + 1:04d}{suffix}.png".replace(" ", "_")
        self._pairs.append(pair)
        file_name = self._name
        if len(self._pairs) == self._per_sheet:
            self.close()
        return file_name

    def close(self) -> None:
        """Draw the sheet that is not full."""
        if self._pairs:
            draw_sheet(self._folder / self._name, self._heading, self._pairs, self._views)
            self.written.append((self._heading, self._name))
            self._pairs = []


def overlay(pixels: Picture, heat: NDArray[np.float32], side: int = TILE) -> Picture:
    """Lay a map over a picture in grey: H×W×3 of ``side`` pixels; no heat leaves it dark, much heat makes it glow.

    Args:
        pixels: uint8 S×S×3.
        heat: float h×w in 0..1.
        side: of the result, in pixels.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BICUBIC))
    return _blend(grey, enlarge(heat[None], side)[0])


def _blend(grey: NDArray[Any], heat: NDArray[np.float32]) -> Picture:
    """Mix grey levels H×W (0..255) with the colours of heat H×W (0..1)."""
    colors = 255.0 * mpl.colormaps["inferno"](heat)[..., :3]
    opacity = (OPACITY[0] + (OPACITY[1] - OPACITY[0]) * heat)[..., None]
    blended: Picture = (opacity * colors + (1 - opacity) * grey[..., None]).round().clip(0, 255).astype(np.uint8)
    return blended


def _draw_pair(sheet: Sheet, pair: PairPicture, left: int, top: int, views: Sequence[str]) -> None:
    sheet.text(left, top - 4, pair.title, size=14, color=INK, bold=True, room=TILE)
    sheet.text(left, top + _LINE, pair.key, size=11, color=PALE, room=TILE)
    photo = Image.fromarray(pair.photo).resize((TILE, TILE), Image.Resampling.BICUBIC)
    sheet.paste(left, top + 2 * _LINE, np.asarray(photo))
    sheet.text(left, top + 2 * _LINE + TILE + 2, "photo", size=11, color=PALE)
    for number, row in enumerate(pair.rows):
        upper = top + _LINE + number * _ROW
        start = left + TILE + _GAP
        color, room = BLUE if row.right else VERMILION, len(views) * (TILE + _GAP) - _GAP
        sheet.text(start, upper, row.title, size=12, color=color, bold=True, room=room)
        for place, name in enumerate(views):
            view = row.views.get(name)
            if view is None:
                continue
            x = start + place * (TILE + _GAP)
            sheet.paste(x, upper + _LINE, overlay(view.pixels, view.heat))
            for line, caption in enumerate(view.captions):
                sheet.text(x, upper + _LINE + TILE + 2 + line * _SMALL, caption, size=11, color=INK, room=TILE)


def _draw_foot(sheet: Sheet, left: int, top: int, lines: Sequence[str]) -> None:
    """Draw the colour bar as it looks over black and over mid-grey, which is what the maps lie on, and lines below."""
    heat = np.tile(np.linspace(0.0, 1.0, 256, dtype=np.float32), (14, 1))
    bar = _blend(np.repeat([0.0, 128.0], 7)[:, None] * np.ones(256), heat)
    sheet.text(left, top, "no evidence", size=12, color=INK)
    sheet.paste(left + 84, top, bar)
    sheet.text(left + 84 + 256 + _GAP, top, "strongest", size=12, color=INK)
    for number, line in enumerate(lines):
        sheet.text(left, top + _LINE + 5 + number * _SMALL, line, size=11, color=PALE)


def _foot_lines(pairs: Sequence[PairPicture], width: int) -> list[str]:
    """Return what is to be known about the pictures, broken into lines of so many pixels."""
    views = [view for pair in pairs for row in pair.rows for view in row.views.values()]
    notes = [
        "Strongest: the pair's strongest evidence per area; one scale for all modules of a run.",
        "Prediction in blue: right; in red: wrong. Upper half of the bar: over black; lower half: over grey.",
    ]
    if any(view.places_only for view in views):
        notes.append(
            f"{PLACES_ONLY} This map shows where, not how much: its strength cannot be compared with other maps."
        )
    return [line for note in notes for line in textwrap.wrap(note, int(width / _LETTER))]
