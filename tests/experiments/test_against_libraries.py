"""Our statistics against scipy and statsmodels, which share no line with them."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from experiments.statistics import grouped_intervals, holm, mcnemar, t_interval


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_is_that_of_statsmodels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.random(120) < 0.7, generator.random(120) < 0.6
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert mcnemar(a, b).p_value == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(9) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


def test_the_interval_over_seeds_is_that_of_scipy() -> None:
    values = [0.61, 0.67, 0.64, 0.70]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert t_interval(values)[1:] == pytest.approx((low, high))


def test_the_bootstrap_of_groups_of_one_pair_is_that_of_scipy() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 6, 400)
    logits = generator.normal(size=(400, 6)) + 1.5 * np.eye(6)[truth]
    ours = grouped_intervals(truth, logits, np.arange(400), resamples=20_000)["top1_ci"]
    hits = (logits.argmax(1) == truth).astype(float)
    theirs = stats.bootstrap((hits,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.003)  # a pair is worth 0.0025
