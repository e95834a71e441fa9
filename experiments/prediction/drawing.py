"""The annotated picture of a photo: the photo, what the model says of each region, and its maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from PIL import ImageDraw

from datasets.cutouts import Photo
from experiments.explanation.lettering import Sheet
from experiments.explanation.sheets import overlay
from experiments.figures import INK, PALE, VERMILION
from experiments.prediction.annotated import BADGE, badge, color_of, draw_photo
from experiments.prediction.answers import Answer, best
from experiments.prediction.document import percent
from experiments.prediction.predictor import ViewMap
from experiments.prediction.regions import TINY, WEAK, OpenedPhoto
from utils.files import write_atomic

_MARGIN, _GAP, _HEADING, _SMALL = 16, 16, 26, 16
_PANEL, _ROW = 340, 22
_NAME, _NUMBER = 150, 44  # room for a class name and for a percentage, in pixels
_TILE = 200
_MEANINGS = {TINY: "the answer means little", WEAK: "check its outline"}
_MAP_ROW = _TILE + _ROW + 3 * _SMALL
_BAR, _HATCH = 0xC8, 8  # grey of a letterbox's bars, and pixels between their stripes


@dataclass(frozen=True)
class Caption:
    """What every picture of a prediction says.

    Attributes:
        classes: names in the order of the outputs.
        top_k: classes that were asked for.
        model: the model's name.
        calibration: what the probabilities are, in a sentence.
    """

    classes: Sequence[str]
    top_k: int
    model: str
    calibration: str


def draw_answers(path: Path, photo: OpenedPhoto, answers: Sequence[Answer], caption: Caption) -> None:
    """Write the PNG of one photo.

    Args:
        path: of the PNG.
        photo: opened with what is drawn.
        answers: to its regions, in order.
        caption: what every picture says.
    """
    assert photo.shown is not None
    height, width = photo.shown.shape[:2]
    bars = _bars(len(answers), caption.top_k)
    what_if = answers[0].without_context is not None
    marked = any(region.marks for region in photo.regions)
    block = _block_height(bars, what_if + marked)
    beside = max(1, (height - _HEADING) // block)
    columns = 1 if len(answers) <= beside else 2
    lines = math.ceil(len(answers) / columns)
    body = max(height, lines * block)
    panel = columns * (_PANEL + _GAP) - _GAP
    whole = 2 * _MARGIN + width + _GAP + panel
    maps = _maps_height(answers, whole - 2 * _MARGIN)
    sheet = Sheet(whole, _MARGIN + _HEADING + body + maps + 2 * _SMALL + _MARGIN)
    room = whole - 2 * _MARGIN
    sheet.text(_MARGIN, _MARGIN - 4, PurePath(photo.name).name, size=16, color=INK, bold=True, room=width)
    within = f"among these {len(caption.classes)} classes"
    sheet.text(_MARGIN + width + _GAP, _MARGIN - 2, within, size=13, color=PALE, room=_PANEL)
    top = _MARGIN + _HEADING
    draw_photo(sheet, _MARGIN, top, photo)
    for place, (region, answer) in enumerate(zip(photo.regions, answers, strict=True)):
        column, line = divmod(place, lines)
        left = _MARGIN + width + _GAP + column * (_PANEL + _GAP)
        _draw_answer(sheet, left, top + line * block, place, answer, bars, caption, region.marks)
    if maps:
        _draw_maps(sheet, top + body + _GAP, answers, room)
    foot = top + body + maps + _SMALL // 2
    sheet.text(_MARGIN, foot, f"{caption.model}: {caption.calibration}", size=12, color=PALE, room=room)
    write_atomic(path, lambda temporary: sheet.image.save(temporary, "PNG", compress_level=2), durable=False)


def _bars(regions: int, top_k: int) -> int:
    """Return the classes that are drawn for each of so many regions."""
    return min(top_k, 5 if regions <= 3 else 3 if regions <= 6 else 1)


def _block_height(bars: int, further: int) -> int:
    return bars * _ROW + further * _ROW + (14 if bars > 1 or further else 6)


def _draw_answer(
    sheet: Sheet,
    left: int,
    top: int,
    place: int,
    answer: Answer,
    bars: int,
    caption: Caption,
    marks: Sequence[str],
) -> None:
    badge(sheet, left + BADGE // 2, top + _ROW // 2, place)
    start = left + BADGE + 8
    for line, k in enumerate(answer.top(bars)):
        probability = float(answer.probabilities[k])
        _draw_bar(sheet, start, top + line * _ROW, caption.classes[k], probability, color_of(place), line == 0)
    below = top + bars * _ROW + 3
    if marks:
        text = "; ".join(f"{mark}: {_MEANINGS[mark]}" for mark in marks)
        sheet.text(start, below, text, size=12, color=VERMILION, bold=True, room=_PANEL - BADGE - 8)
        below += _ROW
    if answer.without_context is None:
        return
    k = int(best(answer.without_context, 1)[0])
    text = f"without context: {caption.classes[k]} {percent(float(answer.without_context[k]))}"
    changed = k != int(answer.top(1)[0])
    sheet.text(
        start,
        below,
        text,
        size=12,
        color=VERMILION if changed else PALE,
        bold=changed,
        room=_PANEL - BADGE - 8,
    )


def _draw_bar(sheet: Sheet, left: int, top: int, name: str, probability: float, color: str, bold: bool) -> None:
    sheet.text(left, top + 3, name, size=13, color=INK, bold=bold, room=_NAME)
    bar, room = left + _NAME + 8, _PANEL - BADGE - 8 - _NAME - 8 - _NUMBER
    draw = ImageDraw.Draw(sheet.image)
    draw.rectangle((bar, top + 5, bar + room, top + _ROW - 6), fill="#eeeeee")
    if probability * room >= 1:
        draw.rectangle((bar, top + 5, bar + round(probability * room), top + _ROW - 6), fill=color)
    sheet.text(bar + room + 6, top + 3, percent(probability), size=13, color=INK, bold=bold)


def _tiles(answers: Sequence[Answer], room: int) -> tuple[int, int]:
    """Return the views of an answer, and how many regions' maps stand beside each other."""
    views = len(answers[0].maps or {})
    return views, max(1, (room + _GAP) // (views * (_TILE + 6) + _GAP)) if views else 0


def _maps_height(answers: Sequence[Answer], room: int) -> int:
    views, across = _tiles(answers, room)
    if not views:
        return 0
    return _GAP + math.ceil(len(answers) / across) * _MAP_ROW + _SMALL


def _draw_maps(sheet: Sheet, top: int, answers: Sequence[Answer], room: int) -> None:
    """Draw the maps of each region's modules, which share one scale."""
    views, across = _tiles(answers, room)
    for place, answer in enumerate(answers):
        line, column = divmod(place, across)
        left = _MARGIN + column * (views * (_TILE + 6) + _GAP)
        upper = top + line * _MAP_ROW
        badge(sheet, left + BADGE // 2, upper + BADGE // 2, place)
        for number, (view, found) in enumerate((answer.maps or {}).items()):
            x = left + number * (_TILE + 6)
            sheet.paste(x, upper + _ROW + 2, _map(found))
            share = "" if math.isnan(found.share) else f": {percent(found.share)} of the evidence"
            sheet.text(x, upper + _ROW + _TILE + 5, f"{view}{share}", size=12, color=INK, room=_TILE)
            cells = f"{found.grid[0]}×{found.grid[1]} cells"
            sheet.text(x, upper + _ROW + _TILE + _SMALL + 5, cells, size=11, color=PALE, room=_TILE)
    bottom = top + math.ceil(len(answers) / across) * _MAP_ROW
    note = (
        "Maps: dark has no evidence for the answer, bright is a view's strongest place in the photo. "
        "Striped: no part of the photo."
    )
    sheet.text(_MARGIN, bottom - 6, note, size=12, color=PALE, room=room)


def _map(found: ViewMap) -> Photo:
    """Return a module's map over what it saw, on its own scale; the letterbox's bars are striped, not coloured."""
    drawn = overlay(found.picture, found.own_scale, _TILE)
    scale = _TILE / found.picture.shape[0]
    left, top, width, height = (round(number * scale) for number in found.content)
    bars = np.ones((_TILE, _TILE), dtype=bool)
    bars[top : top + height, left : left + width] = False
    rows, columns = np.ogrid[:_TILE, :_TILE]
    stripes = (rows + columns) % _HATCH < 2
    drawn[bars] = _BAR
    drawn[bars & stripes] = 255
    return drawn
