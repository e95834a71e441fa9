"""The rule that chooses among candidates, and measures of masks, on masks of 2×4 pixels."""

import numpy as np
import pytest

from segmenters.everything import distinct
from segmenters.segmenter import Candidate, Choice, Mask, check_mask, choose, iou, union
from utils.errors import DataError


def mask(*rows: str) -> Mask:
    return np.array([[letter == "#" for letter in row] for row in rows])


EMPTY, FULL = mask("....", "...."), mask("####", "####")
LEFT, MIDDLE = mask("##..", "##.."), mask(".##.", ".##.")
SMALL = mask("#...", "....")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (LEFT, MIDDLE, 2 / 6),
        (LEFT, LEFT, 1.0),
        (LEFT, FULL, 0.5),
        (LEFT, SMALL, 0.25),
        (LEFT, mask("..##", "..##"), 0.0),
        (LEFT, EMPTY, 0.0),
        (EMPTY, EMPTY, 1.0),
    ],
)
def test_intersection_over_union(one: Mask, other: Mask, expected: float) -> None:
    assert iou(one, other) == iou(other, one) == expected


def test_union_covers_what_any_covers() -> None:
    np.testing.assert_array_equal(union([SMALL, MIDDLE]), mask("###.", ".##."))
    np.testing.assert_array_equal(union([SMALL]), SMALL)


CANDIDATES = [Candidate(SMALL, 0.4), Candidate(FULL, 0.7), Candidate(LEFT, 0.9), Candidate(MIDDLE, 0.9)]


@pytest.mark.parametrize(("rule", "place"), [("score", 2), ("largest", 1), ("smallest", 0)])
def test_choice_by_rule_and_the_first_of_equals(rule: Choice, place: int) -> None:
    assert choose(CANDIDATES, rule) is CANDIDATES[place]


@pytest.mark.parametrize("rule", ["score", "largest", "smallest"])
def test_empty_masks_are_taken_only_where_there_is_no_other(rule: Choice) -> None:
    empty, other = Candidate(EMPTY, 0.99), Candidate(LEFT, 0.1)
    assert choose([empty, other], rule) is other
    assert choose([empty], rule) is empty


def test_area_is_in_pixels() -> None:
    assert [candidate.area for candidate in CANDIDATES] == [1, 8, 4, 4]


def test_like_masks_are_left_out_and_the_best_come_first() -> None:
    # LEFT and MIDDLE overlap by a third, FULL and LEFT by a half, SMALL and LEFT by a quarter.
    found = distinct([*CANDIDATES, Candidate(LEFT.copy(), 0.95)], alike=0.5)
    assert [(one.area, one.score) for one in found] == [(4, 0.95), (4, 0.9), (1, 0.4)]


def test_masks_that_leave_a_cut_out_without_pixels_are_refused() -> None:
    check_mask(LEFT, "photo 1")
    with pytest.raises(DataError, match=r"^photo 1: the mask is empty"):
        check_mask(EMPTY, "photo 1")
    with pytest.raises(DataError, match=r"^photo 1: the mask covers the whole photo"):
        check_mask(FULL, "photo 1")
