"""Calibration errors worked by hand, intervals against repeated rows, temperatures that are known."""

import math

import numpy as np
import pytest

from experiments.analysis.calibration import (
    classwise_ece,
    ece_by_chance,
    ece_interval,
    equal_mass_edges,
    equal_width_edges,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability,
)
from experiments.resampling import draw_groups
from utils.errors import RunError

CONFIDENCE = np.array([0.95, 0.92, 0.55, 0.5, 0.48])
HIT = np.array([True, False, True, False, True])


def test_ece_of_five_pairs_by_hand() -> None:
    bins = reliability(CONFIDENCE, HIT, equal_width_edges(5))
    assert bins.count.tolist() == [0, 0, 3, 0, 2]
    assert bins.accuracy[[2, 4]].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert bins.confidence[[2, 4]].tolist() == pytest.approx([0.51, 0.935])
    assert np.isnan(bins.accuracy[0])
    assert bins.ece == pytest.approx(3 / 5 * (2 / 3 - 0.51) + 2 / 5 * (0.935 - 0.5))


def test_a_bin_holds_its_upper_limit() -> None:
    bins = reliability(np.array([0.25, 0.5, 0.500001, 1.0]), np.ones(4, bool), equal_width_edges(4))
    assert bins.count.tolist() == [1, 1, 1, 1]


def test_bins_of_equal_mass_keep_ties_together() -> None:
    confidence = np.random.default_rng(0).beta(8, 1, 1500)
    bins = reliability(confidence, confidence > 0.5, equal_mass_edges(confidence))
    assert bins.count.tolist() == [100] * 15
    saturated = np.concatenate([np.linspace(0.3, 0.6, 10), np.ones(90)])
    edges = equal_mass_edges(saturated)
    counts = reliability(saturated, saturated > 0, edges).count
    assert counts.max() >= 90, "the 90 pairs of confidence 1 are in one bin"
    assert counts.sum() == 100


def test_classwise_ece_by_hand() -> None:
    # Class 0: |1 - 0.9| and |1 - 0.3| over two pairs; class 1: |0 - 0.1| and |0 - 0.7|.
    assert classwise_ece(np.array([0, 0]), np.array([[0.9, 0.1], [0.3, 0.7]]), bins=2) == pytest.approx(0.4)


def test_interval_is_the_mirrored_one_of_repeated_rows() -> None:
    generator = np.random.default_rng(1)
    confidence, groups = generator.uniform(0.3, 1, 60), generator.integers(0, 12, 60)
    hit = generator.random(60) < confidence - 0.1
    edges = equal_width_edges(6)
    value, samples = reliability(confidence, hit, edges).ece, []
    for weights in draw_groups(12, 6, 200, 3):
        for drawn in weights.T:
            rows = np.repeat(np.arange(60), drawn[groups])
            samples.append(reliability(confidence[rows], hit[rows], edges).ece)
    low, high = np.quantile(samples, [0.025, 0.975])
    found = ece_interval(confidence, hit, groups, edges, resamples=200, seed=3)
    assert found == pytest.approx([max(0.0, 2 * value - high), max(value, 2 * value - low)])
    assert ece_interval(confidence, hit, np.zeros(60), edges, resamples=10) is None


def test_interval_of_exact_probabilities_reaches_down_to_zero() -> None:
    """Their error is 0; the estimate is what chance makes, and the percentile interval would exclude 0."""
    generator = np.random.default_rng(2)
    confidence = generator.uniform(0.3, 1, 3000)
    hit, edges = generator.random(3000) < confidence, equal_width_edges()
    value = reliability(confidence, hit, edges).ece
    low, high = ece_interval(confidence, hit, np.arange(3000), edges, resamples=500) or (1.0, 0.0)
    assert low == 0.0
    assert value <= high < 0.03


def test_chance_alone_makes_the_error_that_is_announced() -> None:
    generator = np.random.default_rng(3)
    confidence, edges = generator.beta(3, 1, 500), equal_width_edges()
    made = [reliability(confidence, generator.random(500) < confidence, edges).ece for _ in range(400)]
    assert ece_by_chance(confidence, edges) == pytest.approx(np.mean(made), rel=0.06)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    generator = np.random.default_rng(4)
    honest = generator.normal(0, 1.5, (8000, 6))
    # The class of the largest sum of logit and Gumbel noise is drawn with probability softmax(logits).
    truth = (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)
    logits = (temperature * honest).astype(np.float32)
    found = fit_temperature(truth, logits)
    assert found == pytest.approx(temperature, rel=0.04)
    assert isinstance(found, float)
    # Where the likelihood is greatest the true logit is, on average, the expected one.
    expected = (probabilities(logits, found) * logits).sum(axis=1).mean()
    assert logits[np.arange(8000), truth].mean() == pytest.approx(expected, abs=1e-3)


def test_likelihood_by_hand() -> None:
    logits = np.array([[math.log(3), 0.0], [0.0, 0.0]])
    assert negative_log_likelihood(np.array([0, 1]), logits) == pytest.approx((-math.log(3 / 4) + math.log(2)) / 2)
    assert negative_log_likelihood(np.array([1]), np.array([[0.0, -np.inf]])) == math.inf


@pytest.mark.parametrize(
    ("truth", "logits", "reason"),
    [
        ([0, 1], [[2.0, 0.0], [0.0, 1.0]], "all 2 validation pairs are predicted right"),
        ([1], [[0.0, -math.inf]], "ruled out"),
        ([1, 0], [[1.0, 0.0], [0.0, 1.0]], "a temperature outside 0.01 to 100"),
        ([], np.zeros((0, 2)), "no validation pair"),
    ],
)
def test_pairs_that_determine_no_temperature_say_why(truth: list[int], logits: list[list[float]], reason: str) -> None:
    found = fit_temperature(np.array(truth, dtype=np.int64), np.array(logits))
    assert isinstance(found, str)
    assert found.startswith("not fitted: ")
    assert reason in found


def test_diverged_logits_are_refused() -> None:
    with pytest.raises(RunError, match="not numbers"):
        fit_temperature(np.array([1]), np.array([[0.0, np.nan]]))
