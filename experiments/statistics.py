"""How sure a score is: intervals from groups, paired comparisons, several seeds.

Pairs of one photo are not independent, so whole groups are drawn: the photo, or a run of neighbouring video frames.
A score that rests on a single group has no interval (None): nothing can be said about how it would vary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.resampling import GroupTally
from utils.errors import DataError
from utils.metrics import SCORE_NAMES, Array, scores

LEVEL = 0.95

Interval = list[float]


class Comparison(NamedTuple):
    """Score ``name`` of runs a and b on the same pairs.

    ``difference`` is a - b, ``interval`` its 95 % bootstrap interval, ``p_value`` two-sided; the last two are None
    where the score rests on a single group.
    """

    a: float
    b: float
    difference: float
    interval: Interval | None
    p_value: float | None


class McNemar(NamedTuple):
    """``only_a``: pairs that a alone gets right; ``only_b``: that b alone gets right; two-sided exact p-values."""

    only_a: int
    only_b: int
    p_value: float
    grouped_p_value: float | None


class MeanInterval(NamedTuple):
    """Mean over runs with its t-interval, None for a single run."""

    mean: float
    low: float | None
    high: float | None


def scores_with_intervals(
    truth: Array,
    logits: Array,
    groups: Array,
    ambiguous: Sequence[int] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float | int | Interval | None]:
    """Return ``utils.metrics.scores``, each with its ``<name>_ci`` from ``grouped_intervals``, and ``n_groups``."""
    values = scores(truth, logits, ambiguous)
    intervals = grouped_intervals(truth, logits, groups, ambiguous, resamples=resamples, seed=seed)
    result: dict[str, float | int | Interval | None] = {}
    for name in SCORE_NAMES:
        result[name] = values.pop(name)
        result[f"{name}_ci"] = intervals[f"{name}_ci"]
    return {**result, **values, "n_groups": int(np.unique(groups).size)}


def grouped_intervals(
    truth: Array,
    logits: Array,
    groups: Array,
    ambiguous: Sequence[int] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the 95 % percentile interval of every score from a bootstrap over groups (Efron and Tibshirani 1993).

    Each resample draws as many groups as there are, with replacement, and scores their pairs as
    ``utils.metrics.scores`` does: ``macro_f1`` is averaged over the classes that occur in that resample. A resample
    in which a score is undefined (no pair of an ambiguous class) does not count for it.

    How often an interval holds the mean over test sets of its size, simulated with the class frequencies of
    FoodSeg103 and 2,135 photos: top-1 0.94, ambiguous F1 0.93, macro-F1 0.92, and ``macro_f1_declared`` only 0.83,
    because a resample loses rare classes. Bias-corrected and basic intervals did worse there.

    Args:
        truth: int N, class index.
        logits: N×C, logits or probabilities.
        groups: N, the group of each pair, numbers or strings.
        ambiguous: class indices of the ambiguous group.
        resamples: number of resamples; ValueError below 1.
        seed: of the draw; the same seed gives the same numbers.

    Returns:
        ``<name>_ci``: ``[low, high]``, or None where the score is undefined or rests on fewer than two groups.
    """
    tally = GroupTally.of(truth, logits, groups, ambiguous)
    samples = tally.samples(resamples, seed)
    return {f"{name}_ci": percentile_interval(samples[name]) for name in SCORE_NAMES}


def paired_bootstrap(
    truth: Array,
    logits_a: Array,
    logits_b: Array,
    groups: Array,
    ambiguous: Sequence[int] = (),
    *,
    names: Sequence[str] = SCORE_NAMES,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Comparison | None]:
    """Compare two runs on the same pairs: every resample draws the same groups for both.

    The p-value inverts the percentile interval: twice the smaller part of resamples on either side of no
    difference, one resample added to each side, so it is never below ``2 / (resamples + 1)``.

    Returns:
        A comparison by score name, None where the score is undefined.

    Raises:
        DataError: if the runs do not hold the same number of pairs or classes.
    """
    if logits_a.shape != logits_b.shape:
        raise DataError(
            f"the two runs hold {logits_a.shape[0]} and {logits_b.shape[0]} pairs of {logits_a.shape[1]} and "
            f"{logits_b.shape[1]} classes; a paired comparison needs predictions of the same pairs over the same "
            f"classes: score both runs on the same split"
        )
    point_a, point_b = scores(truth, logits_a, ambiguous), scores(truth, logits_b, ambiguous)
    samples_a = GroupTally.of(truth, logits_a, groups, ambiguous).samples(resamples, seed)
    samples_b = GroupTally.of(truth, logits_b, groups, ambiguous).samples(resamples, seed)
    result: dict[str, Comparison | None] = {}
    for name in names:
        a, b = point_a[name], point_b[name]
        if a is None or b is None:
            result[name] = None
            continue
        result[name] = compare_samples(a, b, samples_a[name], samples_b[name])
    return result


def compare_samples(a: float, b: float, samples_a: Array, samples_b: Array) -> Comparison:
    """Compare scores a and b, given those of the same R resamples of the pairs; NaN where undefined."""
    differences = samples_a - samples_b
    return Comparison(a, b, a - b, percentile_interval(differences), _two_sided(differences))


