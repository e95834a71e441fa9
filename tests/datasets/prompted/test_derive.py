"""Prompts of masks whose boxes, centres and circles can be worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.prompted.derive import PROMPT_KINDS, PromptKind, derive_prompts, key_generator
from segmenters.prompts import Prompt
from utils.errors import ConfigError


def derive(
    mask: NDArray[np.bool_], kind: PromptKind, points: int = 1, jitter: float = 0.0, key: str = "train/rice/a"
) -> list[Prompt]:
    return derive_prompts(mask, kind, points=points, jitter=jitter, generator=key_generator(0, key))


def scene(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((60, 80), dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_every_object_gets_its_tight_box() -> None:
    found = derive(scene((40, 30, 80, 60), (5, 2, 25, 12)), "box")
    assert [prompt.box for prompt in found] == [(5, 2, 25, 12), (40, 30, 80, 60)]
    assert all(not prompt.points for prompt in found)


def test_specks_are_no_objects_and_parts_that_touch_at_a_corner_are_one() -> None:
    found = derive(scene((10, 10, 30, 30), (30, 30, 32, 32), (60, 50, 64, 54)), "box")
    assert [prompt.box for prompt in found] == [(10, 10, 32, 32)]  # 16 pixels are less than a twentieth of 404
    found = derive(scene((10, 10, 30, 30), (60, 50, 65, 54)), "box")
    assert [prompt.box for prompt in found] == [(10, 10, 30, 30), (60, 50, 65, 54)]  # 20 of 400 are not


def test_the_centre_is_that_of_the_largest_circle_not_of_the_mass() -> None:
    disc = (np.arange(80) + 0.5 - 50.5) ** 2 + (np.arange(60)[:, None] + 0.5 - 30.5) ** 2 <= 15**2
    handle = scene((2, 29, 40, 32))
    (prompt,) = derive(disc | handle, "center")
    assert prompt.points == ((50.5, 30.5),)
    assert prompt.labels == (1,)


def test_the_edge_of_the_photo_is_a_border() -> None:
    (prompt,) = derive(np.ones((21, 41), dtype=bool), "center")
    assert prompt.points[0][1] == 10.5
    assert 10 <= prompt.points[0][0] <= 31


def test_random_points_are_different_pixels_of_the_object() -> None:
    mask = scene((10, 10, 20, 20), (40, 30, 80, 60))
    first, second = derive(mask, "points", points=30)
    for prompt, box in ((first, (10, 10, 20, 20)), (second, (40, 30, 80, 60))):
        assert len(set(prompt.points)) == 30
        assert all(box[0] < x < box[2] and box[1] < y < box[3] for x, y in prompt.points)
        assert all(x % 1 == y % 1 == 0.5 for x, y in prompt.points)


def test_an_object_of_few_pixels_gets_all_of_them() -> None:
    (prompt,) = derive(scene((10, 10, 12, 13)), "points", points=10)
    assert set(prompt.points) == {(x + 0.5, y + 0.5) for x in (10, 11) for y in (10, 11, 12)}


@pytest.mark.parametrize("seed", range(20))
def test_jitter_moves_within_its_reach_and_inside_the_photo(seed: int) -> None:
    mask, key = scene((0, 0, 20, 10), (50, 30, 79, 59)), str(seed)
    for prompt, box in zip(derive(mask, "box", jitter=0.3, key=key), ((0, 0, 20, 10), (50, 30, 79, 59)), strict=True):
        assert prompt.box is not None
        reach = 0.3 * (box[2] - box[0]), 0.3 * (box[3] - box[1])
        assert all(
            abs(moved - side) <= reach[i % 2] for i, (moved, side) in enumerate(zip(prompt.box, box, strict=True))
        )
        assert prompt.box != box
    (_, prompt), radius = derive(mask, "center", jitter=0.5, key=key), 14.5
    assert np.hypot(prompt.points[0][0] - 64.5, prompt.points[0][1] - 44.5) <= 0.5 * radius
    for kind in PROMPT_KINDS:
        for prompt in derive(mask, kind, points=5, jitter=1.0, key=key):
            assert prompt.problems(80, 60) == []


def test_draws_depend_on_seed_and_key_alone() -> None:
    mask = scene((10, 10, 40, 40))
    once = derive(mask, "points", points=3)
    derive(mask, "points", points=7)
    assert derive(mask, "points", points=3) == once
    assert derive(mask, "points", points=3, key="train/rice/b") != once
    other = derive_prompts(mask, "points", points=3, generator=key_generator(1, "train/rice/a"))
    assert other != once


@pytest.mark.parametrize("kind", PROMPT_KINDS)
def test_masks_of_nothing_and_of_one_pixel(kind: PromptKind) -> None:
    assert derive(np.zeros((4, 4), dtype=bool), kind) == []
    (prompt,) = derive(np.ones((1, 1), dtype=bool), kind, jitter=1.0)
    assert prompt.problems(1, 1) == []


def test_at_most_64_objects_the_largest() -> None:
    mask = np.zeros((60, 80), dtype=bool)
    mask[::4, ::4] = True
    mask[20, 41] = True
    found = derive(mask, "box")
    assert len(found) == 64
    assert (40, 20, 42, 21) in [prompt.box for prompt in found]


@pytest.mark.parametrize(("points", "jitter"), [(0, 0.0), (257, 0.0), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_numbers_out_of_range(points: int, jitter: float) -> None:
    with pytest.raises(ConfigError):
        derive(scene((1, 1, 5, 5)), "points", points, jitter)
