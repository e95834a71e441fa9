"""The loss between the two views of a region, which regions count, and how far the vectors are spread out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from R2O.pooling import LEAST_AREA


def present_in_both(area_1: Tensor, area_2: Tensor) -> Tensor:
    """Return bool B×K: which regions of a photo are seen in both views, from their areas B×K in cells.

    A region need not show the same place twice: two views of one group's superpixels are enough.
    """
    return (area_1 > LEAST_AREA) & (area_2 > LEAST_AREA)


def region_weights(area_1: Tensor, area_2: Tensor, *, overlap: bool, by_area: bool) -> Tensor:
    """Return the weights float32 B×K of the regions in the loss.

    Args:
        area_1: of each region in the first view, in cells of the map; B×K.
        area_2: in the second view.
        overlap: regions that one view lacks weigh nothing.
        by_area: others weigh the mean of their areas instead of 1.
    """
    weights = torch.ones_like(area_1, dtype=torch.float32)
    if by_area:
        weights = (area_1.float() + area_2.float()) / 2
    return weights * present_in_both(area_1, area_2) if overlap else weights


def region_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the squared distances of unit vectors, ``2 - 2 cos``: a scalar in 0..4.

    0 for equal directions, 2 for a right angle, 4 for opposite ones (Gokul et al. 2022;
    Grill et al. 2020, equation 2). It is computed in fp32. Without a weight above 0 it is 0 and so is its gradient.

    Args:
        predicted: vectors N×D of the online side.
        target: vectors N×D they should point along; no gradient flows into them.
        weights: float32 N, at least 0.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        ours = F.normalize(predicted.float(), dim=-1)
        theirs = F.normalize(target.detach().float(), dim=-1)
        distances = (ours - theirs).square().sum(dim=-1)
        total = weights.sum()
        return (weights * distances).sum() / torch.where(total > 0, total, 1.0)


def spread(target: Tensor, weights: Tensor) -> Tensor:
    """Return how far unit vectors are spread out: 1 where no direction is preferred, 0 where all are one.

    It is the standard deviation along each axis, averaged over the D axes and multiplied by √D.

    Args:
        target: vectors N×D, of any length.
        weights: float32 N; vectors with weight 0 do not count, the others count alike.
    """
    directions = F.normalize(target.detach().float(), dim=-1)
    counted = (weights > 0).float()[:, None]
    count = counted.sum().clamp(min=1)
    mean = (directions * counted).sum(dim=0) / count
    variance = ((directions - mean).square() * counted).sum(dim=0) / count
    return variance.sqrt().mean() * math.sqrt(directions.shape[-1])
