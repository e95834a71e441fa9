"""Means of IoUs on resampled groups against a plain loop, and slopes of lines that are known."""

import numpy as np
import pytest

from experiments.mask_quality.agreement import difference, mean_samples, size_bin, summaries
from experiments.mask_quality.slopes import loss_per_tenth, through_origin
from experiments.resampling import draw_groups

NONE = float("nan")


def test_means_on_resamples_are_those_of_a_loop_over_the_drawn_groups() -> None:
    groups = np.array(["b", "a", "b", "c", "a"])
    values = np.array([[0.5, NONE], [0.2, 0.9], [0.7, NONE], [1.0, 0.1], [0.0, 0.3]])
    samples = mean_samples(values, groups, resamples=50, seed=7)
    (weights,) = draw_groups(3, 2, 50, 7)
    for resample in range(50):
        drawn = [row for name, times in zip("abc", weights[:, resample], strict=True) for row in
                 np.flatnonzero(groups == name).tolist() * int(times)]  # fmt: skip
        for column in range(2):
            found = values[drawn, column]
            found = found[~np.isnan(found)]
            expected = found.mean() if found.size else NONE
            assert samples[column, resample] == pytest.approx(expected, nan_ok=True)


def test_a_column_is_described_by_its_own_pairs() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4, NONE])
    found = summaries({"x": values, "none": np.full(5, NONE)}, np.arange(5), resamples=100)
    assert found["x"]["pairs"] == 4
    assert found["x"]["mean"] == pytest.approx(0.25)
    assert [found["x"][name] for name in ("q25", "median", "q75", "least")] == pytest.approx([0.175, 0.25, 0.325, 0.1])
    low, high = found["x"]["mean_ci"]
    assert 0.1 <= low < 0.25 < high <= 0.4
    assert found["none"] == {"pairs": 0} | dict.fromkeys(("mean", "mean_ci", "q25", "median", "q75", "least"))


def test_a_single_group_has_a_mean_and_no_interval() -> None:
    found = summaries({"x": np.array([0.1, 0.3])}, np.zeros(2), resamples=100)["x"]
    assert found["mean"] == pytest.approx(0.2)
    assert found["mean_ci"] is None


def test_a_constant_gain_is_certain() -> None:
    one = np.array([0.5, 0.6, 0.9, 0.7])
    found = difference(one, one - 0.25, np.arange(4), resamples=200)
    assert found["difference"] == pytest.approx(0.25)
    assert found["interval"] == pytest.approx([0.25, 0.25])


def test_sizes_fall_into_bins_whose_bounds_belong_to_the_upper_one() -> None:
    names = [size_bin(part) for part in (0.0, 0.0099, 0.01, 0.05, 0.2, 1.0)]
    expected = ["under 1 %", "under 1 %", "1 to 5 %", "5 to 20 %", "20 % and more", "20 % and more"]
    assert names == expected


def test_slope_of_an_exact_line() -> None:
    """A score that falls by 0.8 of the lost IoU loses 8 points per 0.1 IoU, in every resample."""
    iou = np.array([0.95, 0.9, 0.7])
    drawn = np.array([[0.9, 0.97], [0.85, 0.92], [0.6, 0.8]])
    reference = np.array([0.88, 0.93])
    samples = {"iou": drawn, "score": reference - 0.8 * (1 - drawn), "reference": reference}
    found = loss_per_tenth(iou.tolist(), (0.9 - 0.8 * (1 - iou)).tolist(), 0.9, samples)
    assert found is not None
    assert found["points"] == pytest.approx(8)
    assert found["points_ci"] == pytest.approx([8, 8])
    assert found["miss"] == pytest.approx(0, abs=1e-9)


def test_slope_and_miss_of_three_points_worked_by_hand() -> None:
    """x = 0.1, 0.2, 0.3; y = 0.1, 0.1, 0.3: slope 0.12 / 0.14 = 6/7, the second lies 0.2 · 6/7 - 0.1 below."""
    samples = {"iou": np.full((3, 1), np.nan), "score": np.full((3, 1), np.nan), "reference": np.full(1, np.nan)}
    found = loss_per_tenth([0.9, 0.8, 0.7], [0.8, 0.8, 0.6], 0.9, samples)
    assert found is not None
    assert found["points"] == pytest.approx(60 / 7)
    assert found["points_ci"] is None
    assert found["miss"] == pytest.approx(100 * (0.2 * 6 / 7 - 0.1))


def test_edits_that_change_nothing_have_no_slope() -> None:
    samples = {"iou": np.ones((1, 2)), "score": np.ones((1, 2)), "reference": np.ones(2)}
    assert loss_per_tenth([1.0], [0.9], 0.9, samples) is None
    assert np.isnan(through_origin(np.zeros(3), np.ones(3)))
