"""Pictures of masks: which pairs count as the worst, and squares around masks that lie anywhere in a photo."""

import numpy as np
import pytest

from experiments.mask_quality.gallery import _around, worst_pairs
from experiments.mask_quality.plots import COLORS, MARKERS
from experiments.mask_quality.prompted import Compared


def pair(stem: str, iou: float) -> Compared:
    return Compared("test", "bread", stem, stem, 0.1, 1, {"box": iou})


def test_the_worst_pairs_lie_below_the_median() -> None:
    worst, median = worst_pairs(
        [pair("a", 0.9), pair("b", 0.98), pair("c", 0.5), pair("d", 0.99), pair("e", 0.98)], "box"
    )
    assert [one.stem for one in worst] == ["c", "a"]
    assert median == 0.98
    many, _ = worst_pairs([pair(str(number), number / 100) for number in range(100)], "box")
    assert [one.stem for one in many] == [str(number) for number in range(8)]
    alike, _ = worst_pairs([pair("a", 1), pair("b", 1)], "box")
    assert [one.stem for one in alike] == ["a"]


@pytest.mark.parametrize(("top", "left"), [(0, 0), (10, 150), (22, 90)])
def test_what_is_drawn_is_a_square_that_holds_the_mask(top: int, left: int) -> None:
    """A mask of 8×30 pixels in a photo of 30×180: 46 pixels wide, more than the photo is high."""
    photo = np.zeros((30, 180, 3), dtype=np.uint8)
    mask = np.zeros((30, 180), dtype=bool)
    mask[top : top + 8, left : left + 30] = True
    drawn, truth, found = _around(photo, mask, mask)
    assert drawn.shape == (46, 46, 3)
    assert truth.shape == found.shape == (46, 46)
    assert np.count_nonzero(truth) == np.count_nonzero(found) == 8 * 30
    assert not drawn[truth].any()
    assert np.count_nonzero(drawn[..., 0] == 240) == 16 * 46


def test_the_kinds_of_prompt_asked_for_by_default_have_colours_and_markers_of_their_own() -> None:
    assert len(set(COLORS)) == len(COLORS) >= 7
    assert len(set(MARKERS)) == len(MARKERS) == len(COLORS)
