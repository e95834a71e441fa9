"""The parts of a picture: where they lie, their pixels, and their small grey copies.

A picture is seen as V = 1 + N views: number 0 is the whole picture, the others are squares cut from it at full
resolution. After Li's course project (github JasmineLi-805/pytorch-image-models), which cut from a picture that had
been reduced already.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import ConfigError

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue, ITU-R BT.601


class Corner(NamedTuple):
    """The top left pixel of a part."""

    top: int
    left: int


def source_side(side: int, crop_fraction: float) -> int:
    """Return the side in pixels at which a picture is loaded so that its parts have ``side`` pixels.

    Raises:
        ConfigError: where the parts would be as large as the picture.
    """
    source = round(side / crop_fraction)
    if source <= side:
        raise ConfigError(
            f"model.salience.crop_fraction is {crop_fraction:g}, so parts of {side} pixels would be cut from a picture "
            f"of {source} and show all of it; use at most {side / (side + 1):.4g} with data.image_size {side}"
        )
    return source


def crop_corners(source: int, side: int, crops: int) -> list[Corner]:
    """Return where the parts of a square picture lie.

    Args:
        source: side of the picture in pixels.
        side: side of a part in pixels, below ``source``.
        crops: 1 is the centre; 5 are top left, top right, bottom left, bottom right, centre; k² are a grid of k rows
            of k parts, row by row, from border to border.
    """
    far, middle = source - side, (source - side) // 2
    if crops == 1:
        return [Corner(middle, middle)]
    if crops == 5:
        return [Corner(0, 0), Corner(0, far), Corner(far, 0), Corner(far, far), Corner(middle, middle)]
    places = [round(number * far / (math.isqrt(crops) - 1)) for number in range(math.isqrt(crops))]
    return [Corner(top, left) for top in places for left in places]


def cut(pictures: Tensor, corner: Corner, side: int) -> Tensor:
    """Return one part B×3×S×S of pictures B×3×R×R, without copying it."""
    return pictures[..., corner.top : corner.top + side, corner.left : corner.left + side]


def reduce(pictures: Tensor, side: int) -> Tensor:
    """Return pictures B×C×H×W at B×C×S×S, each pixel a mean of what it covers; the same size comes back as it is."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    with torch.autocast(pictures.device.type, enabled=False):
        return F.interpolate(pictures.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def colour_view(pictures: Tensor, number: int, corners: Sequence[Corner], side: int) -> Tensor:
    """Return view ``number``, 0 for the whole, as B×3×S×S from pictures B×3×R×R."""
    return reduce(pictures, side) if number == 0 else cut(pictures, corners[number - 1], side)


def pick(pictures: Tensor, choice: Tensor, places: Tensor, side: int) -> Tensor:
    """Return the chosen view of each picture, B×3×S×S; no more than one of each is copied.

    Args:
        pictures: float B×3×R×R.
        choice: int64 B, 0..N; 0 is the whole.
        places: int64 V×2, top and left of each view's corner; the whole's is not used.
        side: S in pixels.
    """
    tops, lefts = places[choice].unbind(1)
    # shape, not len(), which would tie an exported network to one batch size
    along = torch.arange(side, device=choice.device)
    rows, columns = tops[:, None, None] + along[:, None], lefts[:, None, None] + along
    each = torch.arange(choice.shape[0], device=choice.device)[:, None, None]
    parts = pictures.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)
    return torch.where((choice == 0)[:, None, None, None], reduce(pictures, side), parts)


def blend(pictures: Tensor, weights: Tensor, corners: Sequence[Corner], side: int) -> Tensor:
    """Return the weighted sum B×3×S×S of all views of pictures B×3×R×R, with weights B×V."""
    total = weights[:, 0, None, None, None] * reduce(pictures, side)
    for number, corner in enumerate(corners, start=1):
        total = total + weights[:, number, None, None, None] * cut(pictures, corner, side)
    return total


def luminance(pictures: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return the grey B×1×H×W, 0..1, of normalised pictures B×3×H×W, float32."""
    weights = [share * deviation for share, deviation in zip(LUMINANCE, std, strict=True)]
    black = sum(share * value for share, value in zip(LUMINANCE, mean, strict=True))
    red, green, blue = pictures.float().unbind(1)
    return (weights[0] * red + weights[1] * green + weights[2] * blue + black)[:, None]


def grey_copies(grey: Tensor, corners: Sequence[Corner], side: int, grey_side: int) -> Tensor:
    """Return the small copies B×V×1×D×D of all views, each from the pixels B×1×R×R that it has at full resolution."""
    copies = [reduce(grey, grey_side), *(reduce(cut(grey, corner, side), grey_side) for corner in corners)]
    return torch.stack(copies, dim=1)
