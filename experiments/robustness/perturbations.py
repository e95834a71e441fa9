"""Moving parts of a view about: patch permutation and translocation.

Both act on letterboxed uint8 pictures, B×3×S×S, on whatever device they are, with the content's place in each. Content
boxes stay in the main memory, so that nothing here waits for the device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets import draws

REFERENCE_SIDE = 224  # pixels; the paper's distances are written for pictures of this side


def scaled(pixels: int, side: int) -> int:
    """Return a distance written for 224 pixels in a picture of another side: rounded, at least one pixel, sign kept."""
    if pixels == 0:
        return 0
    size = max(1, round(abs(pixels) * side / REFERENCE_SIDE))
    return size if pixels > 0 else -size


def permute_patches(pixels: Tensor, content_box: Tensor, patch: int, seed: int, keys: Sequence[str]) -> Tensor:
    """Shuffle the square patches of each picture's content (equations 3 to 5 of the paper).

    Patches start at the content's top-left corner; incomplete ones at the right and bottom edge stay in place, and so
    do the bars and a picture with fewer than two whole patches. Output patch i, counted row by row, is input patch
    π(i). π depends on (seed, key) alone, so that two views of a pair with the same content size are shuffled alike.

    Args:
        pixels: uint8 B×3×S×S.
        content_box: integer B×4: left, top, width, height of the content in pixels; in the main memory.
        patch: side of a patch in pixels.
        seed: of the permutations.
        keys: B keys of the pairs ("split/class/stem").
    """
    grids = content_box.clone()
    grids[:, 2:] //= patch
    shuffled = pixels.clone()
    for (left, top, across, down), rows in alike(grids).items():
        if across * down < 2:
            continue
        orders = np.stack([permutation(across * down, seed, "patches", keys[row]) for row in rows])
        bottom, right = top + down * patch, left + across * patch
        block = pick(pixels, rows)[:, :, top:bottom, left:right]
        shuffled[rows, :, top:bottom, left:right] = shuffle_grid(block, patch, orders)
    return shuffled


def alike(values: Tensor) -> dict[tuple[int, ...], list[int]]:
    """Group the rows of an integer tensor B×K: by content, the positions of the rows that have it, in order."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, content in enumerate(values.tolist()):
        groups.setdefault(tuple(content), []).append(row)
    return groups


def pick(pixels: Tensor, rows: Sequence[int]) -> Tensor:
    """Return some pictures of a batch; all of them without a copy."""
    return pixels if len(rows) == len(pixels) else pixels[rows]


def permutation(count: int, seed: int, purpose: str, key: str) -> NDArray[np.int64]:
    """Draw a permutation of 0..count-1 that depends on its arguments alone."""
    return draws.generator(seed, 0, purpose, key).permutation(count)


def shuffle_grid(block: Tensor, patch: int, orders: NDArray[np.int64]) -> Tensor:
    """Shuffle pictures that consist of whole patches, each in its own order, in one gather.

    Args:
        block: b×3×(down·patch)×(across·patch).
        patch: side of a patch in pixels.
        orders: b×(down·across); output patch i, counted row by row, is input patch ``orders[:, i]``.
    """
    count, channels, height, width = block.shape
    down, across = height // patch, width // patch
    patches = block.reshape(count, channels, down, patch, across, patch).permute(0, 2, 4, 1, 3, 5)
    flat = patches.reshape(count * down * across, channels * patch * patch)
    source = orders + np.arange(count)[:, None] * (down * across)
    moved = flat.index_select(0, torch.from_numpy(source.reshape(-1)).to(block.device, non_blocking=True))
    moved = moved.view(count, down, across, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return moved.reshape(block.shape)


def translate(pixels: Tensor, dx: int, dy: int, fill: int) -> Tensor:
    """Move each letterboxed picture by ``dx`` pixels to the right and ``dy`` pixels up (equations 6 to 8).

    The picture keeps its centring before it moves. What leaves the canvas is lost, and the uncovered canvas takes the
    grey value ``fill`` of the letterbox bars, 0..255.
    """
    moved = torch.full_like(pixels, fill)
    height, width = pixels.shape[-2:]
    columns, rows = width - abs(dx), height - abs(dy)
    if columns <= 0 or rows <= 0:
        return moved
    to_left, to_top = max(0, dx), max(0, -dy)
    from_left, from_top = max(0, -dx), max(0, dy)
    moved[..., to_top : to_top + rows, to_left : to_left + columns] = pixels[
        ..., from_top : from_top + rows, from_left : from_left + columns
    ]
    return moved


def content_kept(content_box: Tensor, side: int, dx: int, dy: int) -> Tensor:
    """Return the part of each picture's content that ``translate`` leaves on the canvas: float B, 0..1."""
    left, top, width, height = content_box.to(torch.float32).unbind(dim=1)
    kept_width = (left + width + dx).clamp(0, side) - (left + dx).clamp(0, side)
    kept_height = (top + height - dy).clamp(0, side) - (top - dy).clamp(0, side)
    return kept_width * kept_height / (width * height)
