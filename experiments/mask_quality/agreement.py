"""What a column of IoUs says: mean, quartiles, and intervals from a bootstrap over groups."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.resampling import draw_groups
from experiments.statistics import compare_samples, percentile_interval
from utils.metrics import Array

Values = NDArray[np.float64]
# Upper bounds of the part of the photo that a region covers, and what a table calls them.
SIZE_BINS: tuple[tuple[float, str], ...] = (
    (0.01, "under 1 %"),
    (0.05, "1 to 5 %"),
    (0.2, "5 to 20 %"),
    (1.0, "20 % and more"),
)


def size_bin(area_fraction: float) -> str:
    """Return the name of the bin of a region that covers this part of its photo, 0..1; a bound is of the upper bin."""
    return next((name for bound, name in SIZE_BINS if area_fraction < bound), SIZE_BINS[-1][1])


def mean_samples(values: Values, groups: Array, *, resamples: int, seed: int = 0, rows: int = 0) -> Values:
    """Return the mean of each of K columns in each of R resamples of the groups, K×R.

    Args:
        values: N×K; NaN where a pair does not belong to a column.
        groups: N, the group of each pair.
        resamples: R.
        seed: of the draw; equal seeds draw the same groups, here and in ``experiments.resampling``.
        rows: rows of the tally that is resampled beside it, where there is one, so that draws come in equal parts.

    Returns:
        NaN in a resample without a pair of the column, and everywhere in a column of fewer than two groups.
    """
    names, code = np.unique(groups, return_inverse=True)
    member = ~np.isnan(values)
    sums, counts = np.zeros((2, names.size, values.shape[1]))
    np.add.at(sums, code, np.where(member, values, 0.0))
    np.add.at(counts, code, member)
    result = np.full((values.shape[1], resamples), np.nan)
    if names.size < 2:
        return result
    start = 0
    for weights in draw_groups(names.size, rows or values.shape[1], resamples, seed):
        stop = start + weights.shape[1]
        with np.errstate(invalid="ignore"):
            result[:, start:stop] = (sums.T @ weights) / (counts.T @ weights)
        start = stop
    result[np.count_nonzero(counts, axis=0) < 2] = np.nan
    return result


def summary(values: Values, samples: Values) -> dict[str, Any]:
    """Describe a column of IoUs: ``pairs``, ``mean`` with ``mean_ci``, quartiles, ``least``; None without a pair.

    Args:
        values: N; NaN for pairs that do not belong to it.
        samples: R means, of ``mean_samples``.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return {"pairs": 0} | dict.fromkeys(("mean", "mean_ci", "q25", "median", "q75", "least"))
    q25, median, q75 = (float(value) for value in np.quantile(defined, (0.25, 0.5, 0.75)))
    return {
        "pairs": int(defined.size),
        "mean": float(defined.mean()),
        "mean_ci": percentile_interval(samples),
        "q25": q25,
        "median": median,
        "q75": q75,
        "least": float(defined.min()),
    }


def summaries(columns: Mapping[str, Values], groups: Array, *, resamples: int, seed: int = 0) -> dict[str, Any]:
    """Return ``summary`` of every column, by its name, on one draw of the groups."""
    if not columns:
        return {}
    samples = mean_samples(np.column_stack(list(columns.values())), groups, resamples=resamples, seed=seed)
    return {name: summary(values, drawn) for (name, values), drawn in zip(columns.items(), samples, strict=True)}


def difference(one: Values, other: Values, groups: Array, *, resamples: int, seed: int = 0) -> dict[str, Any]:
    """Compare the means of two columns of the same pairs: ``difference``, ``interval`` and two-sided ``p_value``."""
    a, b = mean_samples(np.column_stack([one, other]), groups, resamples=resamples, seed=seed)
    compared = compare_samples(float(np.nanmean(one)), float(np.nanmean(other)), a, b)
    return {"difference": compared.difference, "interval": compared.interval, "p_value": compared.p_value}
