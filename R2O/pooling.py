"""Means of features over regions (Gokul et al. 2022, arXiv 2208.11821, section 3)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LEAST_AREA = 1e-3  # a region that covers no more of a map, in cells, is absent


@dataclass(frozen=True)
class Pooled:
    """One row of features per region.

    Attributes:
        rows: float32 B×K×D; 0 for regions that are absent.
        area: float32 B×K, in cells of the map.
    """

    rows: Tensor
    area: Tensor


def pool_regions(features: Tensor, masks: Tensor, divisor: Literal["area", "at_least_one"] = "area") -> Pooled:
    """Pool features over soft masks.

    Args:
        features: float B×D×h×w.
        masks: float B×K×h×w, 0..1, on the same cells.
        divisor: ``area`` gives the mean over the region, whatever its size; ``at_least_one`` divides by no less than
            one cell, as the authors' code does, which draws small regions towards 0.
    """
    with torch.autocast(device_type=features.device.type, enabled=False):
        weights = masks.float().flatten(2)
        sums = torch.bmm(weights, features.float().flatten(2).transpose(1, 2))
        area = weights.sum(dim=2)
        if divisor == "at_least_one":
            return Pooled(sums / area.clamp(min=1)[:, :, None], area)
        present = area > LEAST_AREA
        rows = sums / area.where(present, 1.0)[:, :, None]
        return Pooled(rows.where(present[:, :, None], 0.0), area)
