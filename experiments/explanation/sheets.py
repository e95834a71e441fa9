"""Pictures of explained pairs, as in the paper's Figure 4: photo, roi and extra_roi with their maps."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.explanation.lettering import Picture, Sheet
from experiments.explanation.measures import Floats, cells_enlarged, enlarge, pixels_of
from experiments.figures import BLUE, INK, ORANGE, PALE, VERMILION
from utils.files import write_atomic

TILE = 216  # pixels
OUTLINE = (150, 190, 220)  # of what is kept, which black bars would not show
DARKENED = 0.3  # brightness of what is not kept
OPACITY = (0.3, 0.8)  # of the map's colour, without heat and at its strongest
CHOSEN = ORANGE  # frame of the part that a model looks at
MOST_BESIDE = 3  # columns beside the photo with which two pairs lie beside each other
PLACES_ONLY = "*"  # behind the name of a view whose map shows where, not how much
_GAP, _LINE, _SMALL, _MARGIN, _FOOT = 8, 17, 13, 16, 36
_LETTER = 6.2  # mean width of a small letter in pixels
_ROW = _LINE + TILE + 2 * _SMALL + 12  # title, pictures, captions


class Panel(Protocol):
    """A picture in a row, and the lines below it."""

    @property
    def captions(self) -> Sequence[str]:
        """Lines below it; at most two."""

    @property
    def places_only(self) -> bool:
        """Whether it is a map that shows where, not how much; its first line then carries ``PLACES_ONLY``."""

    @property
    def partly(self) -> bool:
        """Whether one part of the picture is framed, because a model looks at it alone."""

    def drawn(self) -> Picture:
        """Return it as it lies on the sheet, uint8 ``TILE``×``TILE``×3."""


@dataclass(frozen=True)
class Drawing:
    """A picture that is ready: uint8 ``TILE``×``TILE``×3."""

    pixels: Picture
    captions: Sequence[str]
    places_only: bool = False
    partly: bool = True

    def drawn(self) -> Picture:
        """Return it as it is."""
        return self.pixels


@dataclass(frozen=True)
class KeptPicture:
    """A picture uint8 S×S×3 of which some cells, bool h×w, are kept: those in colour, the others dark."""

    pixels: Picture
    kept: NDArray[np.bool_]
    captions: Sequence[str]
    places_only: bool = False
    partly: bool = False

    def drawn(self) -> Picture:
        """Return the picture with what is not kept darkened and without colour, and an outline around what is."""
        picture = Image.fromarray(self.pixels).resize((TILE, TILE), Image.Resampling.BICUBIC)
        dark = DARKENED * np.asarray(picture.convert("L"))[..., None]
        kept = cells_enlarged(self.kept[None].astype(np.float32), TILE)[0] > 0
        mixed: Picture = np.where(kept[..., None], np.asarray(picture), dark.round()).astype(np.uint8)
        inner = np.pad(kept, 1)
        inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        mixed[kept & ~inner] = OUTLINE
        return mixed


@dataclass(frozen=True)
class ViewPicture:
    """One view: pixels uint8 S×S×3, heat h×w in 0..1 on the pair's scale, and the lines below it.

    ``places_only`` says that the map shows where, not how much; the first line then carries ``PLACES_ONLY``. ``frame``
    is the part that the model looks at (left, top, width, height as fractions), null for the whole.
    """

    pixels: Picture
    heat: NDArray[np.float32]
    captions: Sequence[str]
    places_only: bool = False
    frame: Floats | None = None

    @property
    def partly(self) -> bool:
        """Whether one part is framed."""
        return self.frame is not None

    def drawn(self) -> Picture:
        """Return the map over the picture; what lies outside a frame is darkened, since the model does not see it."""
        picture = overlay(self.pixels, self.heat)
        if self.frame is None:
            return picture
        left, top, right, bottom = pixels_of(self.frame, TILE)
        drawn = (DARKENED * picture).astype(np.uint8)
        drawn[top:bottom, left:right] = picture[top:bottom, left:right]
        sheet = Sheet(TILE, TILE)
        sheet.paste(0, 0, drawn)
        sheet.frame((left, top, right, bottom), CHOSEN, 2)
        return np.asarray(sheet.image)


@dataclass(frozen=True)
class RunRow:
    """One run's answer to a pair, whether it is right, and its panels by name."""

    title: str
    right: bool
    views: Mapping[str, Panel]


@dataclass(frozen=True)
class Key:
    """What a sheet says of its colours: words at the ends of the bar, null without a bar, and sentences below it."""

    ends: tuple[str, str] | None
    notes: Sequence[str]


