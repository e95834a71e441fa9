"""Pictures of explained pairs, as in the paper's Figure 4: photo, roi and extra_roi with their maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from experiments.explanation.measures import enlarge
from experiments.figures import BLUE, INK, PALE, VERMILION, draw, elide

TILE = 200  # pixels
OPACITY = 0.6
DPI = 110
_GAP, _LINE, _MARGIN, _FOOT = 8, 17, 16, 46

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class ViewPicture:
    """One view: pixels uint8 S×S×3, heat h×w in 0..1 on the pair's scale, and the line below it."""

    pixels: Picture
    heat: NDArray[np.float32]
    caption: str


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
    row_height = TILE + 2 * _LINE + 4
    block_height = 2 * _LINE + len(pairs[0].rows) * row_height + 10
    width = across * block_width + (across - 1) * 3 * _GAP + 2 * _MARGIN
    height = _MARGIN + 2 * _LINE + math.ceil(len(pairs) / across) * block_height + _FOOT
    sheet = _Sheet(width, height)
    sheet.text(_MARGIN, _MARGIN, elide(heading, width // 8), size=9.5, weight="bold")
    for number, pair in enumerate(pairs):
        line, column = divmod(number, across)
        left = _MARGIN + column * (block_width + 3 * _GAP)
        _draw_pair(sheet, pair, left, _MARGIN + 2 * _LINE + line * block_height, views)
    _draw_scale(sheet, _MARGIN, height - _FOOT + 6)
    draw(path, (width / DPI, height / DPI), sheet.fill, dpi=DPI)


def overlay(pixels: Picture, heat: NDArray[np.float32], side: int = TILE) -> Picture:
    """Lay a map over a picture in grey: H×W×3 of ``side`` pixels; no heat leaves it dark, much heat makes it glow.

    Args:
        pixels: uint8 S×S×3.
        heat: float h×w in 0..1.
        side: of the result, in pixels.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BICUBIC))
    values = enlarge(heat[None], side)[0]
    colors = 255.0 * mpl.colormaps["inferno"](values)[..., :3]
    blended: Picture = (OPACITY * colors + (1 - OPACITY) * grey[..., None]).round().clip(0, 255).astype(np.uint8)
    return blended


def _draw_pair(sheet: "_Sheet", pair: PairPicture, left: int, top: int, views: Sequence[str]) -> None:
    sheet.text(left, top, elide(pair.title, 34), size=9.0, weight="bold")
    sheet.text(left, top + _LINE, elide(pair.key, 42), size=7.0, color=PALE)
    photo = Image.fromarray(pair.photo).resize((TILE, TILE), Image.Resampling.BICUBIC)
    sheet.paste(left, top + 2 * _LINE, np.asarray(photo))
    sheet.text(left, top + 2 * _LINE + TILE + 2, "photo", size=7.5, color=PALE)
    for number, row in enumerate(pair.rows):
        upper = top + _LINE + number * (TILE + 2 * _LINE + 4)
        start = left + TILE + _GAP
        color = BLUE if row.right else VERMILION
        sheet.text(start, upper, elide(row.title, 30 * len(views)), size=8.0, color=color, weight="bold")
        for place, name in enumerate(views):
            view = row.views.get(name)
            if view is None:
                continue
            x = start + place * (TILE + _GAP)
            sheet.paste(x, upper + _LINE, overlay(view.pixels, view.heat))
            sheet.text(x, upper + _LINE + TILE + 2, view.caption, size=7.0)


def _draw_scale(sheet: "_Sheet", left: int, top: int) -> None:
    """Draw the colour bar as it looks over black and over mid-grey, which is what the maps lie on."""
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    colors = 255.0 * mpl.colormaps["inferno"](ramp)[None, :, :3]
    grey = np.repeat(np.array([[0.0], [110.0]]), 7, axis=0)[..., None]
    bar = (OPACITY * colors + (1 - OPACITY) * grey).round().astype(np.uint8)
    sheet.text(left, top, "no evidence", size=7.5)
    sheet.paste(left + 78, top, bar)
    note = "the pair's strongest evidence per area; one scale for all modules of a run"
    sheet.text(left + 78 + 256 + _GAP, top, note, size=7.5)
    legend = "prediction in blue: right; in red: wrong. Upper half of the bar: over black; lower half: over grey"
    sheet.text(left, top + _LINE, legend, size=7.0, color=PALE)


class _Sheet:
    """A white canvas with pictures and lines of text at places given in pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._canvas: Picture = np.full((height, width, 3), 255, dtype=np.uint8)
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []

    def paste(self, left: int, top: int, picture: Picture) -> None:
        height, width = picture.shape[:2]
        self._canvas[top : top + height, left : left + width] = picture

    def text(
        self, left: float, top: float, text: str, *, size: float, color: str = INK, weight: str = "normal"
    ) -> None:
        self._texts.append((left, top, text, {"size": size, "color": color, "weight": weight}))

    def fill(self, figure: Figure) -> None:
        height, width = self._canvas.shape[:2]
        figure.figimage(self._canvas, origin="upper")
        for left, top, text, style in self._texts:
            figure.text(left / width, 1 - top / height, text, va="top", **style)
