"""Scores of conditions against slow loops over repeated rows, and against the paired bootstrap of two runs."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.evaluation.statistics import (
    ConditionScores,
    changes,
    holm_by_key,
    over_runs,
    paired_t_p,
    score_conditions,
)
from experiments.resampling import GroupTally, draw_groups, samples_together
from experiments.statistics import paired_bootstrap, scores_with_intervals
from utils.metrics import SCORE_NAMES, scores

AMBIGUOUS = (1, 6)


def example(seeds: int = 3, pairs: int = 120, classes: int = 8) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(4)
    truth = (classes * generator.random(pairs) ** 2).astype(np.int16)

    def logits(count: int, skill: float) -> np.ndarray:
        values = generator.normal(size=(count, pairs, classes)).astype(np.float32)
        values[:, np.arange(pairs), truth] += skill
        return values

    stacks = {"identity": logits(1, 2.0), "noise": logits(seeds, 1.6), "blank": logits(1, 0.2)}
    return truth, stacks, generator.integers(0, 30, pairs)


def test_the_identity_has_the_intervals_that_training_reported() -> None:
    truth, logits, groups = example()
    expected = scores_with_intervals(truth, logits["identity"][0], groups, AMBIGUOUS, resamples=300)
    del expected["n_groups"]
    cells = score_conditions(truth, logits, groups, AMBIGUOUS, resamples=300)["identity"].cells()
    assert cells.keys() == expected.keys()
    for name, value in expected.items():
        assert cells[name] == pytest.approx(value), name


def test_a_change_with_one_seed_is_the_paired_bootstrap_of_two_runs() -> None:
    truth, logits, groups = example(seeds=1)
    found = changes(score_conditions(truth, logits, groups, AMBIGUOUS, resamples=300))
    assert list(found) == ["noise", "blank"]
    for condition, change in found.items():
        expected = paired_bootstrap(
            truth, logits[condition][0], logits["identity"][0], groups, AMBIGUOUS, resamples=300
        )
        for name in SCORE_NAMES:
            compared = expected[name]
            assert compared is not None
            assert change[name] == pytest.approx(compared.difference)
            assert change[f"{name}_ci"] == pytest.approx(compared.interval)
            assert change[f"{name}_p"] == compared.p_value
            assert compared.p_value is not None
            assert change[f"{name}_p_holm"] >= compared.p_value


def test_several_seeds_are_averaged_within_each_resample() -> None:
    truth, logits, groups = example(seeds=2)
    resamples = 12
    scored = score_conditions(truth, logits, groups, AMBIGUOUS, resamples=resamples, seed=5)
    names = np.unique(groups)
    weights = np.concatenate(list(draw_groups(names.size, 3 + 4 * 8, resamples, 5)), axis=1)
    differences: dict[str, list[float]] = {name: [] for name in ("top1", "macro_f1", "ambiguous_f1")}
    for number in range(resamples):
        rows = np.repeat(np.arange(truth.size), weights[np.searchsorted(names, groups), number])
        seeds = [scores(truth[rows], one[rows], AMBIGUOUS) for one in logits["noise"]]
        before = scores(truth[rows], logits["identity"][0][rows], AMBIGUOUS)
        for name, values in differences.items():
            values.append(float(np.mean([float(one[name] or 0.0) for one in seeds])) - float(before[name] or 0.0))
    change = changes(scored)["noise"]
    for name, values in differences.items():
        assert change[f"{name}_ci"] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist()), name
        below, above = (np.array(values) <= 0).sum(), (np.array(values) >= 0).sum()
        assert change[f"{name}_p"] == pytest.approx(min(1.0, 2 * (min(below, above) + 1) / (resamples + 1))), name
        by_seed = [float(one[name] or 0.0) for one in scored["noise"].by_seed]
        assert scored["noise"].mean(name) == pytest.approx(np.mean(by_seed))


def test_holm_counts_the_conditions_of_the_table_only() -> None:
    truth, logits, groups = example()
    found = changes(score_conditions(truth, logits, groups, resamples=200))
    plain = [found[condition]["top1_p"] for condition in found]
    adjusted = [found[condition]["top1_p_holm"] for condition in found]
    small, large = sorted(plain)
    assert sorted(adjusted) == pytest.approx([min(1.0, 2 * small), max(min(1.0, 2 * small), large)])
    assert found["noise"]["ambiguous_f1"] is None
    assert found["noise"]["ambiguous_f1_p_holm"] is None
    assert holm_by_key({"a": 0.02, "b": None, "c": 0.5}) == {"a": 0.04, "b": None, "c": 0.5}
    assert holm_by_key({}) == {}


def test_a_single_group_gives_scores_without_intervals() -> None:
    truth, logits, groups = example()
    scored = score_conditions(truth, logits, np.zeros_like(groups), AMBIGUOUS, resamples=100)
    change = changes(scored)["blank"]
    assert scored["identity"].cells()["top1_ci"] is None
    assert change["top1"] < 0
    assert (change["top1_ci"], change["top1_p"], change["top1_p_holm"]) == (None, None, None)


def test_samples_drawn_together_are_those_drawn_alone() -> None:
    truth, logits, groups = example()
    tallies = [GroupTally.of(truth, one, groups, AMBIGUOUS) for one in logits["noise"]]
    for tally, together in zip(tallies, samples_together(tallies, 100, 3), strict=True):
        for name, alone in tally.samples(100, 3).items():
            np.testing.assert_array_equal(together[name], alone)
    assert samples_together([], 100, 3) == []
    other = GroupTally.of(truth, logits["blank"][0], groups // 2, AMBIGUOUS)
    with pytest.raises(ValueError, match=r"different numbers of groups: \[\d+, \d+\]"):
        samples_together([tallies[0], other], 10, 0)
    with pytest.raises(ValueError, match="at least 1"):
        samples_together(tallies, 0, 0)


def test_the_mean_over_runs_has_students_interval() -> None:
    # mean 0.7, deviation 0.1, t(0.975, 2) = 4.302653
    runs = [dict.fromkeys(SCORE_NAMES, value) | {"top5": None} for value in (0.6, 0.7, 0.8)]
    result = over_runs(runs)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert result["macro_f1"] == pytest.approx(0.7)
    assert result["macro_f1_ci"] == pytest.approx([0.7 - half, 0.7 + half])
    assert (result["top5"], result["top5_ci"]) == (None, None)
    assert over_runs(runs[:1])["top1_ci"] is None


def test_the_paired_t_test_is_scipys() -> None:
    values = [0.01, 0.03, -0.01, 0.02]
    assert paired_t_p(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
    assert paired_t_p([0.1]) is None
    assert paired_t_p([0.0, 0.0]) == 1.0


def test_an_undefined_score_has_no_mean() -> None:
    truth, logits, _ = example()
    scored = ConditionScores([scores(truth, one) for one in logits["noise"]], {})
    assert scored.mean("ambiguous_f1") is None
