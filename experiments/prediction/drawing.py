"""The annotated picture of a photo: outlines and numbers, what the model says of each region, and its maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor, ImageDraw

from datasets.cutouts import Mask, Photo
from experiments.explanation.lettering import Sheet
from experiments.explanation.sheets import overlay
from experiments.explanation.summary import percent
from experiments.figures import BLUE, INK, ORANGE, PALE, PURPLE, VERMILION
from experiments.prediction.answers import Answer, best
from experiments.prediction.regions import OpenedPhoto, Region
from utils.files import write_atomic

COLORS = (BLUE, ORANGE, "#009E73", VERMILION, PURPLE, "#56B4E9", "#B8A000", "#8A4B2A")
_MARGIN, _GAP, _HEADING, _SMALL = 16, 16, 26, 16
_PANEL, _ROW, _BADGE = 340, 22, 20
_NAME, _NUMBER = 150, 44  # room for a class name and for a percentage, in pixels
_TILE = 200
_TINT = 0.28


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
    block = _block_height(bars, what_if)
    beside = max(1, (height - _HEADING) // block)
    columns = 1 if len(answers) <= beside else 2
    lines = math.ceil(len(answers) / columns)
    body = max(height, lines * block)
    panel = columns * (_PANEL + _GAP) - _GAP
    whole = 2 * _MARGIN + width + _GAP + panel
    maps = _maps_height(answers, whole - 2 * _MARGIN)
    sheet = Sheet(whole, _MARGIN + _HEADING + body + maps + 2 * _SMALL + _MARGIN)
    room = whole - 2 * _MARGIN
    sheet.text(_MARGIN, _MARGIN - 4, photo.name, size=16, color=INK, bold=True, room=room)
    top = _MARGIN + _HEADING
    sheet.paste(_MARGIN, top, _annotated(photo.shown, photo.regions))
    for place, region in enumerate(photo.regions):
        x, y = _inner_point(region.shown)
        _badge(sheet, _MARGIN + x, top + y, place)
    for place, answer in enumerate(answers):
        column, line = divmod(place, lines)
        left = _MARGIN + width + _GAP + column * (_PANEL + _GAP)
        _draw_answer(sheet, left, top + line * block, place, answer, bars, caption)
    if maps:
        _draw_maps(sheet, top + body + _GAP, answers, room)
    foot = top + body + maps + _SMALL // 2
    sheet.text(_MARGIN, foot, f"{caption.model}: {caption.calibration}", size=12, color=PALE, room=room)
    write_atomic(path, lambda temporary: sheet.image.save(temporary, "PNG", compress_level=2), durable=False)


def _bars(regions: int, top_k: int) -> int:
    """Return the classes that are drawn for each of so many regions."""
    return min(top_k, 5 if regions <= 3 else 3 if regions <= 6 else 1)


def _block_height(bars: int, what_if: bool) -> int:
    return bars * _ROW + (_ROW if what_if else 0) + (14 if bars > 1 or what_if else 6)


def _annotated(shown: Photo, regions: Sequence[Region]) -> Photo:
    """Tint each region and draw its outline, with a white rim that shows on any colour; larger regions first."""
    picture = shown.astype(np.float32)
    for place, region in enumerate(regions):
        assert region.shown is not None
        picture[region.shown] = (1 - _TINT) * picture[region.shown] + _TINT * np.array(_rgb(place))
    drawn = np.ascontiguousarray(picture.round().astype(np.uint8))
    thick = max(2, round(max(shown.shape[:2]) / 400))
    outlines = [_outlines(region.shown) for region in regions]
    for found in outlines:
        cv2.drawContours(drawn, found, -1, (255, 255, 255), thick + 2, cv2.LINE_AA)
    for place, found in enumerate(outlines):
        cv2.drawContours(drawn, found, -1, _rgb(place), thick, cv2.LINE_AA)
    return drawn


def _outlines(mask: Mask | None) -> Sequence[NDArray[Any]]:
    assert mask is not None
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]


def _inner_point(mask: Mask | None) -> tuple[int, int]:
    """Return the middle of the largest circle that fits into a mask, x and y."""
    assert mask is not None
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(distance)), mask.shape)
    return int(x), int(y)


def _draw_answer(sheet: Sheet, left: int, top: int, place: int, answer: Answer, bars: int, caption: Caption) -> None:
    _badge(sheet, left + _BADGE // 2, top + _ROW // 2, place)
    start = left + _BADGE + 8
    for line, k in enumerate(answer.top(bars)):
        probability = float(answer.probabilities[k])
        _draw_bar(
            sheet, start, top + line * _ROW, caption.classes[k], probability, COLORS[place % len(COLORS)], line == 0
        )
    if answer.without_context is None:
        return
    k = int(best(answer.without_context, 1)[0])
    text = f"without context: {caption.classes[k]} {percent(float(answer.without_context[k]))}"
    changed = k != int(answer.top(1)[0])
    sheet.text(
        start,
        top + bars * _ROW + 3,
        text,
        size=12,
        color=VERMILION if changed else PALE,
        bold=changed,
        room=_PANEL - _BADGE - 8,
    )


def _draw_bar(sheet: Sheet, left: int, top: int, name: str, probability: float, color: str, bold: bool) -> None:
    sheet.text(left, top + 3, name, size=13, color=INK, bold=bold, room=_NAME)
    bar, room = left + _NAME + 8, _PANEL - _BADGE - 8 - _NAME - 8 - _NUMBER
    draw = ImageDraw.Draw(sheet.image)
    draw.rectangle((bar, top + 5, bar + room, top + _ROW - 6), fill="#eeeeee")
    if probability * room >= 1:
        draw.rectangle((bar, top + 5, bar + round(probability * room), top + _ROW - 6), fill=color)
    sheet.text(bar + room + 6, top + 3, percent(probability), size=13, color=INK, bold=bold)


def _badge(sheet: Sheet, x: int, y: int, place: int) -> None:
    """Draw a region's number on its colour, with its middle at x, y."""
    draw, half, text = ImageDraw.Draw(sheet.image), _BADGE // 2, str(place + 1)
    wide = half + 3 * (len(text) - 1)
    frame = (x - wide, y - half, x + wide, y + half)
    draw.rounded_rectangle(frame, half, fill=COLORS[place % len(COLORS)], outline="white", width=2)
    sheet.text(x, y, text, size=12, color="white", bold=True, anchor="mm")


