"""What the levels of the plug-in module show of a picture (Chou, Lin and Kao 2022, arXiv 2202.03822)."""

from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from Off_the_shelfs.own_maps import OWN_METHODS, NamedMap

PIM_METHODS = tuple(OWN_METHODS)


class Placed(Protocol):
    """What was found on one level: logits B×S×K row by row, the grid of its S positions, and the kept ones B×h×w."""

    @property
    def logits(self) -> Tensor:
        """Logits of all positions."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def kept_mask(self) -> Tensor:
        """Which positions are kept."""


def energy_maps(maps: Sequence[Tensor]) -> list[NamedMap]:
    """Return the activation energy of a backbone's maps B×C×h×w, shallow to deep, each picture's from 0 to 1.

    It is the sum over channels of ReLU(feature), the weakest cell taken to 0 and the strongest to 1; a map whose cells
    are all alike is 0.
    """
    found = []
    for features in maps:
        energy = F.relu(features.float()).sum(dim=1)
        least, most = energy.amin(dim=(1, 2), keepdim=True), energy.amax(dim=(1, 2), keepdim=True)
        span = most - least
        found.append((energy - least) / span.where(span > 0, 1.0))
    return _named(found)


def score_maps(levels: Sequence[Placed], target: Tensor) -> list[NamedMap]:
    """Return the probability that each level's classifier gives to class ``target`` (int64 B) at each position."""
    found = []
    for level in levels:
        probability = level.logits.float().softmax(dim=-1)
        of_target = probability.gather(2, target[:, None, None].expand(-1, probability.shape[1], 1))
        found.append(of_target.view(len(target), *level.grid))
    return _named(found)


def kept_maps(levels: Sequence[Placed]) -> list[NamedMap]:
    """Return 1 at the positions that each level keeps, 0 elsewhere."""
    return _named([level.kept_mask.float() for level in levels])


def _named(maps: Sequence[Tensor]) -> list[NamedMap]:
    return [NamedMap(f"level_{number}", values) for number, values in enumerate(maps, start=1)]
