"""Scores of conditions and of several runs: means over seeds, changes, and what of it is noise.

Two kinds of seed occur. A *perturbation seed* draws the patches or the noise of a condition; a *training seed* makes a
run. Scores of a condition are averaged over its perturbation seeds, resample by resample.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiments.resampling import GroupTally, Samples, samples_together
from experiments.robustness.suite import IDENTITY
from experiments.statistics import Comparison, compare_samples, holm, percentile_interval, t_interval
from utils.metrics import SCORE_NAMES, Array, Scores, scores

Cells = dict[str, Any]


@dataclass(frozen=True)
class ConditionScores:
    """Scores of one condition of one run.

    Attributes:
        by_seed: ``utils.metrics.scores`` for each perturbation seed; one where nothing is random.
        samples: for each score, its mean over those seeds in each of R resamples of the groups, NaN where undefined.
    """

    by_seed: list[Scores]
    samples: Samples

    def mean(self, name: str) -> float | None:
        """Return the mean of a score over the perturbation seeds; None where it is undefined."""
        values = [one[name] for one in self.by_seed]
        defined = [value for value in values if value is not None]
        return float(np.mean(defined)) if len(defined) == len(values) else None

    def cells(self) -> Cells:
        """Return every score's mean with its 95 % interval under ``<name>_ci``, and the counts of the pairs."""
        result: Cells = {}
        for name in SCORE_NAMES:
            result[name] = self.mean(name)
            result[f"{name}_ci"] = None if result[name] is None else percentile_interval(self.samples[name])
        for name in ("n_pairs", "n_classes", "n_classes_averaged"):
            counts = {one[name] for one in self.by_seed}
            result[name] = counts.pop() if len(counts) == 1 else self.mean(name)
        return result


def score_conditions(
    truth: Array,
    logits: Mapping[str, Array],
    groups: Array,
    ambiguous: Sequence[int] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, ConditionScores]:
    """Score every condition of a run on the same resamples of its groups.

    Args:
        truth: int N, class index.
        logits: by condition, S×N×C for S perturbation seeds.
        groups: N, the group of each pair.
        ambiguous: class indices of the ambiguous group.
        resamples: number R of resamples.
        seed: of the draw; with equal seeds, samples of two runs on the same pairs are paired too.
    """
    tallies = [GroupTally.of(truth, one, groups, ambiguous) for stack in logits.values() for one in stack]
    samples = iter(samples_together(tallies, resamples, seed))
    result = {}
    for condition, stack in logits.items():
        parts = [next(samples) for _ in stack]
        mean = {name: np.mean([part[name] for part in parts], axis=0) for name in SCORE_NAMES}
        result[condition] = ConditionScores([scores(truth, one, ambiguous) for one in stack], mean)
    return result


def changes(scored: Mapping[str, ConditionScores]) -> dict[str, Cells]:
    """Compare every condition with the unchanged pairs of the same run (paired bootstrap over groups).

    Returns:
        By condition, for each score: ``<name>`` (condition less identity), ``<name>_ci``, two-sided ``<name>_p``, and
        ``<name>_p_holm``, adjusted for all conditions of the run. None where undefined.
    """
    reference = scored[IDENTITY]
    changed = {condition: one for condition, one in scored.items() if condition != IDENTITY}
    result: dict[str, Cells] = {condition: {} for condition in changed}
    for name in SCORE_NAMES:
        compared = {condition: compare_score(one, reference, name) for condition, one in changed.items()}
        adjusted = holm_by_key({key: None if one is None else one.p_value for key, one in compared.items()})
        for condition, comparison in compared.items():
            result[condition] |= {
                name: None if comparison is None else comparison.difference,
                f"{name}_ci": None if comparison is None else comparison.interval,
                f"{name}_p": None if comparison is None else comparison.p_value,
                f"{name}_p_holm": adjusted[condition],
            }
    return result


def compare_score(one: ConditionScores, other: ConditionScores, name: str) -> Comparison | None:
    """Compare a score on the same resamples; None where it is undefined."""
    a, b = one.mean(name), other.mean(name)
    return None if a is None or b is None else compare_samples(a, b, one.samples[name], other.samples[name])


def holm_by_key(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjust the defined p-values of a table; the undefined ones stay None and are not counted."""
    defined = {key: value for key, value in p_values.items() if value is not None}
    adjusted = dict(zip(defined, holm(list(defined.values())), strict=True))
    return {key: adjusted.get(key) for key in p_values}


def add_holm(cells: Iterable[dict[str, Any] | None], source: str, target: str) -> None:
    """Write the adjusted p-values of one column of a table beside the plain ones."""
    defined = {str(place): cell for place, cell in enumerate(cells) if cell is not None}
    adjusted = holm_by_key({place: cell[source] for place, cell in defined.items()})
    for place, cell in defined.items():
        cell[target] = adjusted[place]


def over_runs(cells: Sequence[Cells]) -> Cells:
    """Return the mean of every score over the runs of a series, with the 95 % t-interval under ``<name>_ci``."""
    result: Cells = {}
    for name in SCORE_NAMES:
        values = [one[name] for one in cells]
        if any(value is None for value in values):
            result |= {name: None, f"{name}_ci": None}
            continue
        interval = t_interval(values)
        result[name] = interval.mean
        result[f"{name}_ci"] = None if interval.low is None else [interval.low, interval.high]
    return result


def paired_t_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Student's test that the mean difference is 0; None for fewer than two values."""
    if len(differences) < 2:
        return None
    mean, error = np.mean(differences), np.std(differences, ddof=1) / np.sqrt(len(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))
