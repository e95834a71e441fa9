"""What is counted on one batch: evidence per module, heat on pixels that hold no picture."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class ViewMeasures:
    """Counts on one view of B pairs, float32 B each; fractions in 0..1, NaN where undefined.

    With y the logit of the class that is explained and f_i the features of the view's module:

    Attributes:
        contribution: what the module adds to y: Σ_i f_i ∂y/∂f_i, in logits.
        evidence: its positive part: Σ_i max(0, f_i ∂y/∂f_i), in logits.
        evidence_share: the module's evidence over that of all modules; NaN where none has any, or there is one module.
        map_sum: sum of the map over its cells; where it is not the contribution, the map shows where, not how much.
        map_evidence: sum of the positive part of the map over its cells.
        blacked_heat: part of the heat on the picture that lies on pixels that the cut made black; NaN without heat.
        blacked_area: the part of the picture that these pixels take up.
        control_heat: as ``blacked_heat``, for the cuts of other pairs laid on the same map, on average over them; NaN
            without heat or without other pairs.
        control_area: the part of the picture that those cuts take up.
        bars_heat: part of all heat that lies on letterbox bars, which are not the picture; NaN without heat.
        bars_area: the part of the view that the bars take up.
    """

    contribution: Floats
    evidence: Floats
    evidence_share: Floats
    map_sum: Floats
    map_evidence: Floats
    blacked_heat: Floats
    blacked_area: Floats
    control_heat: Floats
    control_area: Floats
    bars_heat: Floats
    bars_area: Floats


MEASURES = tuple(field.name for field in fields(ViewMeasures))


@dataclass(frozen=True)
class OtherCuts:
    """Pixels that the cut made black in R other pairs.

    Attributes:
        masks: bool R×S×S.
        counted: bool B×R, False where a pair is of the same group.
    """

    masks: Masks
    counted: Masks


def positive(maps: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the part of each map that speaks for the class, B×h×w."""
    return {view: np.maximum(values, 0.0) for view, values in maps.items()}


