"""Means over many explained pairs, with intervals from a bootstrap over groups, and the sentences they support."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.explanation.measures import departure
from experiments.resampling import draw_groups

RESAMPLES = 2000
COARSE = 4  # cells on the shorter side below which a map hardly tells one place from another
LARGEST_DEPARTURE = 0.1  # of a map's sum from what its module adds to the logit, as a part of that
# With y the logit of the class that is explained and f_i the features of a module.
DEFINITIONS = {
    "contribution": "sum_i f_i dy/df_i: what the module adds to y, in logits",
    "evidence": "sum_i max(0, f_i dy/df_i): the positive part of it, in logits",
    "evidence_share": "evidence of the module over the evidence of all modules",
    "map_sum": "sum of the map over its cells; where it is not the contribution, the map shows where, not how much",
    "map_evidence": "sum of the positive part of the map over its cells",
    "map_departure": "sum over pairs of |map_sum - contribution| over the sum of |contribution|",
    "control": "the same maps under the cuts of other pairs of the gallery that are not of the pair's group",
}

_HOW = " (--least_cells takes one with more cells)"

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
        columns: float N by name: ``correct``, and each of ``MEASURES`` with the name of each view, such as
            ``evidence_share_roi``; NaN where undefined.
        views: the run's views.
        label: int N, class of each pair.
        groups: int N.
        names: class names.

    Returns:
        ``top1``, ``evidence_share``, ``contribution``, ``heat_on_blacked_out``, ``heat_on_bars`` (by view, each with
        its ``_ci``), ``map_departure`` by view, and ``by_class``, one row per class that occurs, which is empty for a
        run of one view. In ``heat_on_blacked_out``, ``difference`` is heat less area, ``control`` the same under
        the cuts of other pairs, and ``above_control`` the difference of these two.
    """
    result: dict[str, Any] = {"pairs": len(label), **mean_entry("top1", columns["correct"], groups)}
    first = columns[f"evidence_share_{views[0]}"]
    result["pairs_without_evidence"] = int(np.isnan(first).sum()) if len(views) > 1 else None
    for name in ("evidence_share", "contribution"):
        result[name] = {view: mean_entry("mean", columns[f"{name}_{view}"], groups) for view in views}
    result["map_departure"] = {
        view: _number(departure(columns[f"map_sum_{view}"], columns[f"contribution_{view}"])) for view in views
    }
    for name, key in (("blacked", "heat_on_blacked_out"), ("bars", "heat_on_bars")):
        result[key] = {view: _heat(columns, name, view, groups) for view in views}
    for view in views:
        counts = result["heat_on_blacked_out"][view]
        own = columns[f"blacked_heat_{view}"] - columns[f"blacked_area_{view}"]
        control = columns[f"control_heat_{view}"] - columns[f"control_area_{view}"]
        counts |= mean_entry("control", control, groups) | mean_entry("above_control", own - control, groups)
    result["by_class"] = by_class(columns, label, groups, names) if len(views) > 1 else []
    return result


