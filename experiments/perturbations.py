"""What is done to a view to see how much an answer hangs on it: patch permutation and translocation.

Both act on letterboxed uint8 pictures, B×3×S×S, with the content's place in each, on whatever device they are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets import draws
from utils.errors import ConfigError

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
    do the bars. Output patch i, counted row by row, is input patch π(i). π depends on (seed, key) alone, so that two
    views of a pair with the same content size are shuffled alike.

    Args:
        pixels: uint8 B×3×S×S.
        content_box: B×4: left, top, width, height of the content in pixels.
        patch: side of a patch in pixels.
        seed: of the permutations.
        keys: B keys of the pairs ("split/class/stem").

    Raises:
        ConfigError: if no picture of the batch holds two whole patches.
    """
    shuffled = pixels.clone()
    moved = False
    for picture, (key, box) in enumerate(zip(keys, content_box.tolist(), strict=True)):
        left, top, columns, rows = box[0], box[1], box[2] // patch, box[3] // patch
        if rows * columns < 2:
            continue
        moved = True
        order = torch.from_numpy(draws.generator(seed, 0, "patches", key).permutation(rows * columns))
        place = (picture, slice(None), slice(top, top + rows * patch), slice(left, left + columns * patch))
        patches = pixels[place].reshape(3, rows, patch, columns, patch).permute(1, 3, 0, 2, 4).flatten(0, 1)
        grid = patches[order.to(pixels.device)].reshape(rows, columns, 3, patch, patch)
        shuffled[place] = grid.permute(2, 0, 3, 1, 4).reshape(3, rows * patch, columns * patch)
    if not moved:
        raise ConfigError(
            f"patches of {patch} pixels are too large: no picture of {pixels.shape[-1]} pixels holds two of them; "
            f"use a smaller patch"
        )
    return shuffled


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
