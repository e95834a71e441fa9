"""The one type that crosses layers, and the step that turns it into what a backbone takes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

ViewName = Literal["roi", "extra_roi", "photo"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class ViewSpec:
    """What a backbone asks of its view.

    ``size`` is the side of the square input in pixels; ``mean`` and ``std`` are per RGB channel for values in
    0..1; ``interpolation`` is used where a stored picture has to be resized. A stored picture whose longer side is
    below ``least_side`` pixels is refused instead of enlarged; 0 takes any. ``too_small_advice`` says to the user what
    to do about it; it is words alone, so that specs are equal whatever it says.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    least_side: int = 0
    too_small_advice: str = field(default="use larger pictures", compare=False)


@dataclass
class Batch:
    """B pairs on their way to a model.

    Attributes:
        views: uint8 B×3×H×W by view name (RGB), before flip and normalisation.
        label: int64 B, class index.
        index: int64 B, row of the index table.
        content_box: int16 B×4 by view name: left, top, width, height of the picture inside the letterbox, pixels.
        flip: bool B by view name: mirror left-right on the device.
        extras: further tensors with B rows by name, such as the superpixels of photos.
    """

    views: dict[str, Tensor]
    label: Tensor
    index: Tensor
    content_box: dict[str, Tensor]
    flip: dict[str, Tensor]
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.label.shape[0])

    def pin_memory(self) -> "Batch":
        """Return the same batch in page-locked memory, from which copies to a GPU do not block."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on the device; the copy does not block where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor of the batch."""
        for by_name in (self.views, self.content_box, self.flip, self.extras):
            yield from by_name.values()
        yield from (self.label, self.index)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        def by_name(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: function(tensor) for name, tensor in tensors.items()}

        return Batch(
            views=by_name(self.views),
            label=function(self.label),
            index=function(self.index),
            content_box=by_name(self.content_box),
            flip=by_name(self.flip),
            extras=by_name(self.extras),
        )


def prepare_views(batch: Batch, specs: Mapping[str, ViewSpec]) -> dict[str, Tensor]:
    """Flip and normalise the views of a batch that is already on its device.

    Returns float32 B×3×H×W by view name: ``(pixel / 255 - mean) / std`` with each view's own statistics.
    """
    return {name: normalise(mirror(pixels, batch.flip[name]), specs[name]) for name, pixels in batch.views.items()}


def mirror(pixels: Tensor, flip: Tensor) -> Tensor:
    """Mirror the rows of ``pixels`` (uint8 B×3×H×W) for which ``flip`` (bool B) is set."""
    # Bit by bit, which on a CPU is several times as quick as a choice between two bytes.
    chosen = (flip.to(torch.uint8) * 255)[:, None, None, None]
    return pixels.flip(-1).bitwise_xor_(pixels).bitwise_and_(chosen).bitwise_xor_(pixels)


def normalise(pixels: Tensor, spec: ViewSpec) -> Tensor:
    """Turn uint8 B×3×H×W into float32 with zero mean and unit deviation under the backbone's statistics."""
    layout = image_memory_format(pixels.device)
    normalised = pixels.to(torch.float32, memory_format=layout, copy=True)
    if layout == torch.channels_last:
        # Whole rows of 3·W numbers: three channels are too short a run for a CPU to be quick.
        count, _, height, width = pixels.shape
        rows, repeats = normalised.permute(0, 2, 3, 1).view(count, height, 3 * width), width
    else:
        rows, repeats = normalised, None
    mean, std = _statistics(spec, repeats, pixels.device)
    rows.sub_(mean).div_(std)
    return normalised


@lru_cache(maxsize=64)
def _statistics(spec: ViewSpec, repeats: int | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation in 0..255, as 3×1×1 or ``repeats`` times in a row.

    They are kept on the device, since to copy them there at each batch would wait for a GPU.
    """
    with torch.inference_mode(mode=False):  # used in training too, whoever asks first
        found = [torch.tensor(values, device=device).mul_(255.0) for values in (spec.mean, spec.std)]
        mean, std = (values[:, None, None] if repeats is None else values.repeat(repeats) for values in found)
        return mean, std


def image_memory_format(device: torch.device) -> torch.memory_format:
    """Return how pictures and convolutions lie in memory: channels last, but for Apple's devices.

    On a CPU that makes a step of convolutional networks 1.1 to 1.4 times as fast and changes transformers by less than
    its own spread, so it goes by the device alone.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last