def by_class(columns: Mapping[str, Floats], label: Codes, groups: Codes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how much each class leans on its surroundings, the most first.

    Args:
        columns: as in ``summarise_run``; ``evidence_share_extra_roi``, ``blacked_heat_extra_roi`` and
            ``blacked_area_extra_roi`` are read.
        label: int N.
        groups: int N.
        names: class names.

    Returns:
        For each class that occurs its ``pairs`` with evidence, their mean ``extra_roi_share``, and
        ``outline_excess``: the heat of extra_roi on pixels that the cut made black, less their area; both with ``_ci``.
    """
    share = columns["evidence_share_extra_roi"]
    excess = columns["blacked_heat_extra_roi"] - columns["blacked_area_extra_roi"]
    rows = []
    for k in np.unique(label):
        own = label == k
        row = {"class": names[k], "pairs": int((own & ~np.isnan(share)).sum())}
        row |= mean_entry("extra_roi_share", share[own], groups[own])
        rows.append(row | mean_entry("outline_excess", excess[own], groups[own]))
    return sorted(rows, key=lambda row: -1.0 if row["extra_roi_share"] is None else -float(row["extra_roi_share"]))


def sentences(
    name: str, run: Mapping[str, Any], layers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Return the alarms of a run and the remarks on it, a sentence each.

    Args:
        name: of the run.
        run: from ``summarise_run``.
        layers: by view name, ``name`` of the layer and ``cells`` (h, w) of the grid.
    """
    alarms: list[str] = []
    remarks: list[str] = []
    if "extra_roi" in run["heat_on_blacked_out"]:
        text, alarming = _outline(run["heat_on_blacked_out"]["extra_roi"], layers["extra_roi"])
        (alarms if alarming else remarks).append(f"{name}: {text}")
    for view, off in run["map_departure"].items():
        if off is not None and off > LARGEST_DEPARTURE:
            remarks.append(
                f"{name}: the maps of {view} (layer {layers[view]['name']}) do not add up to what the module adds to "
                f"the logit (off by {percent(off)} of it on average over the pairs): they show where, not how much, "
                f"and are not comparable in strength with maps of other modules"
            )
    coarse = [
        f"{view} {layer['cells'][0]}×{layer['cells'][1]} ({layer['name']})"
        for view, layer in layers.items()
        if min(layer["cells"]) < COARSE
    ]
    if coarse:
        remarks.append(
            f"{name}: few cells in the maps, {', '.join(coarse)}, so places in them are rough; shares of evidence do "
            f"not suffer from that, and --least_cells {COARSE} takes an earlier layer"
        )
    missing = run["pairs_without_evidence"]
    if missing:
        remarks.append(f"{name}: {missing:,} pairs have no evidence for the class in any module and count in no mean")
    return alarms, remarks


def percent(fraction: float | None) -> str:
    """Return a fraction in percent, such as ``35 %``."""
    return "n/a" if fraction is None else f"{100 * fraction:.0f} %"


def points(fraction: float) -> str:
    """Return a difference of fractions in percentage points with its sign."""
    return f"{100 * fraction:+.1f}"


def _outline(counts: Mapping[str, Any], layer: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the sentence on heat over cut-out pixels of extra_roi, and whether it is an alarm.

    It is an alarm where the heat exceeds the area, and by more than it does under the cuts of other pairs, beyond both
    intervals; without other pairs, where it exceeds the area.
    """
    where = f"layer {layer['name']}, {layer['cells'][0]}×{layer['cells'][1]} cells"
    if counts["difference"] is None:
        return (
            f"no map of extra_roi ({where}) has heat, so nothing can be said on the outline of what was cut out",
            False,
        )
    control = ""
    if counts["control"] is not None:
        control = f"; under the cuts of other pairs {points(counts['control'])}{limits(counts['control_ci'])}"
    text = (
        f"in maps of extra_roi from {where}, {percent(counts['heat'])} of the heat lies on pixels that the cut made "
        f"black, which are {percent(counts['area'])} of the picture (difference {points(counts['difference'])}"
        f"{limits(counts['difference_ci'])} points{control})"
    )
    if counts["difference_ci"] is None:
        return f"{text}: too few groups to tell", False
    more = _above_zero(counts["difference_ci"])
    if more and (counts["above_control"] is None or _above_zero(counts["above_control_ci"])):
        return f"{text}: the outline of what was cut out may be read. Another layer may show otherwise{_HOW}", True
    if more:
        return f"{text}: no more than maps have there under any cut. Another layer may show otherwise{_HOW}", False
    return f"{text}: no sign here that the outline is read. Another layer may show one{_HOW}", False


def _above_zero(interval: Sequence[float] | None) -> bool:
    return interval is not None and interval[0] > 0


def limits(interval: Sequence[float] | None) -> str:
    """Return an interval of fractions in percentage points, in brackets; nothing where there is none."""
    return "" if interval is None else f" [{points(interval[0])}, {points(interval[1])}]"


def _heat(columns: Mapping[str, Floats], name: str, view: str, groups: Codes) -> dict[str, Any]:
    heat, area = columns[f"{name}_heat_{view}"], columns[f"{name}_area_{view}"]
    return (
        mean_entry("heat", heat, groups)
        | mean_entry("area", area, groups)
        | mean_entry("difference", heat - area, groups)
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def mean_entry(name: str, values: Floats, groups: Codes) -> dict[str, Any]:
    """Return the mean of N pairs as ``name`` and its interval as ``name_ci``; see ``grouped_mean``."""
    mean = grouped_mean(values, groups)
    return {name: mean.mean, f"{name}_ci": mean.interval}
