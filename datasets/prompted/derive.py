"""Prompts that a mask stands for: what a person would say of its objects. Pure functions of mask, kind and draws."""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.draws import generator as draw_generator
from segmenters.prompts import IN, Box, Point, Prompt
from utils.errors import require

Mask = NDArray[np.bool_]
PromptKind = Literal["box", "center", "points"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
VERSION = 1  # of this file's way to prompts, draws included: a change of it makes other trees
LEAST_PART = 0.05  # of the largest object's area: smaller specks of an annotation are not objects
MOST_OBJECTS = 64  # of one mask, the largest ones: more than a person would point at
MOST_POINTS = 256


def derive_prompts(
    mask: Mask, kind: PromptKind, *, points: int = 1, jitter: float = 0.0, generator: np.random.Generator
) -> list[Prompt]:
    """Return one prompt for each object of a mask, from the top: its box, its middle, or points in it.

    An object is a connected part (corners connect) of at least ``LEAST_PART`` of the largest part's area; there are
    at most ``MOST_OBJECTS``, the largest. The prompts always fit the photo.

    Args:
        mask: H×W, true in the objects; one without a pixel gives no prompt.
        kind: ``box``: the tight box around the object; ``center``: the centre of the largest circle in it;
            ``points``: centres of pixels of the object, drawn without repetition.
        points: of ``points``, how many an object gets, 1..256; an object of fewer pixels gets each of them.
        jitter: how far a prompt is moved at most, 0..1: each side of a box by this part of the box's width or height,
            a point by this part of the radius of the largest circle, evenly over a disc; 0 draws nothing for it.
            What would leave the photo stops at its edge.
        generator: of the draws.

    Raises:
        ConfigError: for ``points`` or ``jitter`` out of range.
    """
    check_derivation(points, jitter)
    return [_prompt(*part, kind, points, jitter, mask.shape, generator) for part in objects(mask)]


def check_derivation(points: int, jitter: float, options: tuple[str, str] = ("points", "jitter")) -> None:
    """Refuse numbers out of range with a ``ConfigError`` that calls them by the names in ``options``."""
    require(1 <= points <= MOST_POINTS, options[0], points, f"1 to {MOST_POINTS} points for each object")
    require(0.0 <= jitter <= 1.0, options[1], jitter, "0 to 1, a part of the box's side or of the object's radius")


def key_generator(seed: int, key: str) -> np.random.Generator:
    """Return the generator of one mask's prompts; it depends on the seed and the key "split/class/stem" alone."""
    return draw_generator(seed, 0, "prompts", key)


def objects(mask: Mask) -> Iterator[tuple[Mask, int, int]]:
    """Yield each object, cut out tightly, with the column and row of its first pixel in the photo."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # what lies outside of all objects
    largest = np.argsort(-areas, kind="stable")[:MOST_OBJECTS]
    for number in sorted(int(label) for label in largest if areas[label] > 0):
        if areas[number] < LEAST_PART * areas.max():
            continue
        left, top, width, height = (int(value) for value in stats[number, :4])
        yield labels[top : top + height, left : left + width] == number, left, top


def _prompt(
    part: Mask,
    left: int,
    top: int,
    kind: PromptKind,
    points: int,
    jitter: float,
    shape: tuple[int, ...],
    generator: np.random.Generator,
) -> Prompt:
    height, width = shape
    if kind == "box":
        tight = (float(left), float(top), float(left + part.shape[1]), float(top + part.shape[0]))
        return Prompt(box=_moved_box(tight, jitter, width, height, generator) if jitter else tight)
    x, y, radius = _largest_circle(part)
    found = [(x, y)] if kind == "center" else _drawn(part, points, generator)
    placed = [(left + x, top + y) for x, y in found]
    if jitter:
        placed = [_moved_point(point, jitter * radius, width, height, generator) for point in placed]
    return Prompt(tuple(placed), (IN,) * len(placed))


def _largest_circle(part: Mask) -> tuple[float, float, float]:
    """Return x, y and radius in pixels of the largest circle in an object; the first from the top of equals.

    The edge of the object's box counts as border, as the edge of the photo does.
    """
    padded = np.pad(part.astype(np.uint8), 1)
    distances = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distances)), distances.shape)
    return float(column) + 0.5, float(row) + 0.5, float(distances[row, column]) - 0.5


def _drawn(part: Mask, count: int, generator: np.random.Generator) -> list[Point]:
    rows, columns = np.nonzero(part)
    chosen = generator.choice(len(rows), size=min(count, len(rows)), replace=False)
    return [(float(columns[place]) + 0.5, float(rows[place]) + 0.5) for place in chosen]


def _moved_box(box: Box, jitter: float, width: int, height: int, generator: np.random.Generator) -> Box:
    """Return a box whose sides are moved, each by itself; it keeps an area of at least one pixel."""
    left, top, right, bottom = box
    across, down = jitter * (right - left), jitter * (bottom - top)
    shifts = generator.uniform(-1.0, 1.0, size=4)
    horizontal = _interval(left + across * shifts[0], right + across * shifts[2], width)
    vertical = _interval(top + down * shifts[1], bottom + down * shifts[3], height)
    return horizontal[0], vertical[0], horizontal[1], vertical[1]


def _interval(start: float, end: float, length: int) -> tuple[float, float]:
    """Return an interval in 0..``length``, at least 1 long; sides that passed each other are swapped."""
    start, end = sorted((float(start), float(end)))
    start = min(max(start, 0.0), length - 1.0)
    return start, min(max(end, start + 1.0), float(length))


def _moved_point(
    point: Point, reach: float, width: int, height: int, generator: np.random.Generator
) -> tuple[float, float]:
    distance, turn = reach * math.sqrt(generator.uniform()), 2 * math.pi * generator.uniform()
    x, y = point[0] + distance * math.cos(turn), point[1] + distance * math.sin(turn)
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
