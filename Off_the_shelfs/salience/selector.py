"""The small network that says of each grey copy how much it is worth a look."""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from utils.errors import ConfigError

KERNEL, STRIDE = 3, 2


def map_side(side: int, convolutions: int) -> int:
    """Return the side of what unpadded convolutions of 3 by 3 with stride 2 leave of a picture; below 1 for nothing."""
    for _ in range(convolutions):
        side = (side - KERNEL) // STRIDE + 1
    return side


def smallest_side(convolutions: int) -> int:
    """Return the side of the smallest picture of which so many convolutions leave one position."""
    side = 1
    for _ in range(convolutions):
        side = (side - 1) * STRIDE + KERNEL
    return side


class SalienceNet(nn.Module):
    """Convolutions, each with BatchNorm and ReLU6, and one number: grey pictures B×1×D×D to logits B.

    After Li's course project (github JasmineLi-805/pytorch-image-models).

    Args:
        grey_side: D in pixels.
        widths: channels of each convolution.
        readout: of the last map: every position has its weights (``flatten``), or their ``average`` does.

    Raises:
        ConfigError: where D is too small for so many convolutions.
    """

    def __init__(self, grey_side: int, widths: Sequence[int], readout: Literal["flatten", "average"]) -> None:
        super().__init__()
        least = smallest_side(len(widths))
        if grey_side < least:
            raise ConfigError(
                f"model.salience.grey_side is {grey_side}, of which {len(widths)} convolutions (model.salience.widths) "
                f"leave nothing; use at least {least}"
            )
        layers: list[nn.Module] = []
        for before, after in zip([1, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, KERNEL, STRIDE), nn.BatchNorm2d(after), nn.ReLU6()]
        self.convolutions = nn.Sequential(*layers)
        positions = map_side(grey_side, len(widths)) ** 2
        self.readout: nn.Module = nn.Flatten() if readout == "flatten" else _Average()
        self.linear = nn.Linear(widths[-1] * (positions if readout == "flatten" else 1), 1)

    def forward(self, grey: Tensor) -> Tensor:
        """Return the logits B of grey pictures B×1×D×D."""
        return cast(Tensor, self.linear(self.readout(self.convolutions(grey)))).squeeze(1)


class _Average(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))
