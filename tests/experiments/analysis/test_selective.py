"""Risk against coverage by hand and against repeated rows."""

import numpy as np
import pytest

from experiments.analysis.selective import coverage_key, ideal_risk, risk_coverage, selective_intervals
from experiments.resampling import draw_groups


def test_four_pairs_by_hand() -> None:
    confidence, hit = np.array([0.6, 0.9, 0.7, 0.8]), np.array([False, True, True, False])
    curve = risk_coverage(confidence, hit)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.aurc == pytest.approx(1 / 3)
    assert ideal_risk(hit).tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert [curve.coverage_at(risk) for risk in (0.05, 0.34, 0.5)] == [0.25, 0.75, 1]


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1], [2, 1, 0]])
def test_ties_do_not_depend_on_the_order_of_the_rows(order: list[int]) -> None:
    confidence, hit = np.array([0.9, 0.5, 0.5])[order], np.array([True, True, False])[order]
    assert risk_coverage(confidence, hit).risk.tolist() == pytest.approx([0, 1 / 4, 1 / 3])


def test_all_wrong_covers_nothing_and_all_right_everything() -> None:
    confidence = np.array([0.9, 0.8, 0.7])
    wrong, right = (risk_coverage(confidence, np.full(3, value)) for value in (False, True))
    assert (wrong.aurc, wrong.coverage_at(0.1)) == (1, 0)
    assert (right.aurc, right.coverage_at(0.05)) == (0, 1)


def test_intervals_are_those_of_repeated_rows() -> None:
    generator = np.random.default_rng(0)
    confidence, groups = generator.random(50), generator.integers(0, 9, 50)
    hit = generator.random(50) < confidence
    samples = []
    for weights in draw_groups(9, 1, 100, 7):
        for drawn in weights.T:
            rows = np.repeat(np.arange(50), drawn[groups])
            curve = risk_coverage(confidence[rows], hit[rows])
            samples.append((curve.aurc, curve.coverage_at(0.1)))
    found = selective_intervals(confidence, hit, groups, risks=[0.1], resamples=100, seed=7)
    for key, values in zip(("aurc", coverage_key(0.1)), np.transpose(samples), strict=True):
        assert found[key] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())


def test_one_group_has_no_interval() -> None:
    found = selective_intervals(np.array([0.5, 0.9]), np.array([True, False]), np.zeros(2), resamples=10)
    assert found == {"aurc": None, "coverage_at_5_percent_risk": None, "coverage_at_10_percent_risk": None}
