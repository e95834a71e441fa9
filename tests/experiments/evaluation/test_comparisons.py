"""Runs against runs, series against series: which pairs, and the same numbers as the plain tests give."""

import numpy as np
import pytest
from scipy import stats

from experiments.evaluation.comparisons import Contender, compare_runs, compare_series, detectable, pairs_to_compare
from experiments.evaluation.statistics import score_conditions
from experiments.statistics import holm, mcnemar, paired_bootstrap

PAIRS, CLASSES = 150, 7
GENERATOR = np.random.default_rng(8)
TRUTH = GENERATOR.integers(0, CLASSES, PAIRS).astype(np.int16)
GROUPS = GENERATOR.integers(0, 40, PAIRS)


def logits(skill: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(PAIRS, CLASSES)).astype(np.float32)
    values[np.arange(PAIRS), TRUTH] += skill
    return values


def contender(name: str, series: str, seed: int, values: np.ndarray) -> Contender:
    scored = score_conditions(TRUTH, {"identity": values[None]}, GROUPS, resamples=200)["identity"]
    return Contender(name, series, seed, scored, values.argmax(axis=1) == TRUTH)


def named(pairs: list[tuple[Contender, Contender]]) -> list[tuple[str, str]]:
    return [(a.name, b.name) for a, b in pairs]


def runs(*names: str) -> list[Contender]:
    """Return contenders such as ``roi/0``: series and seed."""
    parts = [name.split("/") for name in names]
    return [
        contender(name, series, int(seed), logits(1.0, 0)) for name, (series, seed) in zip(names, parts, strict=True)
    ]


def test_all_pairs_of_single_runs_and_of_one_series_are_compared_the_later_first() -> None:
    assert named(pairs_to_compare(runs("a/0", "b/0", "c/7"))) == [("b/0", "a/0"), ("c/7", "a/0"), ("c/7", "b/0")]
    assert named(pairs_to_compare(runs("a/0", "a/1"))) == [("a/1", "a/0")]
    assert pairs_to_compare(runs("a/0")) == []


def test_series_are_compared_seed_by_seed() -> None:
    found = named(pairs_to_compare(runs("a/0", "a/1", "b/0", "b/1", "b/2")))
    assert found == [("b/0", "a/0"), ("b/1", "a/1")]
    assert len(pairs_to_compare(runs("a/0", "a/1", "b/2", "b/3"))) == 4, "no seed in common: all across"


def test_two_runs_get_the_plain_tests_numbers() -> None:
    values = {"a": logits(0.5, 1), "b": logits(1.5, 2), "c": logits(1.6, 3)}
    rows = compare_runs([contender(name, name, 0, one) for name, one in values.items()], GROUPS)
    assert [(row["a"], row["b"]) for row in rows] == [("b", "a"), ("c", "a"), ("c", "b")]
    plain = []
    for row in rows:
        a, b = values[row["a"]], values[row["b"]]
        expected = paired_bootstrap(TRUTH, a, b, GROUPS, resamples=200)["macro_f1"]
        assert expected is not None
        assert row["scores"]["macro_f1"]["difference"] == pytest.approx(expected.difference)
        assert row["scores"]["macro_f1"]["interval"] == pytest.approx(expected.interval)
        assert row["scores"]["ambiguous_f1"] is None
        plain.append(row["scores"]["macro_f1"]["p_value"])
        assert plain[-1] == expected.p_value
        tested = mcnemar(a.argmax(1) == TRUTH, b.argmax(1) == TRUTH, GROUPS)
        assert {key: row["mcnemar"][key] for key in tested._asdict()} == tested._asdict()
    assert [row["scores"]["macro_f1"]["p_holm"] for row in rows] == holm(plain)
    grouped = [row["mcnemar"]["grouped_p_value"] for row in rows]
    assert [row["mcnemar"]["grouped_p_holm"] for row in rows] == holm(grouped)


def test_the_detectable_difference_is_that_of_the_textbook() -> None:
    # Standard error 0.02: 2.8016 × 0.02 are found in 80 of 100 tests.
    errors = np.random.default_rng(0).normal(0.0, 0.02, 200_000)
    assert detectable(errors) == pytest.approx(0.05603, rel=0.01)
    found = np.abs(np.random.default_rng(1).normal(0.05603, 0.02, 200_000)) > 1.959964 * 0.02
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert detectable(np.full(3, np.nan)) is None


def test_series_are_compared_by_the_differences_of_equal_seeds() -> None:
    contenders = [contender(f"a/{seed}", "a", seed, logits(0.6, seed)) for seed in (0, 1, 2)]
    contenders += [contender(f"b/{seed}", "b", seed, logits(1.4, 10 + seed)) for seed in (2, 1, 0, 5)]
    (row,) = compare_series(contenders)
    assert (row["a"], row["b"], row["seeds"]) == ("b", "a", [2, 1, 0])
    top1 = {one.name: one.scored.mean("top1") or 0.0 for one in contenders}
    by_seed = [top1[f"b/{seed}"] - top1[f"a/{seed}"] for seed in (2, 1, 0)]
    found = row["scores"]["top1"]
    assert found["by_seed"] == pytest.approx(by_seed)
    assert found["difference"] == pytest.approx(np.mean(by_seed))
    assert found["p_value"] == found["p_holm"] == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)
    half = stats.t.ppf(0.975, 2) * np.std(by_seed, ddof=1) / np.sqrt(3)
    assert found["interval"] == pytest.approx([np.mean(by_seed) - half, np.mean(by_seed) + half])
    low, high = found["test_interval"]
    assert low < found["difference"] < high


def test_series_with_fewer_than_two_common_seeds_are_not_compared() -> None:
    assert compare_series(runs("a/0", "a/1", "b/1", "b/2")) == []
