"""The transforms of the released code, pixel for pixel for a given permutation.

They differ from this project's own in what the paper's numbers hang on: the cut-outs are resized after the cut and with
sizes rounded down, permutation shuffles black padding into the picture, each view is shuffled in its own order, and
translocation gives up the centring. S is the side, p the patch.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.pairs import Canvases, PairDataset
from datasets.readers import StoredPair
from datasets.transforms import BARS, ContentBox, Photo, compose, paint_bars
from experiments.robustness.perturbations import alike, content_kept, permutation, pick, shuffle_grid
from utils.errors import DataError

GREY = BARS["grey"]


def released_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return (floor(w·r), floor(h·r)) with r = S / max(w, h); the longer side may come out one pixel short."""
    ratio = side / max(width, height)
    return math.floor(width * ratio), math.floor(height * ratio)


def released_box(width: int, height: int, side: int) -> ContentBox:
    """Place a picture in the released letterbox: centred, the odd pixel of the bars going left and top."""
    new_width, new_height = released_size(width, height, side)
    return ContentBox((side - new_width + 1) // 2, (side - new_height + 1) // 2, new_width, new_height)


def released_letterbox(picture: Photo, canvas: Photo) -> ContentBox:
    """Resize a uint8 picture 3×H×W as Pillow does by default (bicubic) and paste it on a canvas 3×S×S of grey 125."""
    height, width = picture.shape[1:]
    side = canvas.shape[-1]
    box = released_box(width, height, side)
    if side != max(width, height):
        image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
        resized = image.resize((box.width, box.height), Image.Resampling.BICUBIC)
        picture = np.asarray(resized).transpose(2, 0, 1)
    paint_bars(canvas, box, "grey")[...] = picture
    return box


class ReleasedPairs(PairDataset):
    """Pairs as the released code letterboxed them: each stored cut-out by itself, not cut again after the resize.

    The released code knew roi and extra_roi; ``photo`` is composed of the two and letterboxed likewise.
    """

    def _write(
        self, canvases: Mapping[str, Canvases], position: int, _epoch: int, row: int, stored: StoredPair
    ) -> None:
        roi, extra_roi = stored.pictures["roi"], stored.pictures["extra_roi"]
        if roi is extra_roi:  # an archive's photo; stored cut-outs are taken as they are
            roi, extra_roi = roi * stored.mask, extra_roi * ~stored.mask
        pictures = {"roi": roi, "extra_roi": extra_roi}
        if "photo" in self.view_specs:
            pictures["photo"] = compose(roi, extra_roi, stored.channel_mask())
        for name, spec in self.view_specs.items():
            height, width = pictures[name].shape[1:]
            if 0 in released_size(width, height, spec.size):
                raise DataError(
                    f"{self.index.paths(row)[0]} is {width}×{height} pixels, of which the released letterbox leaves a "
                    f"picture without height or width at side {spec.size}; take the pair out, or use a suite with "
                    f"letterbox: run"
                )
            canvas = canvases[name]
            canvas.content_box[position] = released_letterbox(pictures[name], canvas.pixels[position])
            canvas.flip[position] = False


def released_permutation(
    pixels: Tensor, content_box: Tensor, patch: int, seed: int, keys: Sequence[str], view: str
) -> Tensor:
    """Shuffle patches as the released code did.

    The resized picture is padded with black to multiples of p, half of it rounded down going left and top; output
    patch i, counted row by row, is input patch π(i); the result is letterboxed in grey, which resizes it once more
    where p does not divide S. π is drawn for each view by itself, here from (seed, view, key).

    Args:
        pixels: uint8 B×3×S×S from ``ReleasedPairs``.
        content_box: integer B×4 in the main memory.
        patch: p in pixels.
        seed: of the permutations.
        keys: B keys of the pairs.
        view: name of the view.
    """
    shuffled = torch.full_like(pixels, GREY)
    for (left, top, width, height), rows in alike(content_box).items():
        across, down = math.ceil(width / patch), math.ceil(height / patch)
        padded_left, padded_top = (across * patch - width) // 2, (down * patch - height) // 2
        block = pixels.new_zeros(len(rows), 3, down * patch, across * patch)
        content = pick(pixels, rows)[:, :, top : top + height, left : left + width]
        block[:, :, padded_top : padded_top + height, padded_left : padded_left + width] = content
        orders = np.stack([permutation(across * down, seed, f"patches {view}", keys[row]) for row in rows])
        shuffled[rows] = _letterboxed(shuffle_grid(block, patch, orders), pixels.shape[-1])
    return shuffled


def _letterboxed(pictures: Tensor, side: int) -> Tensor:
    """Letterbox pictures b×3×H×W of one size; Pillow resizes on the processor where they do not fit."""
    height, width = pictures.shape[-2:]
    if max(height, width) == side:
        left, top, _, _ = released_box(width, height, side)
        canvas = torch.full((len(pictures), 3, side, side), GREY, dtype=torch.uint8, device=pictures.device)
        canvas[:, :, top : top + height, left : left + width] = pictures
        return canvas
    canvases = np.empty((len(pictures), 3, side, side), dtype=np.uint8)
    for place, picture in enumerate(pictures.cpu().numpy()):
        released_letterbox(picture, canvases[place])
    return torch.from_numpy(canvases).to(pictures.device)


def released_translocation(pixels: Tensor, content_box: Tensor, dx: int, dy: int) -> Tensor:
    """Paste each resized picture on a grey canvas with its top-left corner at (dx, -dy) pixels: no centring."""
    side = pixels.shape[-1]
    moved = torch.full_like(pixels, GREY)
    for (left, top, width, height), rows in alike(content_box).items():
        to_left, to_right = max(0, dx), min(side, dx + width)
        to_top, to_bottom = max(0, -dy), min(side, height - dy)
        if to_left >= to_right or to_top >= to_bottom:
            continue
        from_rows = slice(top + to_top + dy, top + to_bottom + dy)
        from_columns = slice(left + to_left - dx, left + to_right - dx)
        moved[rows, :, to_top:to_bottom, to_left:to_right] = pick(pixels, rows)[:, :, from_rows, from_columns]
    return moved


def released_content_kept(content_box: Tensor, side: int, dx: int, dy: int) -> Tensor:
    """Return the part of each picture that ``released_translocation`` leaves on the canvas: float B, 0..1."""
    corner = content_box.clone()
    corner[:, :2] = 0
    return content_kept(corner, side, dx, dy)
