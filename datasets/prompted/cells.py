"""Points, labels and boxes as people write them: in the cells of a CSV file, or as lists of numbers."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from segmenters.prompts import IN, Box, Point
from utils.names import shown

LARGEST = 1_000_000.0  # pixels; no photo is as wide
_NUMBER = re.compile(r"[-+]?(\d{1,15}(\.\d{0,20})?|\.\d{1,20})([eE][-+]?\d{1,2})?", re.ASCII)
_POINTS = "points 'x y; x y' or [[x, y], …]"
_LABELS = "labels '1; 0' or [1, 0]: 1 lies in the object, 0 outside"
_BOX = "a box 'left top right bottom' or [left, top, right, bottom]"


def read_points(value: object) -> tuple[Point, ...]:
    """Return points; a ``ValueError`` says what is wrong."""
    rows = _split(value, ";", _split_numbers) if isinstance(value, str) else value
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        raise ValueError(f"{seen(value)} is not {_POINTS}")
    return tuple((_coordinate(x, value), _coordinate(y, value)) for x, y in rows)


def read_labels(value: object) -> tuple[int, ...]:
    """Return labels, 1 or 0; a ``ValueError`` says what is wrong."""
    labels = re.split(r"[;,\s]+", value.strip()) if isinstance(value, str) else value
    known: dict[object, int] = {"1": 1, "0": 0} if isinstance(value, str) else {1: 1, 0: 0}
    if not isinstance(labels, list) or any(type(label) not in (str, int) or label not in known for label in labels):
        raise ValueError(f"{seen(value)} is not {_LABELS}")
    return tuple(known[label] for label in labels)


def read_box(value: object) -> Box:
    """Return a box; a ``ValueError`` says what is wrong."""
    sides = _split_numbers(value) if isinstance(value, str) else value
    if not isinstance(sides, list) or len(sides) != 4:
        raise ValueError(f"{seen(value)} is not {_BOX}")
    left, top, right, bottom = (_coordinate(side, value) for side in sides)
    return left, top, right, bottom


def default_labels(points: Sequence[Point]) -> tuple[int, ...]:
    """Return the labels of points of which nothing is said: they lie in the object."""
    return (IN,) * len(points)


def _split(text: str, separator: str, each: Callable[[str], list[str]]) -> list[list[str]]:
    return [each(part) for part in text.strip().rstrip(separator).split(separator)]


def _split_numbers(text: str) -> list[str]:
    return [part for part in re.split(r"\s*,\s*|\s+", text.strip()) if part]


def _coordinate(value: Any, whole: object) -> float:  # noqa: ANN401  # what a file holds
    """Return a number of pixels; a ``ValueError`` quotes the whole cell."""
    number = math.nan
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if -1e15 < value < 1e15 else math.inf
    if math.isnan(number):
        raise ValueError(f"{seen(whole)} holds {seen(value)}, which is not a number of pixels")
    if not 0 <= number <= LARGEST:
        raise ValueError(
            f"{seen(whole)} holds {seen(value)}; coordinates are pixels from the photo's top-left corner, 0 to "
            f"{LARGEST:,.0f}"
        )
    return number


def seen(value: object, depth: int = 0) -> str:
    """Return what a file holds for a message: one line, cut off where it is long or deep."""
    if depth == 0:
        return shown(seen(value, 1))
    if isinstance(value, list) and depth < 4:
        return "[" + ", ".join(seen(one, depth + 1) for one in value[:8]) + (", …" if len(value) > 8 else "") + "]"
    if isinstance(value, list | dict):
        return "{…}" if isinstance(value, dict) else "[…]"
    return str(value)[:100]
