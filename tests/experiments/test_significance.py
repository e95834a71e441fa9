"""Paired tests, corrections and power against textbook values, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest

from experiments.statistics import holm, mcnemar, minimum_detectable_difference, t_interval


def hits(only_a: int, only_b: int, both: int = 5) -> tuple[np.ndarray, np.ndarray]:
    a = np.r_[np.ones(only_a), np.zeros(only_b), np.ones(both)].astype(bool)
    b = np.r_[np.zeros(only_a), np.ones(only_b), np.ones(both)].astype(bool)
    return a, b


@pytest.mark.parametrize(
    ("only_a", "only_b", "expected"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 / 32),
        (10, 2, 2 * (1 + 12 + 66) / 4096),  # 1, 12, 66: ways to choose 0, 1, 2 of 12
        (2, 10, 2 * (1 + 12 + 66) / 4096),
        (121, 59, 4.434e-6),  # chi-squared is 62² / 180 = 21.36, whose p is 3.8e-6
    ],
)
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int, expected: float) -> None:
    result = mcnemar(*hits(only_a, only_b))
    assert (result.only_a, result.only_b, result.grouped_p_value) == (only_a, only_b, None)
    total, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(total, count) for count in range(fewer + 1)) / 2**total
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))
    assert result.p_value == pytest.approx(expected, rel=1e-3)


def test_grouped_mcnemar_equals_the_plain_one_for_groups_of_one_pair() -> None:
    a, b = hits(17, 6)
    result = mcnemar(a, b, np.arange(a.size))
    assert result.grouped_p_value == pytest.approx(result.p_value)


def test_grouped_mcnemar_equals_the_enumeration_of_all_sign_flips() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(30) < 0.7, generator.random(30) < 0.4
    groups = np.sort(generator.integers(0, 9, 30))
    sums = np.array([(a[groups == g].astype(int) - b[groups == g].astype(int)).sum() for g in np.unique(groups)])
    flips = np.array(list(itertools.product([-1, 1], repeat=sums.size))) @ sums
    expected = np.mean(np.abs(flips) >= abs(sums.sum()))
    assert mcnemar(a, b, groups).grouped_p_value == pytest.approx(expected)
    assert expected < 1


def test_one_group_cannot_show_a_difference() -> None:
    a, b = hits(20, 0)
    result = mcnemar(a, b, np.zeros(a.size))
    assert result.p_value < 1e-5
    assert result.grouped_p_value == 1.0


def test_holm_adjusts_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.013]) == [0.013]
    assert holm([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(bad: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        holm([0.5, bad])


def test_t_interval_of_three_seeds() -> None:
    # mean 0.7, deviation 0.1, t(0.975, 2) = 4.302653
    result = t_interval([0.6, 0.7, 0.8])
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (result.mean, result.low, result.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    assert t_interval([0.6, 0.7, 0.8], level=0.9).low == pytest.approx(0.7 - 2.919986 * 0.1 / math.sqrt(3))


def test_t_interval_of_one_run_and_of_none() -> None:
    assert t_interval([0.42]) == (0.42, None, None)
    with pytest.raises(ValueError, match="no runs"):
        t_interval([])


def test_detectable_difference_solves_its_equation() -> None:
    # z = 1.959964 + 0.841621; 1000 single pairs; d must equal z sqrt((0.2 - d²) / 1000).
    found = minimum_detectable_difference(np.arange(1000), disagreement=0.2)
    assert found is not None
    assert found == pytest.approx(2.801585 * math.sqrt((0.2 - found**2) / 1000), rel=1e-5)
    assert found == pytest.approx(0.0395, abs=2e-4)


def test_detectable_difference_with_whole_groups_counts_groups() -> None:
    pairs = minimum_detectable_difference(np.repeat(np.arange(250), 4), correlation=0.0)
    assert pairs == minimum_detectable_difference(np.arange(1000))
    whole = minimum_detectable_difference(np.repeat(np.arange(250), 4), correlation=1.0)
    assert whole == pytest.approx(minimum_detectable_difference(np.arange(250)))


def test_a_tiny_test_set_detects_nothing() -> None:
    assert minimum_detectable_difference(np.arange(20), disagreement=0.2) is None
    assert minimum_detectable_difference(np.zeros(0)) is None


def test_the_detectable_difference_is_found_with_the_wanted_power() -> None:
    generator = np.random.default_rng(5)
    gap = minimum_detectable_difference(np.arange(800), disagreement=0.2)
    assert gap is not None
    shares = [(0.2 + gap) / 2, (0.2 - gap) / 2, 0.8]
    found = 0
    for _ in range(400):
        only_a, only_b, _both = generator.multinomial(800, shares)
        found += mcnemar(*hits(only_a, only_b)).p_value < 0.05
    assert 0.7 < found / 400 < 0.88
