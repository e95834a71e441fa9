from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets import cutouts
from datasets.transforms import MaskFinder, channel_mask, compose, cut_into, plain_mask, recover_mask

Noise = Callable[[int, int, int], tuple[NDArray[np.uint8], NDArray[np.bool_]]]


def test_cutting_recovering_and_composing_is_exact_without_loss(noise: Noise) -> None:
    photo, mask = noise(3, 40, 30)
    roi, extra_roi = (np.moveaxis(x, 2, 0) for x in cutouts.cut(photo, mask))
    assert np.array_equal(recover_mask(roi, extra_roi), mask)
    assert np.array_equal(compose(roi, extra_roi, channel_mask(mask)), np.moveaxis(photo, 2, 0))


def test_the_mask_of_three_channels_agrees_with_a_slow_sum() -> None:
    generator = np.random.default_rng(0)
    roi, extra_roi = generator.integers(0, 256, (2, 3, 9, 7), dtype=np.uint8)
    expected = [[sum(map(int, roi[:, y, x])) > sum(map(int, extra_roi[:, y, x])) for x in range(7)] for y in range(9)]
    assert recover_mask(roi, extra_roi).tolist() == expected


def test_masks_of_pictures_of_many_sizes_one_after_the_other() -> None:
    generator = np.random.default_rng(1)
    finder = MaskFinder()
    pairs = [generator.integers(0, 256, (2, 3, height, width)) for height, width in ((5, 4), (9, 7), (1, 1), (3, 8))]
    found = [finder.find(*pair.astype(np.uint8)) for pair in pairs]  # kept, as a reader's caller may keep them
    for pair, channels in zip(pairs, found, strict=True):
        expected = pair[0].sum(axis=0) > pair[1].sum(axis=0)
        assert np.array_equal(plain_mask(channels), expected)
        assert np.array_equal(channels, np.repeat(expected[:, :, None], 3, axis=2))
        assert np.array_equal(channel_mask(expected), channels)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_cut_leaves_black_outside_its_own_side_whatever_the_order_in_memory(interleaved: bool, noise: Noise) -> None:
    photo, mask = noise(5, 20, 12)
    picture = photo.transpose(2, 0, 1)
    canvas = np.full((12, 20, 3), 9, dtype=np.uint8).transpose(2, 0, 1)
    if not interleaved:
        picture, canvas = np.ascontiguousarray(picture), np.ascontiguousarray(canvas)
    for view, kept in (("roi", mask), ("extra_roi", ~mask), ("photo", np.ones_like(mask))):
        cut_into(canvas, picture, channel_mask(mask), view)
        assert np.array_equal(canvas, np.where(kept, picture, 0))