def _tiles(answers: Sequence[Answer], room: int) -> tuple[int, int]:
    """Return the views of an answer, and how many regions' maps stand beside each other."""
    views = len(answers[0].maps or {})
    return views, max(1, (room + _GAP) // (views * (_TILE + 6) + _GAP)) if views else 0


def _maps_height(answers: Sequence[Answer], room: int) -> int:
    views, across = _tiles(answers, room)
    if not views:
        return 0
    return _GAP + math.ceil(len(answers) / across) * (_TILE + _ROW + 2 * _SMALL) + _SMALL


def _draw_maps(sheet: Sheet, top: int, answers: Sequence[Answer], room: int) -> None:
    """Draw the maps of each region's modules, which share one scale."""
    views, across = _tiles(answers, room)
    for place, answer in enumerate(answers):
        line, column = divmod(place, across)
        left = _MARGIN + column * (views * (_TILE + 6) + _GAP)
        upper = top + line * (_TILE + _ROW + 2 * _SMALL)
        _badge(sheet, left + _BADGE // 2, upper + _BADGE // 2, place)
        for number, (view, found) in enumerate((answer.maps or {}).items()):
            x = left + number * (_TILE + 6)
            sheet.paste(x, upper + _ROW + 2, overlay(found.picture, found.heat, _TILE))
            share = "" if math.isnan(found.share) else f": {percent(found.share)} of the evidence"
            sheet.text(x, upper + _ROW + _TILE + 5, f"{view}{share}", size=12, color=INK, room=_TILE)
    bottom = top + math.ceil(len(answers) / across) * (_TILE + _ROW + 2 * _SMALL)
    note = "Maps: dark has no evidence for the answer, bright has a region's strongest; its views share one scale."
    sheet.text(_MARGIN, bottom - 6, note, size=12, color=PALE, room=room)


def _rgb(place: int) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(COLORS[place % len(COLORS)])[:3]
    return red, green, blue
