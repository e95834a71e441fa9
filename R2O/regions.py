"""From superpixels to regions: those of all photos of a batch whose features are alike share an id.

Gokul et al. 2022, "Refine and Represent: Region-to-Object Representation Learning", arXiv 2208.11821, section 3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from R2O.config import FidelityConfig
from R2O.kmeans import kmeans, nearest
from R2O.lattice import paint, soft_masks
from R2O.pooling import Pooled, pool_regions


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of photos, on the lattice of the whole photo.

    Attributes:
        masks: float32 B×K×L×L, 0..1; the K masks of a photo add up to 1 in every cell. This is what
            ``lattice.replay`` carries over to the views.
        ids: int64 B×L×L, 0..K-1: the region of each cell, for pictures.
        counts: int64 B, distinct regions of each photo.
    """

    masks: Tensor
    ids: Tensor
    counts: Tensor


@torch.no_grad()
def refine(
    features: Tensor | None, superpixels: Tensor, clusters: int | None, fidelity: FidelityConfig, side: int
) -> Regions:
    """Cluster the superpixels of all photos together, and draw the clusters as masks.

    Args:
        features: float B×D×h×h of the whole photos; not read, and may be null, without clustering.
        superpixels: integers B×S×S, labels from 0 without gaps in each photo.
        clusters: K, at least 1; null for no clustering, where the superpixels are the regions, with soft borders.
        fidelity: reads ``border_ids`` and ``cluster_padding``.
        side: L, cells per side of the lattice.

    Returns:
        Masks and ids. There are K masks, or as many as superpixels take part where those are fewer; without clustering
        as many as the richest photo has superpixels.
    """
    slots = int(superpixels.max()) + 1
    if clusters is None:
        own = torch.arange(slots, device=superpixels.device).expand(len(superpixels), slots)
        counts = superpixels.flatten(1).amax(dim=1).long() + 1
        return Regions(soft_masks(superpixels, slots, side), paint(superpixels, own, side), counts)
    if features is None:
        raise ValueError("clustering needs features")
    ids, count = cluster_superpixels(features, superpixels, clusters, slots, padding=fidelity.cluster_padding)
    painted = paint(superpixels, ids, side, fidelity.border_ids)
    masks = torch.zeros(len(painted), count, side, side, device=painted.device)
    masks.scatter_(1, painted[:, None], 1.0)
    present = torch.zeros(len(painted), count, dtype=torch.int64, device=painted.device)
    return Regions(masks, painted, present.scatter_(1, painted.flatten(1), 1).sum(dim=1))


def cluster_superpixels(
    features: Tensor, superpixels: Tensor, clusters: int, slots: int, *, padding: bool = False
) -> tuple[Tensor, int]:
    """Cluster superpixels by the direction of their mean features, over all photos together.

    A superpixel that no cell of the map reads takes no part; afterwards it goes to the cluster whose centre is nearest
    to the features of the cells that its pixels lie in.

    Args:
        features: float B×D×h×h.
        superpixels: integers B×S×S, 0..slots-1.
        clusters: K, at least 1.
        slots: rows per photo.
        padding: let the empty rows of slots that a photo lacks, and of superpixels that no cell reads, take part as
            points at 0, as the authors' code does.

    Returns:
        int64 B×slots ids, 0 for slots that a photo lacks, and the number of ids there can be.
    """
    cells = features.shape[-1]
    read = soft_masks(superpixels, slots, cells)
    sampled = read.flatten(2).sum(dim=2) > 0
    if padding:
        rows = _directions(pool_regions(features, read)).flatten(0, 1)
        found = kmeans(rows, clusters)
        return found.labels.view(len(superpixels), slots), len(found.centres)
    whole = _shares(superpixels, slots, cells)
    rows = _directions(pool_regions(features, torch.where(sampled[:, :, None, None], read, whole)))
    found = kmeans(rows[sampled], clusters)
    ids = nearest(rows.flatten(0, 1), found).view(len(superpixels), slots)
    ids = ids.masked_fill(whole.flatten(2).sum(dim=2) == 0, 0)
    return ids.masked_scatter(sampled, found.labels), len(found.centres)


def _directions(pooled: Pooled) -> Tensor:
    return F.normalize(pooled.rows, dim=2)


def _shares(superpixels: Tensor, slots: int, cells: int) -> Tensor:
    """Return float32 B×slots×cells×cells: the number of a superpixel's pixels in each cell."""
    size = superpixels.shape[-1]
    row = torch.arange(size, device=superpixels.device) * cells // size
    photo = torch.arange(len(superpixels), device=superpixels.device)[:, None, None]
    places = (photo * slots + superpixels) * (cells * cells) + (row[:, None] * cells + row)
    shares = torch.zeros(len(superpixels) * slots * cells * cells, device=superpixels.device)
    shares.index_add_(0, places.flatten(), torch.ones(places.numel(), device=superpixels.device))
    return shares.view(len(superpixels), slots, cells, cells)