def mcnemar(correct_a: Array, correct_b: Array, groups: Array | None = None) -> McNemar:
    """McNemar's exact test: are a and b right equally often? Two-sided, binomial at every size.

    The plain p-value takes pairs as independent, which flatters differences where photos hold several pairs. The
    grouped one does not: under the null hypothesis the two runs can be swapped within any group, which flips the
    sign of the group's ``only_a - only_b``; the exact distribution of the sum over all flips is worked out. With one
    pair per group the two p-values are the same.

    Args:
        correct_a: bool N, whether run a is right.
        correct_b: bool N, the same pairs.
        groups: N, the group of each pair; None leaves ``grouped_p_value`` None.

    Raises:
        DataError: if the runs do not hold the same number of pairs.
    """
    if correct_a.shape != correct_b.shape:
        raise DataError(
            f"McNemar's test needs the same pairs in both runs; got {correct_a.size} and {correct_b.size} pairs"
        )
    step = correct_a.astype(np.int64) - correct_b.astype(np.int64)
    grouped = None
    if groups is not None:
        names, code = np.unique(groups, return_inverse=True)
        sums = np.zeros(names.size, np.int64)
        np.add.at(sums, code, step)
        grouped = _sign_flip_p(sums)
    return McNemar(int((step > 0).sum()), int((step < 0).sum()), _sign_flip_p(step), grouped)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for a table of tests (Holm 1979), in the order given.

    A test is significant at 5 % over the whole table if its adjusted p-value is at most 0.05.

    Raises:
        ValueError: if a p-value lies outside 0..1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values must lie in 0..1; got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    adjusted = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(adjusted, 1.0)
    return [float(value) for value in result]


def t_interval(values: Sequence[float], level: float = LEVEL) -> MeanInterval:
    """Return the mean over runs (seeds) and Student's t-interval of it; it is not cut at 0 or 1.

    One run has a mean and no interval. With few runs the interval is wide: two runs at 95 % give 12.7 standard
    errors on either side, three give 4.3, five give 2.8.

    Raises:
        ValueError: if there is no value.
    """
    if not values:
        raise ValueError("the mean of no runs is undefined")
    mean = float(np.mean(values))
    count = len(values)
    if count == 1:
        return MeanInterval(mean, None, None)
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return MeanInterval(mean, mean - half, mean + half)


def minimum_detectable_difference(
    groups: Array,
    *,
    disagreement: float = 0.2,
    correlation: float = 0.1,
    alpha: float = 1 - LEVEL,
    power: float = 0.8,
) -> float | None:
    """Return the smallest difference in top-1 between two runs that a test set can be expected to show.

    The hits of two runs differ on the part ``disagreement`` of the N pairs, so one pair's difference has variance
    ``disagreement - d²`` for a true difference d. Groups of sizes m enlarge the variance of the mean by
    ``D = Σ m (1 + (m - 1) correlation) / N`` (Kish 1965). From ``d = z sqrt((disagreement - d²) D / N)`` with
    ``z = z(1 - alpha / 2) + z(power)`` follows ``d = sqrt(k disagreement / (1 + k))``, ``k = z² D / N``.

    Args:
        groups: N, the group of each pair of the test set.
        disagreement: part of the pairs that exactly one of the two runs gets right, 0..1. An assumption before
            training; afterwards ``(only_a + only_b) / N`` of ``mcnemar``.
        correlation: of the differences within a group, 0..1; 1 counts every group as one pair. Between baselines
            that see only labels or geometry it was 0.02..0.18 on the rows of FoodSeg103 grouped by photo, with a
            disagreement of 0.05..0.24.
        alpha: two-sided level of the test.
        power: wanted chance to find the difference.

    Returns:
        A fraction, or None where even a run that wins every pair they differ on would not be found.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    pairs = sizes.sum()
    if pairs == 0:
        return None
    design_effect = float((sizes * (1 + (sizes - 1) * correlation)).sum() / pairs)
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    k = z**2 * design_effect / pairs
    difference = float(np.sqrt(k * disagreement / (1 + k)))
    return difference if difference <= disagreement else None


def percentile_interval(values: NDArray[np.float64]) -> Interval | None:
    """Return the middle 95 % of the resamples in which a score is defined; None where it is in none."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def _two_sided(differences: NDArray[np.float64]) -> float | None:
    defined = differences[~np.isnan(differences)]
    if defined.size == 0:
        return None
    side = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2.0 * (side + 1) / (defined.size + 1))


def _sign_flip_p(differences: NDArray[np.int64]) -> float:
    """Return P(|Σ ± d| ≥ |Σ d|) over all equally likely signs, exactly."""
    magnitudes, numbers = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    distribution = np.ones(1)
    for magnitude, number in zip(magnitudes, numbers, strict=True):
        factor = np.zeros(2 * magnitude * number + 1)
        factor[:: 2 * magnitude] = stats.binom.pmf(np.arange(number + 1), number, 0.5)
        distribution = np.convolve(distribution, factor)
    observed = abs(int(differences.sum()))
    if observed == 0:
        return 1.0
    return min(1.0, 2.0 * float(distribution[: distribution.size // 2 - observed + 1].sum()))
