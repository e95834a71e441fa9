"""Means of where a model's own maps lie, and the sentences that they support."""

from collections.abc import Mapping
from typing import Any

from experiments.explanation.summary import Codes, Floats, limits, mean_entry, percent, points
from experiments.report import format_score, text_table
from Off_the_shelfs.own_maps import OWN_METHODS

WHAT = {"energy": "activation energy", "score": "class score", "kept": "kept positions"}
OWN_DEFINITIONS = {
    **OWN_METHODS,
    "inside_roi": "part of the map on the picture, letterbox bars left out, that lies on the annotated roi; each pixel "
    "counts with the cell that it lies in",
    "roi_area": "the part of the picture that the roi takes up: what a map without a preference would have inside it",
    "control": "the same map under the rois of other pairs of the gallery that are not of the pair's group: inside "
    "less area",
    "on_bars": "part of the whole map that lies on letterbox bars",
}


def summarise_own_maps(
    name: str,
    columns: Mapping[str, Floats],
    maps: Mapping[str, Mapping[str, tuple[int, int]]],
    method: str,
    groups: Codes,
) -> tuple[dict[str, Any], list[str]]:
    """Return the means of one run over N pairs and a sentence on each map whose place is annotated.

    Args:
        name: of the run.
        columns: float N by name: ``correct``, and each of ``REGION_MEASURES`` with view and map, such as
            ``inside_roi_photo_level_1``; NaN where undefined.
        maps: grid of each map, by view and map.
        method: key of ``OWN_METHODS``.
        groups: int N.
    """
    result: dict[str, Any] = {"pairs": len(groups), **mean_entry("top1", columns["correct"], groups), "maps": {}}
    remarks = []
    for view, grids in maps.items():
        result["maps"][view] = {}
        for level, cells in grids.items():
            entry = _region(columns, f"{view}_{level}", groups)
            result["maps"][view][level] = {"cells": list(cells), **entry}
            if entry["inside_roi"] is not None:
                remarks.append(f"{name}: {_sentence(WHAT[method], view, level, entry)}")
    return result, remarks


def own_means_table(runs: Mapping[str, Any]) -> str:
    """Return a plain-text table of the means, one row per run, view and map."""
    rows = [
        {
            "run": name,
            "view": view,
            "map": level.replace("_", " "),
            "cells": "×".join(map(str, entry["cells"])),
            "inside": format_score(entry["inside_roi"], entry["inside_roi_ci"]),
            "area": format_score(entry["roi_area"]),
            "difference": format_score(entry["difference"], entry["difference_ci"]),
            "control": format_score(entry["control"]),
            "bars": format_score(entry["on_bars"]),
            "top1": format_score(run["top1"]),
        }
        for name, run in runs.items()
        for view, levels in run["maps"].items()
        for level, entry in levels.items()
    ]
    headings = {
        "run": "run",
        "view": "view",
        "map": "map",
        "cells": "cells",
        "inside": "on the roi",
        "area": "its area",
        "difference": "excess",
        "control": "excess, other rois",
        "bars": "on bars",
        "top1": "top-1 here",
    }
    return text_table(rows, headings)


def own_legend(summary: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the page has to know of the maps."""
    method = summary["method"]
    of = "the predicted class" if summary["target"] == "predicted" else "the true class"
    lines = [f"{OWN_METHODS[method][0].upper()}{OWN_METHODS[method][1:]}."]
    if method == "score":
        lines[0] = f"{lines[0]} Here it is {of}."
    lines.append(
        "On the roi: the part of a map that lies on the annotated roi, letterbox bars left out, beside the part of the "
        "picture that the roi takes up. Rois tend to lie in the middle, and so do many maps: the excess under the "
        "rois of other pairs is what any map has there. Brackets hold 95 % intervals from a bootstrap over groups."
    )
    return lines


def _region(columns: Mapping[str, Floats], key: str, groups: Codes) -> dict[str, Any]:
    own = columns[f"inside_roi_{key}"] - columns[f"roi_area_{key}"]
    control = columns[f"control_inside_{key}"] - columns[f"control_area_{key}"]
    return {
        **mean_entry("inside_roi", columns[f"inside_roi_{key}"], groups),
        **mean_entry("roi_area", columns[f"roi_area_{key}"], groups),
        **mean_entry("difference", own, groups),
        **mean_entry("control", control, groups),
        **mean_entry("above_control", own - control, groups),
        **mean_entry("on_bars", columns[f"on_bars_{key}"], groups),
    }


def _sentence(what: str, view: str, level: str, entry: Mapping[str, Any]) -> str:
    lie = "lie" if what.endswith("s") and not what.endswith("ss") else "lies"
    control = "" if entry["control"] is None else f"; under the rois of other pairs {points(entry['control'])}"
    return (
        f"{percent(entry['inside_roi'])} of the {what} of {level.replace('_', ' ')} in {view} {lie} on the annotated "
        f"roi, which is {percent(entry['roi_area'])} of the picture (difference {points(entry['difference'])}"
        f"{limits(entry['difference_ci'])} points{control})"
    )