EVIDENCE_KEY = Key(
    ("no evidence", "strongest"),
    ["Strongest: the pair's strongest evidence per area; one scale for all modules of a run."],
)


@dataclass(frozen=True)
class PairPicture:
    """One pair: a title, its key, the photo uint8 S×S×3, and a row per run."""

    title: str
    key: str
    photo: Picture
    rows: Sequence[RunRow]


def draw_sheet(
    path: Path, heading: str, pairs: Sequence[PairPicture], views: Sequence[str], key: Key = EVIDENCE_KEY
) -> None:
    """Write a PNG of some pairs, two beside each other where there is room, with one colour bar for all maps.

    Args:
        path: of the PNG.
        heading: line at the top.
        pairs: at least one; all with the same runs.
        views: names of the columns beside the photo, in order; a run without one leaves its place empty.
        key: what is said of the colours.
    """
    across = min(2 if len(views) <= MOST_BESIDE else 1, len(pairs))
    block_width = (1 + len(views)) * (TILE + _GAP)
    block_height = _LINE + len(pairs[0].rows) * _ROW + _LINE
    width = across * block_width + (across - 1) * 3 * _GAP + 2 * _MARGIN
    lines = _foot_lines(pairs, key, width - 2 * _MARGIN)
    foot = _FOOT + len(lines) * _SMALL
    height = _MARGIN + 2 * _LINE + math.ceil(len(pairs) / across) * block_height + foot
    sheet = Sheet(width, height)
    sheet.text(_MARGIN, _MARGIN, heading, size=15, color=INK, bold=True, room=width - 2 * _MARGIN)
    for number, pair in enumerate(pairs):
        line, column = divmod(number, across)
        left = _MARGIN + column * (block_width + 3 * _GAP)
        _draw_pair(sheet, pair, left, _MARGIN + 2 * _LINE + line * block_height, views)
    _draw_foot(sheet, _MARGIN, height - foot + 6, key, lines)
    write_atomic(path, lambda temporary: sheet.image.save(temporary, "PNG", compress_level=3), durable=False)


class SheetWriter:
    """Collects pairs and draws a sheet whenever there are enough; only the pairs of one sheet are held.

    Attributes:
        written: heading and file name of each sheet, in order.
    """

    def __init__(self, folder: Path, per_sheet: int, views: Sequence[str], key: Key = EVIDENCE_KEY) -> None:
        self.written: list[tuple[str, str]] = []
        self._folder, self._per_sheet, self._views, self._key = folder, per_sheet, views, key
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
            draw_sheet(self._folder / self._name, self._heading, self._pairs, self._views, self._key)
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
            sheet.paste(x, upper + _LINE, view.drawn())
            for line, caption in enumerate(view.captions):
                sheet.text(x, upper + _LINE + TILE + 2 + line * _SMALL, caption, size=11, color=INK, room=TILE)


def _draw_foot(sheet: Sheet, left: int, top: int, key: Key, lines: Sequence[str]) -> None:
    """Draw the colour bar as it looks over black and over mid-grey, which is what the maps lie on, and lines below."""
    below = _LINE + 5 if key.ends is not None else 0
    for number, line in enumerate(lines):
        sheet.text(left, top + below + number * _SMALL, line, size=11, color=PALE)
    if key.ends is None:
        return
    heat = np.tile(np.linspace(0.0, 1.0, 256, dtype=np.float32), (14, 1))
    bar = _blend(np.repeat([0.0, 128.0], 7)[:, None] * np.ones(256), heat)
    sheet.text(left, top, key.ends[0], size=12, color=INK)
    sheet.paste(left + 84, top, bar)
    sheet.text(left + 84 + 256 + _GAP, top, key.ends[1], size=12, color=INK)


def _foot_lines(pairs: Sequence[PairPicture], key: Key, width: int) -> list[str]:
    """Return what is to be known about the pictures, broken into lines of so many pixels."""
    views = [view for pair in pairs for row in pair.rows for view in row.views.values()]
    halves = "" if key.ends is None else " Upper half of the bar: over black; lower half: over grey."
    notes = [*key.notes, f"Prediction in blue: right; in red: wrong.{halves}"]
    if any(view.partly for view in views):
        notes.append("Orange frame: the part that was chosen; the classifier sees nothing of the rest.")
    if any(view.places_only for view in views):
        notes.append(
            f"{PLACES_ONLY} This map shows where, not how much: its strength cannot be compared with other maps."
        )
    return [line for note in notes for line in textwrap.wrap(note, int(width / _LETTER))]
