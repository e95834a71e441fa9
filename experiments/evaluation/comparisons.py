"""Runs against runs and series against series, on the unchanged pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from experiments.evaluation.statistics import ConditionScores, add_holm, compare_score, paired_t_p
from experiments.robustness.suite import IDENTITY
from experiments.statistics import mcnemar, percentile_interval, t_interval
from utils.metrics import SCORE_NAMES, Array

_POWER = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


@dataclass(frozen=True)
class Contender:
    """A run as it enters a comparison: its unchanged pairs' scores, and which pairs it gets right (bool N)."""

    name: str
    series: str
    seed: int
    scored: ConditionScores
    correct: Array


def pairs_to_compare(contenders: Sequence[Contender]) -> list[tuple[Contender, Contender]]:
    """Return which runs are compared, the later one first, so that a difference is a gain over what was named before.

    All pairs, unless there are several series of several seeds: then runs of different series and equal seed, since
    each further test makes Holm's correction stricter for all.
    """
    every = [(later, earlier) for earlier, later in combinations(contenders, 2)]
    series = {one.series for one in contenders}
    if len(series) in (1, len(contenders)):
        return every
    across = [(a, b) for a, b in every if a.series != b.series]
    return [(a, b) for a, b in across if a.seed == b.seed] or across


def compare_runs(contenders: Sequence[Contender], groups: Array) -> list[dict[str, Any]]:
    """Compare runs on the same pairs: paired bootstrap over groups of every score, McNemar's test of top-1.

    Returns:
        One entry per pair (``pairs_to_compare``): ``scores`` with ``difference`` a - b, ``interval``, ``p_value``,
        ``p_holm`` (over all entries, score by score) and ``detectable``; ``mcnemar`` with the plain and the grouped
        p-value, the latter also adjusted.
    """
    rows: list[dict[str, Any]] = []
    for a, b in pairs_to_compare(contenders):
        tested = mcnemar(a.correct, b.correct, groups)
        row: dict[str, Any] = {"a": a.name, "b": b.name, "condition": IDENTITY, "scores": {}}
        for name in SCORE_NAMES:
            compared = compare_score(a.scored, b.scored, name)
            row["scores"][name] = compared and {
                "difference": compared.difference,
                "interval": compared.interval,
                "p_value": compared.p_value,
                "detectable": detectable(a.scored.samples[name] - b.scored.samples[name]),
            }
        row["mcnemar"] = tested._asdict()
        rows.append(row)
    for name in SCORE_NAMES:
        add_holm([row["scores"][name] for row in rows], "p_value", "p_holm")
    add_holm([row["mcnemar"] for row in rows], "grouped_p_value", "grouped_p_holm")
    return rows


def detectable(differences: Array) -> float | None:
    """Return the difference that these pairs show with 80 % power in a single two-sided test at 5 %.

    It is z(0.975) + z(0.8) = 2.80 standard errors, the error being the deviation of the R resampled differences.
    Before a run has been trained, ``experiments.statistics.minimum_detectable_difference`` has to assume one.
    """
    defined = differences[~np.isnan(differences)]
    return float(_POWER * np.std(defined)) if defined.size else None


def compare_series(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Compare series of runs seed by seed; only those with at least two training seeds in common.

    Returns:
        One entry per pair of series: ``seeds``, and ``scores`` with the mean ``difference`` a - b over seeds,
        ``by_seed``, its t-interval over seeds ``interval`` with ``p_value`` and ``p_holm``, and ``test_interval``, the
        bootstrap over groups of the mean difference. The first says how another training would vary, the second how
        another test set would.
    """
    series: dict[str, dict[int, ConditionScores]] = {}
    for one in contenders:
        series.setdefault(one.series, {})[one.seed] = one.scored
    rows: list[dict[str, Any]] = []
    for (name_b, runs_b), (name_a, runs_a) in combinations(series.items(), 2):
        seeds = [seed for seed in runs_a if seed in runs_b]
        if len(seeds) < 2:
            continue
        found = {
            name: _difference_of_means([runs_a[seed] for seed in seeds], [runs_b[seed] for seed in seeds], name)
            for name in SCORE_NAMES
        }
        rows.append({"a": name_a, "b": name_b, "condition": IDENTITY, "seeds": seeds, "scores": found})
    for name in SCORE_NAMES:
        add_holm([row["scores"][name] for row in rows], "p_value", "p_holm")
    return rows


def _difference_of_means(
    runs_a: Sequence[ConditionScores], runs_b: Sequence[ConditionScores], name: str
) -> dict[str, Any] | None:
    values_a, values_b = [run.mean(name) for run in runs_a], [run.mean(name) for run in runs_b]
    defined = [(a, b) for a, b in zip(values_a, values_b, strict=True) if a is not None and b is not None]
    if len(defined) < len(values_a):
        return None
    by_seed = [a - b for a, b in defined]
    interval = t_interval(by_seed)
    samples_a, samples_b = (np.mean([run.samples[name] for run in runs], axis=0) for runs in (runs_a, runs_b))
    return {
        "difference": interval.mean,
        "by_seed": by_seed,
        "interval": [interval.low, interval.high],
        "p_value": paired_t_p(by_seed),
        "test_interval": percentile_interval(samples_a - samples_b),
    }
