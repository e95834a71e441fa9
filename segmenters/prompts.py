"""What a person says of an object in a photo: points inside and outside of it, and a box around it."""

import math
from dataclasses import dataclass

from utils.errors import DataError, problem_list

Point = tuple[float, float]
Box = tuple[float, float, float, float]
IN, OUT = 1, 0
_MOST_POINTS = 256


@dataclass(frozen=True)
class Prompt:
    """One object of one photo.

    Coordinates are pixels of the upright photo from its top-left corner, x to the right and y down; the centre of
    the first pixel is (0.5, 0.5).

    Attributes:
        points: (x, y) each.
        labels: for each point 1, it lies in the object, or 0, it lies outside.
        box: (left, top, right, bottom) around the object, or null.
    """

    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None

    @property
    def positive(self) -> tuple[Point, ...]:
        """The points that lie in the object."""
        return tuple(point for point, label in zip(self.points, self.labels, strict=True) if label == IN)

    @property
    def negative(self) -> tuple[Point, ...]:
        """The points that lie outside of the object."""
        return tuple(point for point, label in zip(self.points, self.labels, strict=True) if label == OUT)

    def problems(self, width: int, height: int) -> list[str]:
        """Return what is wrong with the prompt in a photo of that size, in words; nothing where it can be used."""
        if len(self.points) != len(self.labels):
            return [f"{len(self.points)} points have {len(self.labels)} labels; give one label (1 in, 0 out) a point"]
        if len(self.points) > _MOST_POINTS:
            return [f"{len(self.points)} points are too many; at most {_MOST_POINTS} describe one object"]
        found = [] if self.box is None else _box_problems(self.box, width, height)
        for x, y in self.points:
            if not (0 <= x <= width and 0 <= y <= height):  # false for NaN too
                found.append(f"point ({x:g}, {y:g}) {_outside(width, height)}")
        found += [f"label {label} is neither 1 (in) nor 0 (out)" for label in set(self.labels) - {IN, OUT}]
        pixels = [{(math.floor(x), math.floor(y)) for x, y in points} for points in self._finite()]
        if both := sorted(pixels[0] & pixels[1]):
            found.append(f"pixel {both[0]} is said to lie both in and out; remove one of the two points")
        if not self.positive and self.box is None:
            found.append("it has no point inside the object and no box; give at least one of them")
        found += self._points_outside_box()
        return found

    def check(self, width: int, height: int, where: str) -> None:
        """Raise a ``DataError`` that starts with ``where`` and names every problem of the prompt."""
        if found := self.problems(width, height):
            raise DataError(problem_list(where, found))

    def _finite(self) -> tuple[list[Point], list[Point]]:
        """Return the positive and the negative points that are numbers."""
        positive, negative = (
            [point for point in points if all(map(math.isfinite, point))] for points in (self.positive, self.negative)
        )
        return positive, negative

    def _points_outside_box(self) -> list[str]:
        if self.box is None:
            return []
        left, top, right, bottom = self.box
        outside = [(x, y) for x, y in self.positive if not (left <= x <= right and top <= y <= bottom)]
        return [f"point ({x:g}, {y:g}) lies in the object but outside of its box; move one" for x, y in outside[:1]]


def _box_problems(box: Box, width: int, height: int) -> list[str]:
    left, top, right, bottom = box
    text = f"box ({left:g}, {top:g}, {right:g}, {bottom:g})"
    if not all(map(math.isfinite, box)):
        return [f"{text} is not made of numbers"]
    if right <= left or bottom <= top:
        return [f"{text} has no area; give left, top, right, bottom with left < right and top < bottom"]
    if left < 0 or top < 0 or right > width or bottom > height:
        return [f"{text} {_outside(width, height)}"]
    return []


def _outside(width: int, height: int) -> str:
    return f"lies outside of the photo, which is {width}×{height} pixels (as seen, after any EXIF turn)"
