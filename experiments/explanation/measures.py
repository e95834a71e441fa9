"""What is counted on the maps of one batch: evidence per module, heat on pixels that hold no picture."""

from collections.abc import Mapping
from dataclasses import dataclass

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

    Attributes:
        evidence: sum of the positive part of the map over its cells.
        contribution: sum over all cells, those that speak against the class included.
        share: this module's part of the evidence of all modules; NaN where no module has any, or there is one module.
        blacked_heat: part of the heat on the picture that lies on pixels that the cut made black; NaN without heat.
        blacked_area: the part of the picture that these pixels take up.
        bars_heat: part of all heat that lies on letterbox bars, which are not the picture; NaN without heat.
        bars_area: the part of the view that the bars take up.
    """

    evidence: Floats
    contribution: Floats
    share: Floats
    blacked_heat: Floats
    blacked_area: Floats
    bars_heat: Floats
    bars_area: Floats


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


def enlarge(values: Floats, side: int) -> Floats:
    """Return maps B×h×w at the size of their view, B×side×side, bilinear."""
    grid = torch.from_numpy(np.ascontiguousarray(values))[:, None]
    enlarged: Floats = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)[:, 0].numpy()
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
    maps: Mapping[str, Floats], blacked: Mapping[str, Masks], outside: Mapping[str, Masks], *, evidence: bool = True
) -> dict[str, ViewMeasures]:
    """Count evidence and heat of B pairs, by view name.

    Args:
        maps: evidence per cell, B×h×w by view name.
        blacked: pixels that the cut made black, B×S×S by view name.
        outside: letterbox bars, B×S×S by view name.
        evidence: False where the method's maps have no unit in common; shares are then NaN.
    """
    sums = {view: values.sum(axis=(1, 2), dtype=np.float64) for view, values in positive(maps).items()}
    total = np.sum(list(sums.values()), axis=0)
    shared = evidence and len(maps) > 1
    result = {}
    for view, values in maps.items():
        heat = enlarge(np.maximum(values, 0.0), blacked[view].shape[-1])
        all_heat = heat.sum(axis=(1, 2), dtype=np.float64)
        on_bars = (heat * outside[view]).sum(axis=(1, 2), dtype=np.float64)
        on_blacked = (heat * blacked[view]).sum(axis=(1, 2), dtype=np.float64)
        picture_area = (~outside[view]).sum(axis=(1, 2), dtype=np.float64)
        result[view] = ViewMeasures(
            evidence=sums[view].astype(np.float32),
            contribution=values.sum(axis=(1, 2), dtype=np.float64).astype(np.float32),
            share=_part(sums[view], total) if shared else np.full(len(values), np.nan, np.float32),
            blacked_heat=_part(on_blacked, all_heat - on_bars),
            blacked_area=_part(blacked[view].sum(axis=(1, 2), dtype=np.float64), picture_area),
            bars_heat=_part(on_bars, all_heat),
            bars_area=outside[view].mean(axis=(1, 2)).astype(np.float32),
        )
    return result


def _part(part: NDArray[np.float64], whole: NDArray[np.float64]) -> Floats:
    """Divide, NaN where the whole is zero."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan).astype(np.float32)
