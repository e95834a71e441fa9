"""Risk against coverage: how wrong the predictions are if the least sure of them are left to a person.

Geifman and El-Yaniv (2017), section 2; the area under the curve and its excess over the ideal order are those of
Geifman, Uziel and El-Yaniv (2019). The threshold is chosen on the pairs that are judged, so what holds for them is
promised for no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.resampling import draw_groups
from utils.metrics import Array

RISKS = (0.05, 0.10)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Risk if only the k surest of N pairs are answered, for k = 1..N.

    Attributes:
        threshold: N, the confidence of the k-th pair.
        risk: N, part of the first k pairs that is wrong. Among pairs of one confidence, the mean over their orders.
    """

    threshold: Floats
    risk: Floats

    @property
    def coverage(self) -> Floats:
        """``k / N`` for k = 1..N."""
        return np.arange(1, self.risk.size + 1) / self.risk.size

    @property
    def aurc(self) -> float:
        """Area under the curve: the mean of the risk over all coverages, 0 is best."""
        return float(self.risk.mean())

    def coverage_at(self, risk: float) -> float:
        """Return the largest coverage at which the risk is at most ``risk``, 0 where there is none."""
        return _coverage_at(self.risk, risk)


def risk_coverage(confidence: Array, hit: Array) -> RiskCoverage:
    """Order N pairs from the surest to the least sure.

    Args:
        confidence: N.
        hit: bool N, whether the prediction is right.
    """
    order = np.argsort(-confidence, kind="stable")
    _, block, count = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = np.bincount(block, weights=~hit[order]) / count
    return RiskCoverage(confidence[order], _risk(wrong[block]))


def ideal_risk(hit: Array) -> Floats:
    """Return the risk for k = 1..N if every right prediction came before every wrong one."""
    return _risk(np.sort(~hit).astype(np.float64))


def selective_intervals(
    confidence: Array, hit: Array, groups: Array, *, risks: Sequence[float] = RISKS, resamples: int, seed: int = 0
) -> dict[str, list[float] | None]:
    """Return 95 % percentile intervals from a bootstrap over groups: ``aurc`` and ``coverage_at_<r>_percent_risk``.

    Pairs of one confidence stand in one random order. None with fewer than two groups.
    """
    names, group = np.unique(groups, return_inverse=True)
    keys = ["aurc", *(coverage_key(risk) for risk in risks)]
    if names.size < 2:
        return dict.fromkeys(keys)
    order = np.lexsort((np.random.default_rng(seed).random(len(hit)), -confidence))
    wrong, group = (~hit[order]).astype(np.float64), group[order]
    samples = []
    for weights in draw_groups(names.size, 1, resamples, seed):
        for drawn in weights.T:
            curve = _risk(np.repeat(wrong, drawn[group]))
            samples.append([curve.mean(), *(_coverage_at(curve, risk) for risk in risks)])
    low, high = np.quantile(np.array(samples), [0.025, 0.975], axis=0)
    return {key: [float(low[i]), float(high[i])] for i, key in enumerate(keys)}


def coverage_key(risk: float) -> str:
    """Return the name of the coverage at a risk, such as ``coverage_at_5_percent_risk``."""
    return f"coverage_at_{100 * risk:g}_percent_risk"


def _risk(wrong: Floats) -> Floats:
    return np.asarray(np.cumsum(wrong) / np.arange(1, wrong.size + 1))


def _coverage_at(curve: Floats, risk: float) -> float:
    # A mean of tied errors may exceed the wanted risk by rounding alone.
    allowed = np.flatnonzero(curve <= risk + 1e-12)
    return float((allowed[-1] + 1) / curve.size) if allowed.size else 0.0
