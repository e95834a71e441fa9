"""A photo with what is said of it: outlines and numbers of its regions, and the prompts that found them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor, ImageDraw

from datasets.cutouts import Mask, Photo
from experiments.explanation.lettering import Sheet
from experiments.figures import BLUE, INK, ORANGE, PURPLE, VERMILION
from experiments.prediction.regions import WHOLE, OpenedPhoto, Region

COLORS = (BLUE, ORANGE, "#009E73", VERMILION, PURPLE, "#56B4E9", "#B8A000", "#8A4B2A")
BADGE = 20  # pixels
_TINT = 0.1
_CLICK, _KEEP_OFF = 8, 26  # radius of a click, and how far from one a number stands, in pixels
_DASH = 9

Spot = tuple[float, float]


def color_of(place: int) -> str:
    """Return the colour of the region at ``place``, counted from 0."""
    return COLORS[place % len(COLORS)]


def draw_photo(sheet: Sheet, left: int, top: int, photo: OpenedPhoto) -> None:
    """Draw a photo with its regions, their numbers and their prompts, its corner at ``left``, ``top``."""
    assert photo.shown is not None
    height, width = photo.shown.shape[:2]
    scale = (width / photo.size[0], height / photo.size[1])
    sheet.paste(left, top, _outlined(photo.shown, photo.regions))
    clicks = [_clicks(region, scale) for region in photo.regions]
    for place, (region, own) in enumerate(zip(photo.regions, clicks, strict=True)):
        if region.source["kind"] == WHOLE:
            continue
        x, y = _inner_point(region.shown, [spot for spot, _ in own])
        box = region.source.get("box")
        if box is not None:
            corners = [box[side] * scale[side % 2] + (left, top)[side % 2] for side in range(4)]
            _dashed_box(sheet, corners, color_of(place))
        badge(sheet, left + x, top + y, place)
    for place, own in enumerate(clicks):
        for spot, label in own:
            _click(
                sheet,
                left + round(spot[0]),
                top + round(spot[1]),
                color_of(place) if label else INK,
                "+" if label else "−",
            )


def badge(sheet: Sheet, x: int, y: int, place: int) -> None:
    """Draw a region's number on a plate of its colour, with its middle at x, y."""
    draw, half, text = ImageDraw.Draw(sheet.image), BADGE // 2, str(place + 1)
    wide = half + 3 * (len(text) - 1)
    frame = (x - wide, y - half, x + wide, y + half)
    draw.rounded_rectangle(frame, 3, fill=color_of(place), outline="white", width=2)
    sheet.text(x, y, text, size=12, color="white", bold=True, anchor="mm")


def _click(sheet: Sheet, x: int, y: int, color: str, sign: str) -> None:
    """Draw a click as a white disc with a sign in it."""
    draw = ImageDraw.Draw(sheet.image)
    draw.ellipse((x - _CLICK, y - _CLICK, x + _CLICK, y + _CLICK), fill="white", outline=color, width=2)
    draw.line((x - 4, y, x + 4, y), fill=color, width=2)
    if sign == "+":
        draw.line((x, y - 4, x, y + 4), fill=color, width=2)


def _dashed_box(sheet: Sheet, corners: Sequence[float], color: str) -> None:
    """Draw a rectangle of dashes over a white one, so that it shows on any photo."""
    draw = ImageDraw.Draw(sheet.image)
    left, top, right, bottom = (round(number) for number in corners)
    draw.rectangle((left, top, right, bottom), outline="white", width=3)
    for one, other in pairwise([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]):
        length = max(1, abs(other[0] - one[0]) + abs(other[1] - one[1]))
        for start in range(0, length, 2 * _DASH):
            ends = [min(1.0, distance / length) for distance in (start, start + _DASH)]
            spots = [tuple(round(a + (b - a) * end) for a, b in zip(one, other, strict=True)) for end in ends]
            draw.line([(spot[0], spot[1]) for spot in spots], fill=color, width=3)


def _clicks(region: Region, scale: tuple[float, float]) -> list[tuple[Spot, int]]:
    """Return the points of a region's prompt in the drawn photo, and whether each lies in it."""
    points, labels = region.source.get("points", []), region.source.get("labels", [])
    return [((x * scale[0], y * scale[1]), label) for (x, y), label in zip(points, labels, strict=True)]


def _outlined(shown: Photo, regions: Sequence[Region]) -> Photo:
    """Tint regions a little and draw their outlines, with a white rim that shows on any colour; no whole photo."""
    if all(region.source["kind"] == WHOLE for region in regions):
        return shown
    picture = shown.astype(np.float32)
    covered = np.zeros(shown.shape[:2], dtype=bool)
    for place, region in enumerate(regions):
        assert region.shown is not None
        fresh = region.shown & ~covered  # regions overlap; many tints would hide the food
        picture[fresh] = (1 - _TINT) * picture[fresh] + _TINT * np.array(_rgb(place))
        covered |= region.shown
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


def _inner_point(mask: Mask | None, clicks: Sequence[Spot]) -> tuple[int, int]:
    """Return the middle of the largest circle that fits into a mask beside the clicks, x and y."""
    assert mask is not None
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    if not distance.any():  # too small to be seen in the drawn photo
        return round(clicks[0][0]) + _KEEP_OFF if clicks else mask.shape[1] // 2, mask.shape[0] // 2
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    free = np.ones(mask.shape, dtype=bool)
    for x, y in clicks:
        free &= (columns - x) ** 2 + (rows - y) ** 2 > _KEEP_OFF**2
    inside = np.where(free, distance, 0)
    if not inside.any():  # a region no larger than a click: beside it
        inside = np.where(free, 1 / (1 + cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, 3)), 0)
    row, column = np.unravel_index(int(np.argmax(inside)), mask.shape)
    return int(column), int(row)


def _rgb(place: int) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(color_of(place))[:3]
    return red, green, blue
