"""Damage to the photo behind a view: noise, blur, compression, brightness; and a view without content.

Camera, lens and file come before the cut: what a mask sets to black afterwards is black whatever they did. So the
corruptions leave exactly black pixels of the content as they are, and the outline of a cut-out does not change: a drop
in the score is then due to what is seen, not to a silhouette that gives way. The letterbox bars stay too.

All act on uint8 pictures, B×3×S×S, on whatever device they are; content boxes (integer B×4: left, top, width, height
in pixels) stay in the main memory.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from datasets import draws

TRUNCATE = 4.0  # a blur reaches this many standard deviations


def noise(pixels: Tensor, content_box: Tensor, sd: float, seed: int, keys: Sequence[str]) -> Tensor:
    """Add Gaussian noise with standard deviation ``sd`` in grey levels (0..255), independent for pixel and channel.

    The camera's noise comes before the cut, so it changes no pixel that the cut made black. It is drawn over the
    content's size from (seed, key) alone, by a generator of the pictures' device: both views of a pair carry the noise
    of one photo, and batches change nothing. Values are rounded and clipped to 0..255.
    """
    generator = torch.Generator(device=pixels.device)
    change = torch.zeros(pixels.shape, device=pixels.device)
    for picture, (key, box) in enumerate(zip(keys, content_box.tolist(), strict=True)):
        left, top, width, height = box
        generator.manual_seed(draws.key_hash(seed, 0, "noise", key))
        drawn = torch.randn(3, height, width, generator=generator, device=pixels.device)
        change[picture, :, top : top + height, left : left + width] = drawn
    noisy = to_grey_levels(change.mul_(sd).add_(pixels))
    return torch.where(_visible(pixels), noisy, pixels)


def blur(pixels: Tensor, content_box: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of standard deviation ``sigma`` in pixels, cut off at four of them.

    Each visible pixel becomes the weighted mean of the visible pixels around it: neither the black of the cut nor the
    bars bleed into the picture. Sums run tap by tap, so that the size of a batch changes no rounding.
    """
    side = pixels.shape[-1]
    shown = _visible(pixels) & inside(content_box, side, pixels.device)
    # The fourth channel is the weight that the first three are divided by.
    blurred = torch.cat([pixels * shown, shown], dim=1).to(torch.float32)
    radius = max(1, int(TRUNCATE * sigma + 0.5))
    taps = [math.exp(-0.5 * (tap / sigma) ** 2) for tap in range(-radius, radius + 1)]
    for axis in (-1, -2):
        padding = (radius, radius) if axis == -1 else (0, 0, radius, radius)
        padded = torch.nn.functional.pad(blurred, padding)
        blurred = torch.zeros_like(blurred)
        for place, weight in enumerate(taps):
            blurred.add_(padded.narrow(axis, place, side), alpha=weight / sum(taps))
    mean = blurred[:, :3] / blurred[:, 3:].clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(shown, to_grey_levels(mean), pixels)


def jpeg(pixels: Tensor, content_box: Tensor, quality: int) -> Tensor:
    """Compress each content as JPEG at ``quality`` (1..100, chroma halved) and decode it again.

    Pixels that the cut made black are black afterwards; the ringing beside the cut stays. The codec runs on the
    processor, whatever the device, so that results do not depend on it.
    """
    stored = pixels.cpu()
    decoded = stored.clone()
    for picture, (left, top, width, height) in enumerate(content_box.tolist()):
        place = (picture, slice(None), slice(top, top + height), slice(left, left + width))
        encoded = encode_jpeg(stored[place].contiguous(), quality=quality)
        decoded[place] = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return torch.where(_visible(pixels), decoded.to(pixels.device), pixels)


def brightness(pixels: Tensor, content_box: Tensor, factor: float) -> Tensor:
    """Multiply the content by ``factor``, rounded and clipped to 0..255."""
    shown = inside(content_box, pixels.shape[-1], pixels.device)
    return torch.where(shown, to_grey_levels(pixels.to(torch.float32) * factor), pixels)


def blank(pixels: Tensor, content_box: Tensor) -> Tensor:
    """Set the content to black; the bars stay, and with them the shape of the photo."""
    return pixels * ~inside(content_box, pixels.shape[-1], pixels.device)


def inside(content_box: Tensor, side: int, device: torch.device) -> Tensor:
    """Return bool B×1×S×S, true inside the content box."""
    left, top, width, height = content_box.to(device, torch.int64, non_blocking=True)[:, :, None].unbind(dim=1)
    place = torch.arange(side, device=device)
    columns = (place >= left) & (place < left + width)
    rows = (place >= top) & (place < top + height)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _visible(pixels: Tensor) -> Tensor:
    """Return bool B×1×S×S, true where a pixel is not exactly black."""
    return pixels.any(dim=1, keepdim=True).to(torch.bool)


def to_grey_levels(values: Tensor) -> Tensor:
    """Round floats to uint8, clipped to 0..255."""
    return values.round().clamp(0, 255).to(torch.uint8)
