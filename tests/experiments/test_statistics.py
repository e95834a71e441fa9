"""Intervals and paired differences against scikit-learn on repeated rows and against closed forms."""

import math
import time

import numpy as np
import pytest

from experiments import resampling
from experiments.resampling import GroupTally, draw_groups
from experiments.statistics import (
    grouped_intervals,
    mcnemar,
    paired_bootstrap,
    scores_with_intervals,
)
from utils.errors import DataError
from utils.metrics import SCORE_NAMES, scores

AMBIGUOUS = (1, 6)


def example(pairs: int = 160, classes: int = 8, groups: int = 40, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    # Squared, so that high classes are rare and drop out of some resamples.
    truth = (classes * generator.random(pairs) ** 2).astype(np.int16)
    logits = generator.normal(size=(pairs, classes)).astype(np.float32)
    logits[np.arange(pairs), truth] += 1.5
    return truth, logits, generator.integers(0, groups, pairs)


def test_every_resample_scores_as_scikit_learn_does_on_the_repeated_rows() -> None:
    truth, logits, groups = example(pairs=24, groups=8)
    resamples, seed = 40, 5
    samples = GroupTally.of(truth, logits, groups, AMBIGUOUS).samples(resamples, seed)
    names = np.unique(groups)
    weights = np.concatenate(list(draw_groups(names.size, 3 + 4 * 8, resamples, seed)), axis=1)
    undefined = 0
    for number in range(resamples):
        assert weights[:, number].sum() == names.size
        rows = np.repeat(np.arange(truth.size), weights[np.searchsorted(names, groups), number])
        expected = scores(truth[rows], logits[rows], AMBIGUOUS)
        for name in SCORE_NAMES:
            undefined += expected[name] is None
            value = np.nan if expected[name] is None else expected[name]
            assert samples[name][number] == pytest.approx(value, nan_ok=True), name
    assert (samples["macro_f1"] != samples["macro_f1_declared"]).any(), "some class has to drop out"
    assert undefined < resamples


def test_resamples_without_an_ambiguous_pair_do_not_count() -> None:
    # Two of thirty groups hold an ambiguous pair, always hit: wherever the score is defined it is 1.
    truth = np.zeros(30, np.int16)
    truth[:2] = 1
    logits = np.eye(2, dtype=np.float32)[truth]
    samples = GroupTally.of(truth, logits, np.arange(30), (1,)).samples(500, 0)["ambiguous_f1"]
    assert 0.07 < np.isnan(samples).mean() < 0.2, "(28/30)^30 = 0.126 of the resamples miss both"
    assert grouped_intervals(truth, logits, np.arange(30), (1,))["ambiguous_f1_ci"] == [1.0, 1.0]


def test_the_interval_of_top1_is_that_of_a_binomial_share() -> None:
    # 400 independent pairs, 300 right: the resampled share is Binomial(400, 0.75) / 400, deviation 0.02165.
    truth = np.zeros(400, np.int16)
    logits = np.eye(2)[(np.arange(400) >= 300).astype(int)]
    interval = grouped_intervals(truth, logits, np.arange(400), resamples=4000)["top1_ci"]
    assert interval == pytest.approx([0.75 - 1.96 * 0.02165, 0.75 + 1.96 * 0.02165], abs=0.004)


def test_groups_of_equal_pairs_widen_the_interval_by_the_square_root_of_their_size() -> None:
    truth = np.zeros(400, np.int16)
    right = np.random.default_rng(1).random(100) < 0.6
    logits = np.eye(2)[1 - np.repeat(right, 4).astype(int)]
    single = grouped_intervals(truth, logits, np.arange(400), resamples=4000)["top1_ci"]
    grouped = grouped_intervals(truth, logits, np.repeat(np.arange(100), 4), resamples=4000)["top1_ci"]
    assert single is not None
    assert grouped is not None
    assert (grouped[1] - grouped[0]) / (single[1] - single[0]) == pytest.approx(2.0, rel=0.1)


def test_the_interval_covers_the_true_share_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for trial in range(150):
        chance = generator.beta(6, 4, size=60)  # one chance per photo, mean 0.6
        right = generator.random((60, 3)) < chance[:, None]
        logits = np.eye(2)[1 - right.ravel().astype(int)]
        groups = np.repeat(np.arange(60), 3)
        interval = grouped_intervals(np.zeros(180, np.int16), logits, groups, resamples=300, seed=trial)["top1_ci"]
        assert interval is not None
        covered += interval[0] <= 0.6 <= interval[1]
    assert 0.89 <= covered / 150 <= 0.99


def test_the_same_seed_gives_the_same_numbers_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, logits, groups = example()
    whole = grouped_intervals(truth, logits, groups, AMBIGUOUS, resamples=300, seed=3)
    assert grouped_intervals(truth, logits, groups, AMBIGUOUS, resamples=300, seed=4) != whole
    monkeypatch.setattr(resampling, "_CHUNK_BYTES", 10_000)
    assert len(list(draw_groups(40, 35, 300, 3))) > 10
    assert grouped_intervals(truth, logits, groups, AMBIGUOUS, resamples=300, seed=3) == whole


def test_group_names_may_be_strings_and_their_order_of_pairs_does_not_matter() -> None:
    truth, logits, groups = example()
    named = np.array([f"test/{group:03d}" for group in groups])
    order = np.random.default_rng(0).permutation(truth.size)
    expected = grouped_intervals(truth, logits, groups, AMBIGUOUS)
    assert grouped_intervals(truth[order], logits[order], named[order], AMBIGUOUS) == expected


def test_one_group_or_none_has_no_interval() -> None:
    truth, logits, _ = example()
    alone = scores_with_intervals(truth, logits, np.zeros(160, np.int32), AMBIGUOUS)
    assert alone["top1"] is not None
    assert alone["n_groups"] == 1
    assert all(alone[f"{name}_ci"] is None for name in SCORE_NAMES)
    empty = scores_with_intervals(truth[:0], logits[:0], np.zeros(0, np.int32), AMBIGUOUS)
    assert all(empty[name] is None and empty[f"{name}_ci"] is None for name in SCORE_NAMES)
    assert (empty["n_pairs"], empty["n_groups"]) == (0, 0)


def test_an_ambiguous_score_that_rests_on_one_group_has_no_interval() -> None:
    truth = np.array([0, 0, 0, 1, 1])
    result = scores_with_intervals(truth, np.eye(2)[truth], np.array([0, 1, 2, 3, 3]), (1,), resamples=50)
    assert result["ambiguous_f1"] == 1.0
    assert result["ambiguous_f1_ci"] is None
    assert result["ambiguous_f1_subset_ci"] is None
    assert result["macro_f1_ci"] == [1.0, 1.0]


def test_scores_with_intervals_has_a_value_inside_an_interval_for_each_score() -> None:
    truth, logits, groups = example(pairs=600, groups=150)
    result = scores_with_intervals(truth, logits, groups, AMBIGUOUS, resamples=400)
    for name in SCORE_NAMES:
        value, interval = result[name], result[f"{name}_ci"]
        assert isinstance(value, float)
        assert isinstance(interval, list)
        assert interval[0] < value < interval[1]
    assert list(result)[:4] == ["top1", "top1_ci", "top5", "top5_ci"]
    assert (result["n_pairs"], result["n_groups"], result["n_classes"]) == (600, np.unique(groups).size, 8)


def test_groups_of_another_length_and_no_resamples_are_refused() -> None:
    truth, logits, groups = example()
    with pytest.raises(ValueError, match="groups must have the shape of truth"):
        grouped_intervals(truth, logits, groups[:-1])
    with pytest.raises(ValueError, match="at least 1"):
        grouped_intervals(truth, logits, groups, resamples=0)


def test_ten_thousand_resamples_of_the_published_test_size_take_seconds() -> None:
    truth, logits, groups = example(pairs=7700, classes=105, groups=2135)
    start = time.perf_counter()
    grouped_intervals(truth, logits, groups, (103, 104), resamples=10_000)
    assert time.perf_counter() - start < 10


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    truth, logits, groups = example()
    for comparison in paired_bootstrap(truth, logits, logits, groups, AMBIGUOUS).values():
        assert comparison is not None
        assert (comparison.difference, comparison.interval, comparison.p_value) == (0.0, [0.0, 0.0], 1.0)


def test_the_paired_interval_is_that_of_the_differences_per_pair() -> None:
    # 500 pairs: 60 only a right, 30 only b right. Mean difference 0.06, variance 0.18 - 0.06².
    truth = np.zeros(500, np.int16)
    right_a = np.r_[np.ones(300), np.ones(60), np.zeros(140)].astype(int)
    right_b = np.r_[np.ones(300), np.zeros(60), np.ones(30), np.zeros(110)].astype(int)
    a, b = np.eye(2)[1 - right_a], np.eye(2)[1 - right_b]
    result = paired_bootstrap(truth, a, b, np.arange(500), names=["top1"], resamples=4000)["top1"]
    assert result is not None
    half = 1.96 * math.sqrt((0.18 - 0.0036) / 500)
    assert (result.a, result.b, result.difference) == pytest.approx((0.72, 0.66, 0.06))
    assert result.interval == pytest.approx([0.06 - half, 0.06 + half], abs=0.005)
    assert result.p_value == pytest.approx(math.erfc(0.06 / math.sqrt(0.1764 / 500) / math.sqrt(2)), abs=0.003)
    swapped = paired_bootstrap(truth, b, a, np.arange(500), names=["top1"], resamples=4000)["top1"]
    assert swapped is not None
    assert swapped.difference == -result.difference
    assert swapped.p_value == result.p_value


def test_a_comparison_is_none_where_the_score_is_undefined() -> None:
    truth, logits, groups = example(classes=5)
    result = paired_bootstrap(truth, logits, -logits, groups, resamples=50)
    assert {name for name, value in result.items() if value is None} == {
        "top5",
        "ambiguous_f1",
        "ambiguous_f1_subset",
    }


def test_runs_over_different_pairs_are_refused() -> None:
    truth, logits, groups = example()
    with pytest.raises(DataError, match=r"hold 160 and 159 pairs of 8 and 8 classes; .* same pairs"):
        paired_bootstrap(truth, logits, logits[:-1], groups)
    with pytest.raises(DataError, match="got 4 and 3 pairs"):
        mcnemar(np.ones(4, bool), np.ones(3, bool))
