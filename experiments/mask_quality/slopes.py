"""How many points of a score are lost for each 0.1 of IoU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.statistics import percentile_interval

Values = NDArray[np.float64]
FORMULA = (
    "points lost per 0.1 IoU = 100 · 0.1 · Σ xₑ yₑ / Σ xₑ², where xₑ = 1 − mean IoU of the masks after edit e with the "
    "stored ones and yₑ = score on the stored masks − score after edit e: the line through the unedited pairs (0, 0) "
    "with the least squared error"
)


def through_origin(x: Values, y: Values) -> Values:
    """Return the slope of the least-squares line through the origin, Σ x y / Σ x²; NaN where every x is 0.

    Args:
        x: E, or E×R for R resamples.
        y: of the same shape.
    """
    squares = (x * x).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(squares > 0, (x * y).sum(axis=0) / squares, np.nan))


def loss_per_tenth(
    iou: Sequence[float], score: Sequence[float], reference: float, samples: Mapping[str, Values]
) -> dict[str, Any] | None:
    """Return ``points`` of a score lost per 0.1 IoU (``FORMULA``), its interval, and how far the line misses.

    Args:
        iou: mean IoU of each of E edits, 0..1.
        score: the score after each, 0..1.
        reference: the score on the stored masks.
        samples: ``iou`` and ``score`` E×R and ``reference`` R: the same numbers on R resamples of the groups.

    Returns:
        ``points``, ``points_ci`` (null without one), ``miss`` (the largest distance of an edit from the line, in
        points), ``edits``; None where no edit changes a mask.
    """
    x, y = 1 - np.asarray(iou, dtype=np.float64), reference - np.asarray(score, dtype=np.float64)
    slope = float(through_origin(x, y))
    if np.isnan(slope):
        return None
    drawn = through_origin(1 - samples["iou"], samples["reference"] - samples["score"])
    bounds = percentile_interval(drawn)
    return {
        "points": 10 * slope,
        "points_ci": None if bounds is None else [10 * bound for bound in bounds],
        "miss": float(100 * np.abs(y - slope * x).max()),
        "edits": int(x.size),
    }
