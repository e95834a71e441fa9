"""The lattice of regions on the whole photo: sampled from superpixels, painted with ids, replayed on the views.

A label map has B×S×S pixels, y before x; a lattice has fewer cells, whose centres lie between pixels. Only the four
pixels round each centre are read: of a factor that is even, they are what bilinear interpolation weighs, each by 1/4.
"""

from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import roi_align


def sample_four(labels: Tensor, side: int) -> Tensor:
    """Take the four pixels round the centre of each cell.

    Args:
        labels: B×S×S of any type.
        side: cells per side. Where S / side is odd, the centre is a pixel and is taken four times.

    Returns:
        B×4×side×side: top left, top right, bottom left, bottom right.
    """
    size = labels.shape[-1]
    cells = torch.arange(side, device=labels.device)
    twice = (2 * cells + 1) * size - side  # the centre's coordinate, times 2·side: whole numbers do not round
    first = twice.div(2 * side, rounding_mode="floor")
    last = -(-twice).div(2 * side, rounding_mode="floor")
    places = torch.stack((first, last), dim=1).flatten().clamp(0, size - 1)
    four = labels[:, places[:, None], places].view(len(labels), side, 2, side, 2)
    return four.permute(0, 2, 4, 1, 3).flatten(1, 2)


def soft_masks(superpixels: Tensor, slots: int, side: int) -> Tensor:
    """Return float32 B×slots×side×side: the part 0, 1/4, …, 1 of each cell's four pixels that lies in a superpixel.

    Args:
        superpixels: integers B×S×S, 0..slots-1.
        slots: masks per photo.
        side: cells per side.
    """
    four = sample_four(superpixels, side).long().flatten(2)  # B×4×cells
    photos, _, cells = four.shape
    photo = torch.arange(photos, device=four.device)[:, None, None]
    places = (photo * slots + four) * cells + torch.arange(cells, device=four.device)
    masks = torch.zeros(photos * slots * cells, device=four.device)
    masks.index_add_(0, places.flatten(), torch.full((places.numel(),), 0.25, device=four.device))
    return masks.view(photos, slots, side, side)


def paint(superpixels: Tensor, ids: Tensor, side: int, border: Literal["largest", "blended"] = "largest") -> Tensor:
    """Give each cell of a lattice the id of its superpixels.

    Args:
        superpixels: integers B×S×S, 0..C-1.
        ids: int64 B×C, the id of each superpixel.
        side: cells per side.
        border: of a cell whose four pixels have several ids, take the id of most of them and, of equals, that of the
            first one in the order of reading, so that a renaming of ids changes no region; or ``blended``: their mean,
            rounded down, as the authors' code has it.

    Returns:
        int64 B×side×side.
    """
    labels = sample_four(superpixels, side).long()
    four = ids.gather(1, labels.flatten(1)).view_as(labels)
    if border == "blended":
        return four.sum(dim=1).div(4, rounding_mode="floor")
    votes = (four[:, :, None] == four[:, None]).sum(dim=2)
    return four.gather(1, votes.argmax(dim=1, keepdim=True))[:, 0]


def replay(masks: Tensor, record: Tensor, cells: int, aligned: bool = True) -> Tensor:
    """Carry masks of the whole photo over to a view: its crop, then its mirror image.

    Args:
        masks: float B×K×h×w on the photo.
        record: float32 B×5 of the view: top, left, bottom, right as parts 0..1 of the photo, and flip 0 or 1.
        cells: cells per side of the view's map.
        aligned: false shifts by half a cell of the photo's lattice, as the authors' code does.

    Returns:
        B×K×cells×cells: the mean of the mask over each cell of the view.
    """
    height, width = masks.shape[-2:]
    top, left, bottom, right, flip = record.to(masks.dtype).unbind(dim=1)
    photo = torch.arange(len(masks), device=masks.device, dtype=masks.dtype)
    boxes = torch.stack((photo, left * width, top * height, right * width, bottom * height), dim=1)
    seen: Tensor = roi_align(masks, boxes, (cells, cells), spatial_scale=1.0, sampling_ratio=-1, aligned=aligned)
    return torch.where(flip[:, None, None, None] > 0.5, seen.flip(-1), seen)
