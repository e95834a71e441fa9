"""Means over many explained pairs, with intervals from a bootstrap over groups, and the sentences they support."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.resampling import draw_groups

RESAMPLES = 2000
COARSE = 4  # cells on the shorter side below which a map hardly tells one place from another

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.integer[Any]]


class Mean(NamedTuple):
    """Mean over the pairs where a value is defined.

    ``interval`` is the 95 % percentile interval from a bootstrap over groups, None with fewer than two groups; ``mean``
    is None where no pair has the value.
    """

    mean: float | None
    interval: list[float] | None
    pairs: int


def grouped_mean(values: Floats, groups: Codes, *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """Average the defined values (not NaN) of N pairs; pairs of one group are drawn together.

    Args:
        values: float N.
        groups: int N, the group of each pair.
        resamples: number of resamples.
        seed: of the draw; the same seed gives the same numbers.
    """
    defined = ~np.isnan(values)
    if not defined.any():
        return Mean(None, None, 0)
    kept = values[defined].astype(np.float64)
    _, code = np.unique(groups[defined], return_inverse=True)
    sums, counts = np.bincount(code, weights=kept), np.bincount(code)
    interval = None
    if counts.size > 1:
        means = [sums @ w / (counts @ w) for w in draw_groups(counts.size, 2, resamples, seed)]
        low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
        interval = [float(low), float(high)]
    return Mean(float(kept.mean()), interval, int(defined.sum()))


def summarise_run(
    columns: Mapping[str, Floats], views: Sequence[str], label: Codes, groups: Codes, names: Sequence[str]
) -> dict[str, Any]:
    """Return the means of one run over N pairs.

    Args:
        columns: float N by name: ``correct``, and ``share_<view>``, ``blacked_heat_<view>``, ``blacked_area_<view>``,
            ``bars_heat_<view>``, ``bars_area_<view>`` for each view; NaN where undefined.
        views: the run's views.
        label: int N, class of each pair.
        groups: int N.
        names: class names.

    Returns:
        ``top1``, ``evidence_share``, ``heat_on_blacked_out``, ``heat_on_bars`` (by view, each with its ``_ci``) and
        ``by_class``, one row per class that occurs; the last is empty for a run of one view.
    """
    result: dict[str, Any] = {"pairs": len(label), **_entry("top1", columns["correct"], groups)}
    shares = {view: columns[f"share_{view}"] for view in views}
    first = shares[views[0]]
    result["pairs_without_evidence"] = int(np.isnan(first).sum()) if len(views) > 1 else None
    result["evidence_share"] = {view: _entry("mean", values, groups) for view, values in shares.items()}
    for name, key in (("blacked", "heat_on_blacked_out"), ("bars", "heat_on_bars")):
        result[key] = {
            view: {
                **_entry("heat", columns[f"{name}_heat_{view}"], groups),
                **_entry("area", columns[f"{name}_area_{view}"], groups),
                **_entry("difference", columns[f"{name}_heat_{view}"] - columns[f"{name}_area_{view}"], groups),
            }
            for view in views
        }
    result["by_class"] = by_class(columns, label, groups, names) if len(views) > 1 else []
    return result


def by_class(columns: Mapping[str, Floats], label: Codes, groups: Codes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how much each class leans on its surroundings, the most first.

    Args:
        columns: as in ``summarise_run``; ``share_extra_roi``, ``blacked_heat_extra_roi`` and
            ``blacked_area_extra_roi`` are read.
        label: int N.
        groups: int N.
        names: class names.

    Returns:
        For each class that occurs its ``pairs`` with evidence, their mean ``extra_roi_share``, and
        ``outline_excess``: the heat of extra_roi on pixels that the cut made black, less their area; both with ``_ci``.
    """
    share = columns["share_extra_roi"]
    excess = columns["blacked_heat_extra_roi"] - columns["blacked_area_extra_roi"]
    rows = []
    for k in np.unique(label):
        own = label == k
        row = {"class": names[k], "pairs": int((own & ~np.isnan(share)).sum())}
        row |= _entry("extra_roi_share", share[own], groups[own])
        rows.append(row | _entry("outline_excess", excess[own], groups[own]))
    return sorted(rows, key=lambda row: -1.0 if row["extra_roi_share"] is None else -float(row["extra_roi_share"]))


def sentences(
    name: str, run: Mapping[str, Any], layers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Return the alarms of a run and the remarks on it, a sentence each.

    Args:
        name: of the run.
        run: from ``summarise_run``.
        layers: by view name, ``cells`` (h, w) of the grid.
    """
    alarms, remarks = [], []
    counts = run["heat_on_blacked_out"].get("extra_roi")
    interval = counts and counts["difference_ci"]
    if interval and interval[0] > 0:
        alarms.append(
            f"{name}: {percent(counts['heat'])} of the heat in extra_roi lies on pixels that the cut made black, "
            f"which are {percent(counts['area'])} of the picture (difference {points(counts['difference'])} "
            f"[{points(interval[0])}, {points(interval[1])}]): the outline of what was cut out is being read"
        )
    coarse = [
        f"{view} {layer['cells'][0]}×{layer['cells'][1]} ({layer['name']})"
        for view, layer in layers.items()
        if min(layer["cells"]) < COARSE
    ]
    if coarse:
        remarks.append(
            f"{name}: few cells in the maps, {', '.join(coarse)}, so places in them are rough; shares between modules "
            f"do not suffer from that, and --least_cells {COARSE} takes an earlier layer"
        )
    missing = run["pairs_without_evidence"]
    if missing:
        remarks.append(f"{name}: {missing:,} pairs have no positive evidence in any module and count in no mean")
    return alarms, remarks


def percent(fraction: float | None) -> str:
    """Return a fraction in percent, such as ``35 %``."""
    return "n/a" if fraction is None else f"{100 * fraction:.0f} %"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points with its sign."""
    return f"{100 * fraction:+.1f}"


def _entry(name: str, values: Floats, groups: Codes) -> dict[str, Any]:
    mean = grouped_mean(values, groups)
    return {name: mean.mean, f"{name}_ci": mean.interval}