def one_scale(maps: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the positive parts in 0..1, all modules of a pair divided by the same number.

    Cells are weighed by their number, as a cell of a coarse grid covers more of the picture: a colour then stands for
    the same evidence per area in every module. A pair's largest value over all modules becomes 1; where none is above
    zero, all stay zero.

    Args:
        maps: B×h×w by view name; the grids may differ.
    """
    density = {view: values * (values.shape[1] * values.shape[2]) for view, values in positive(maps).items()}
    largest = np.max([values.max(axis=(1, 2)) for values in density.values()], axis=0)
    divisor = np.where(largest > 0, largest, 1.0)[:, None, None]
    return {view: (values / divisor).astype(np.float32) for view, values in density.items()}


def enlarge(values: Floats, side: int, places: Floats | None = None) -> Floats:
    """Return maps B×h×w at the size of their view, B×side×side, bilinear.

    ``places`` B×4 says what part of the view each map covers (left, top, width, height as fractions of its side); the
    rest of the view stays zero. Null stands for all of the view.
    """
    grid = torch.from_numpy(np.ascontiguousarray(values))[:, None]
    if places is None:
        enlarged: Floats = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)[:, 0].numpy()
        return enlarged
    whole = np.zeros((len(values), side, side), np.float32)
    for pair, place in enumerate(places):
        left, top, right, bottom = pixels_of(place, side)
        size = (bottom - top, right - left)
        part = F.interpolate(grid[pair : pair + 1], size=size, mode="bilinear", align_corners=False)
        whole[pair, top:bottom, left:right] = part[0, 0].numpy()
    return whole


def pixels_of(place: Floats, side: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in pixels of a place (left, top, width, height as fractions) in a square."""
    left, top = (round(float(edge) * side) for edge in place[:2])
    right, bottom = (round(float(place[edge] + place[edge + 2]) * side) for edge in (0, 1))
    return left, top, right, bottom


def cells_enlarged(values: Floats, side: int) -> Floats:
    """Return maps B×h×w at the size of their view, B×side×side, each pixel as the cell that it lies in."""
    grid = torch.from_numpy(np.ascontiguousarray(values))[:, None]
    enlarged: Floats = F.interpolate(grid, size=(side, side), mode="nearest-exact")[:, 0].numpy()
    return enlarged


def blacked_out(view: Tensor, photo: Tensor) -> Masks:
    """Find the pixels that the cut made black: black in the view and not in the photo, B×S×S.

    Args:
        view: uint8 B×3×S×S, a cut-out in its letterbox.
        photo: uint8 B×3×S×S, the whole photo in the same letterbox. A pixel that is black in it does not count.
    """
    found: Masks = ((view == 0).all(dim=1) & (photo != 0).any(dim=1)).cpu().numpy()
    return found


def bars(content_box: Tensor, side: int) -> Masks:
    """Find the letterbox bars, B×side×side, from boxes B×4 (left, top, width, height in pixels)."""
    left, top, width, height = (edge[:, None] for edge in content_box.cpu().long().unbind(dim=1))
    place = torch.arange(side)[None]
    across = (place >= left) & (place < left + width)
    down = (place >= top) & (place < top + height)
    outside: Masks = ~(down[:, :, None] & across[:, None, :]).numpy()
    return outside


def measure(
    maps: Mapping[str, Floats],
    contributions: Mapping[str, Floats],
    blacked: Mapping[str, Masks],
    outside: Mapping[str, Masks],
    others: Mapping[str, OtherCuts],
    places: Mapping[str, Floats | None] | None = None,
) -> dict[str, ViewMeasures]:
    """Count evidence and heat of B pairs, by view name.

    Args:
        maps: evidence per cell, B×h×w by view name.
        contributions: of each feature to the logit, B×D by view name.
        blacked: pixels that the cut made black, B×S×S by view name.
        outside: letterbox bars, B×S×S by view name.
        others: cuts of other pairs, by view name.
        places: what part of the view each map covers, by view name, as ``enlarge`` takes it.
    """
    evidence = {view: _sum(np.maximum(values, 0.0)) for view, values in contributions.items()}
    total = np.sum(list(evidence.values()), axis=0)
    result = {}
    for view, values in maps.items():
        place = None if places is None else places[view]
        heat = enlarge(np.maximum(values, 0.0), blacked[view].shape[-1], place)
        picture = ~outside[view]
        all_heat, on_picture = _sum(heat), _sum(heat * picture)
        result[view] = ViewMeasures(
            contribution=_sum(contributions[view]).astype(np.float32),
            evidence=evidence[view].astype(np.float32),
            evidence_share=_part(evidence[view], total) if len(maps) > 1 else np.full(len(values), np.nan, np.float32),
            map_sum=_sum(values).astype(np.float32),
            map_evidence=_sum(np.maximum(values, 0.0)).astype(np.float32),
            blacked_heat=_part(_sum(heat * blacked[view]), on_picture),
            blacked_area=_part(_sum(blacked[view]), _sum(picture)),
            control_heat=_part(_under(heat * picture, others[view]), on_picture),
            control_area=_part(_under(picture, others[view]), _sum(picture)),
            bars_heat=_part(all_heat - on_picture, all_heat),
            bars_area=outside[view].mean(axis=(1, 2)).astype(np.float32),
        )
    return result


@dataclass(frozen=True)
class RegionMeasures:
    """Where a map of B pairs, nowhere negative, lies; float32 B each, fractions in 0..1, NaN where undefined.

    Attributes:
        inside_roi: part of the map on the picture that lies on the annotated roi.
        roi_area: the part of the picture that the roi takes up.
        control_inside: as ``inside_roi``, for the rois of other pairs laid on the same map, on average over them.
        control_area: the part of the picture that those take up.
        on_bars: part of the whole map that lies on letterbox bars.
    """

    inside_roi: Floats
    roi_area: Floats
    control_inside: Floats
    control_area: Floats
    on_bars: Floats


REGION_MEASURES = tuple(field.name for field in fields(RegionMeasures))


def measure_region(values: Floats, roi: Masks | None, outside: Masks, others: OtherCuts | None) -> RegionMeasures:
    """Count where a map lies.

    Args:
        values: B×h×w, at least 0, over the whole view.
        roi: pixels of the annotated roi, B×S×S; null where nothing is annotated.
        outside: letterbox bars, B×S×S.
        others: rois of other pairs; null where nothing is annotated.
    """
    heat, picture = cells_enlarged(values, outside.shape[-1]), ~outside
    all_heat, on_picture, area = _sum(heat), _sum(heat * picture), _sum(picture)
    on_bars = _part(all_heat - on_picture, all_heat)
    if roi is None or others is None:
        unknown = np.full(len(values), np.nan, np.float32)
        return RegionMeasures(unknown, unknown, unknown, unknown, on_bars)
    return RegionMeasures(
        inside_roi=_part(_sum(heat * (roi & picture)), on_picture),
        roi_area=_part(_sum(roi & picture), area),
        control_inside=_part(_under(heat * picture, others), on_picture),
        control_area=_part(_under(picture, others), area),
        on_bars=on_bars,
    )


def departure(map_sum: NDArray[Any], contribution: NDArray[Any]) -> float:
    """Return how far the sums of N maps lie from what the module adds to the logit, as a part of that.

    ``Σ |map_sum - contribution| / Σ |contribution|`` over the pairs; NaN where the module adds nothing.
    """
    size = float(np.abs(contribution).sum(dtype=np.float64))
    return float(np.abs(map_sum - contribution).sum(dtype=np.float64)) / size if size > 0 else float("nan")


def _under(values: NDArray[Any], others: OtherCuts) -> NDArray[np.float64]:
    """Sum values B×S×S over each of the other cuts; average over the cuts that count for a pair, NaN without any."""
    sums = values.reshape(len(values), -1).astype(np.float32) @ others.masks.reshape(len(others.masks), -1).T
    number = others.counted.sum(axis=1)
    mean: NDArray[np.float64] = _sum(np.where(others.counted, sums, 0.0)) / np.where(number > 0, number, np.nan)
    return mean


def _sum(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sum over all axes but the first."""
    total: NDArray[np.float64] = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
    return total


def _part(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Floats:
    """Divide, NaN where the whole is zero."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan).astype(np.float32)
