"""Masks grown and shrunk."""

import numpy as np
import pytest

from experiments.click.growth import regrown
from utils.errors import DataError


def disc(radius: float, side: int = 121) -> np.ndarray:
    rows, columns = np.ogrid[:side, :side]
    return np.asarray((rows - side // 2) ** 2 + (columns - side // 2) ** 2 <= radius**2)


@pytest.mark.parametrize("share", [-0.5, -0.2, 0.2, 0.5])
def test_a_disc_becomes_a_disc_of_the_other_radius(share: float) -> None:
    grown = regrown(disc(30), share)
    wanted = disc(30 * (1 + share))
    assert np.count_nonzero(grown ^ wanted) < 0.04 * np.count_nonzero(wanted)


def test_no_growth_changes_nothing_and_a_little_growth_not_much() -> None:
    mask = disc(30)
    assert np.array_equal(regrown(mask, 0.0), mask)
    assert np.array_equal(regrown(mask, 0.01), mask)  # 0.3 pixels


def test_growing_keeps_the_mask_and_shrinking_stays_inside() -> None:
    mask = np.random.default_rng(0).random((60, 80)) < 0.02
    mask[20:40, 30:60] = True
    assert (mask <= regrown(mask, 0.3)).all()
    assert (regrown(mask, -0.3) <= mask).all()


def test_a_mask_at_the_photos_edge_does_not_shrink_away_from_the_edge() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[:, :20] = True
    shrunk = regrown(mask, -0.2)
    assert shrunk[:, 0].all()
    assert not shrunk[:, 19].any()


def test_nothing_left_is_said() -> None:
    thin = np.zeros((40, 40), dtype=bool)
    thin[20] = True
    with pytest.raises(DataError, match="until nothing was left"):
        regrown(thin, -0.5)
