"""Do stated probabilities hold? Expected calibration error, and the temperature that mends it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from experiments.resampling import draw_groups
from utils.metrics import Array, check_predictions, predicted_classes

BINS = 15
COLDEST, HOTTEST = 0.01, 100.0  # temperatures that are searched

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Pairs in bins of their confidence (the highest probability).

    Attributes:
        edges: B+1 limits of the bins, rising from 0 to 1; a bin holds its upper limit and not its lower one.
        count: int B, pairs in each bin.
        confidence: B, mean confidence, NaN in an empty bin.
        accuracy: B, part of the pairs that are right, NaN in an empty bin.
    """

    edges: Floats
    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error, ``Σ count / N |accuracy - confidence|`` (Guo et al. 2017, equation 3)."""
        gap = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.count * gap) / self.count.sum())


def probabilities(logits: Array, temperature: float = 1.0) -> Floats:
    """Return softmax(logits / T) of logits N×C, in double precision."""
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1))


def equal_width_edges(bins: int = BINS) -> Floats:
    """Return the limits of bins of one width, ``bins + 1`` values from 0 to 1."""
    return np.linspace(0.0, 1.0, bins + 1)


def equal_mass_edges(confidence: Array, bins: int = BINS) -> Floats:
    """Return limits between which lie equally many pairs (Nguyen and O'Connor 2015), ties together.

    Equal widths leave most pairs of a sure network in one bin; these limits do not. There are fewer bins where many
    pairs share a confidence.
    """
    inner = np.quantile(confidence, np.arange(1, bins) / bins)
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def reliability(confidence: Array, hit: Array, edges: Floats) -> Reliability:
    """Put N pairs into bins.

    Args:
        confidence: N, in 0..1.
        hit: bool N, whether the prediction is right.
        edges: limits of the bins.
    """
    code, bins = _bin(confidence, edges), edges.size - 1
    count = np.bincount(code, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(code, weights=values, minlength=bins) / count for values in (confidence, hit)]
    return Reliability(edges, count.astype(np.int64), *means)


def ece_interval(
    confidence: Array, hit: Array, groups: Array, edges: Floats, *, resamples: int, seed: int = 0
) -> list[float] | None:
    """Return the 95 % basic interval of the calibration error from a bootstrap over groups; the bins stay.

    Errors of either sign count as error, so the estimate lies above the truth, and a resample lies above it once
    more. The basic interval ``2 e - quantiles`` (Davison and Hinkley 1997) takes that out; it is cut at 0 and always
    holds e. In simulations of 2,000 groups of 1 to 6 pairs it held the truth in 0.89 to 0.93 of the cases where the
    percentile interval did in 0 to 0.93, worst for good calibration. With 60 groups and near-perfect calibration
    either is too high.

    Returns:
        ``[low, high]``, or None with fewer than two groups.
    """
    names, group = np.unique(groups, return_inverse=True)
    if names.size < 2:
        return None
    bins = edges.size - 1
    gaps = np.zeros((bins, names.size))
    np.add.at(gaps, (_bin(confidence, edges), group), hit - confidence)
    sizes = np.bincount(group)
    samples = np.concatenate(
        [
            np.abs(gaps @ weights).sum(axis=0) / (sizes @ weights)
            for weights in draw_groups(names.size, bins, resamples, seed)
        ]
    )
    value = float(np.abs(gaps.sum(axis=1)).sum() / sizes.sum())
    low, high = np.quantile(samples, [0.025, 0.975])
    return [float(np.clip(2 * value - high, 0.0, value)), float(max(2 * value - low, value))]


def ece_by_chance(confidence: Array, edges: Floats) -> float:
    """Return the calibration error to be expected of pairs whose confidence is exactly right.

    In a bin, hits minus confidences sum to a variance of ``v = Σ p (1 - p)``; the size of a normal value of that
    variance is ``sqrt(2 v / π)`` on average. Pairs are taken as independent, so groups would raise it.
    """
    variance = np.bincount(_bin(confidence, edges), weights=confidence * (1 - confidence))
    return float(np.sqrt(2 * variance / np.pi).sum() / len(confidence))


def classwise_ece(truth: Array, probability: Array, bins: int = BINS) -> float:
    """Return the mean over classes of the calibration error of "is it this class?" (Kull et al. 2019).

    Args:
        truth: int N, class index.
        probability: N×C.
        bins: of equal width, for each class.
    """
    pairs, classes = probability.shape
    own = np.zeros_like(probability)
    own[np.arange(pairs), truth] = 1.0
    cell = _bin(probability.ravel(), equal_width_edges(bins)) + np.tile(np.arange(classes) * bins, pairs)
    gaps = np.bincount(cell, weights=(own - probability).ravel(), minlength=classes * bins)
    return float(np.abs(gaps).sum() / (pairs * classes))


def negative_log_likelihood(truth: Array, logits: Array, temperature: float = 1.0) -> float:
    """Return the mean of ``-ln softmax(logits / T)[truth]``, in nats; infinite where a true class is ruled out."""
    values = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-np.take_along_axis(values, truth[:, None].astype(np.int64), axis=1).mean())


def fit_temperature(truth: Array, logits: Array) -> float | str:
    """Return the T that makes the labels likeliest under softmax(logits / T) (Guo et al. 2017, section 4.2).

    Predictions stay as they are. The loss is convex in 1/T, so its only minimum in ln T is found by bounded search,
    between 0.01 and 100.

    Args:
        truth: int N, class index; of pairs that neither trained the network nor are scored.
        logits: N×C.

    Returns:
        The temperature, or a sentence that says why the pairs determine none.

    Raises:
        RunError: a logit is NaN or +infinity.
    """
    check_predictions(truth, logits)
    if not len(truth):
        return "not fitted: there is no validation pair"
    if (predicted_classes(logits) == truth).all():
        return (
            f"not fitted: all {len(truth):,} validation pairs are predicted right, and the colder, the likelier they "
            f"are; use a larger data.validation_fraction"
        )
    if not np.isfinite(negative_log_likelihood(truth, logits)):
        return "not fitted: the class of a validation pair is ruled out, at any temperature"
    limits = np.log([COLDEST, HOTTEST])
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(truth, logits, np.exp(log_t)),
        bounds=tuple(limits),
        method="bounded",
        options={"xatol": 1e-6},
    )
    if np.abs(found.x - limits).min() < 1e-3:
        return f"not fitted: the validation pairs want a temperature outside {COLDEST:g} to {HOTTEST:g}"
    return float(np.exp(found.x))


def _bin(confidence: Array, edges: Floats) -> NDArray[np.int64]:
    """Return the bin of each value: ``edges[b] < value <= edges[b + 1]``; 0 lies in the first."""
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, edges.size - 2).astype(np.int64)
