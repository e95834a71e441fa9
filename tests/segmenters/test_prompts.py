"""What a prompt may say of an object in a photo of 100×60 pixels."""

import math

import pytest

from segmenters.prompts import Prompt
from utils.errors import DataError

WIDTH, HEIGHT = 100, 60
OUTSIDE = "lies outside of the photo, which is 100×60 pixels (as seen, after any EXIF turn)"
NOTHING_INSIDE = "it has no point inside the object and no box; give at least one of them"

FINE = {
    "a point": Prompt(((50, 30),), (1,)),
    "points on the photo's corners": Prompt(((0, 0), (100, 60)), (1, 0)),
    "a box of the whole photo": Prompt(box=(0, 0, 100, 60)),
    "a box thinner than a pixel": Prompt(box=(10, 10, 10.25, 40)),
    "a box and a point on its border": Prompt(((20, 40),), (1,), (20, 10, 60, 40)),
    "a box and a point outside that is not of the object": Prompt(((5, 5),), (0,), (20, 10, 60, 40)),
    "one point twice": Prompt(((50, 30), (50, 30)), (1, 1)),
    "in and out in neighbouring pixels": Prompt(((50.9, 30), (51.1, 30)), (1, 0)),
    "256 points": Prompt(tuple((x % 100, x // 100) for x in range(256)), (1,) * 256),
}


@pytest.mark.parametrize("prompt", FINE.values(), ids=FINE.keys())
def test_prompts_that_can_be_used(prompt: Prompt) -> None:
    assert prompt.problems(WIDTH, HEIGHT) == []
    prompt.check(WIDTH, HEIGHT, "row 3")


WRONG = {
    "nothing": (Prompt(), NOTHING_INSIDE),
    "a point outside alone": (Prompt(((5, 5),), (0,)), NOTHING_INSIDE),
    "right of the photo": (Prompt(((100.5, 30),), (1,)), f"point (100.5, 30) {OUTSIDE}"),
    "above the photo": (Prompt(((50, -1),), (1,)), f"point (50, -1) {OUTSIDE}"),
    "no number": (Prompt(((math.nan, 30),), (1,)), f"point (nan, 30) {OUTSIDE}"),
    "endless": (Prompt(((math.inf, 30),), (1,)), f"point (inf, 30) {OUTSIDE}"),
    "fewer labels": (
        Prompt(((5, 5), (6, 6)), (1,)),
        "2 points have 1 labels; give one label (1 in, 0 out) a point",
    ),
    "another label": (Prompt(((5, 5), (6, 6)), (1, 2)), "label 2 is neither 1 (in) nor 0 (out)"),
    "in and out": (
        Prompt(((50.1, 30.9), (50.8, 30.2)), (1, 0)),
        "pixel (50, 30) is said to lie both in and out; remove one of the two points",
    ),
    "too many points": (
        Prompt(((5, 5),) * 257, (1,) * 257),
        "257 points are too many; at most 256 describe one object",
    ),
    "a box of no width": (
        Prompt(box=(10, 10, 10, 40)),
        "box (10, 10, 10, 40) has no area; give left, top, right, bottom with left < right and top < bottom",
    ),
    "a box turned round": (
        Prompt(box=(10, 40, 30, 20)),
        "box (10, 40, 30, 20) has no area; give left, top, right, bottom with left < right and top < bottom",
    ),
    "a box that leaves the photo": (Prompt(box=(10, 10, 100.5, 40)), f"box (10, 10, 100.5, 40) {OUTSIDE}"),
    "a box without end": (Prompt(box=(0, 0, math.inf, 40)), "box (0, 0, inf, 40) is not made of numbers"),
    "a point beside its box": (
        Prompt(((70, 30),), (1,), (10, 10, 60, 40)),
        "point (70, 30) lies in the object but outside of its box; move one",
    ),
}


@pytest.mark.parametrize(("prompt", "problem"), WRONG.values(), ids=WRONG.keys())
def test_prompts_that_cannot_be_used(prompt: Prompt, problem: str) -> None:
    assert prompt.problems(WIDTH, HEIGHT) == [problem]
    with pytest.raises(DataError) as refused:
        prompt.check(WIDTH, HEIGHT, "row 3")
    assert str(refused.value) == f"row 3: {problem}"


def test_all_problems_are_told_at_once() -> None:
    prompt = Prompt(((-1, 5), (5, 99)), (0, 0), (30, 30, 20, 40))
    assert len(prompt.problems(WIDTH, HEIGHT)) == 3
    with pytest.raises(DataError, match=r"^row 3: 3 problems\n  1. box .*\n  2. point .*\n  3. point "):
        prompt.check(WIDTH, HEIGHT, "row 3")


def test_points_are_told_apart_by_label() -> None:
    prompt = Prompt(((1, 2), (3, 4), (5, 6)), (1, 0, 1))
    assert prompt.positive == ((1, 2), (5, 6))
    assert prompt.negative == ((3, 4),)
