"""All levels at one width, each with what the deeper ones found."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from Off_the_shelfs.pim.levels import Level


class Pyramid(nn.Module):
    """Projects every level to F channels, then adds each to the next shallower one, from the deepest on.

    Nothing is smoothed or normalised after the sum (arXiv 2202.03822, section 3.1, after feature pyramid networks).

    Attributes:
        projections: by level, C → C → F with a ReLU between, the same at every position.
        lifts: by level but the first, from its positions to those of the level before, for the ``dense`` kind; a
            level with as many positions is added as it is.
    """

    def __init__(self, levels: Sequence[Level], width: int, upsample: Literal["interpolate", "dense"]) -> None:
        super().__init__()
        self.upsample = upsample
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Linear(level.channels, level.channels), nn.ReLU(inplace=True), nn.Linear(level.channels, width)
            )
            for level in levels
        )
        self.lifts = nn.ModuleList()
        if upsample == "dense":
            sizes = [level.positions for level in levels]
            self.lifts.extend(
                nn.Identity() if deep == shallow else nn.Linear(deep, shallow) for shallow, deep in pairwise(sizes)
            )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return tokens B×S×F of each level, positions row by row, from maps B×C×h×w, shallow to deep."""
        grids = [(found.shape[-2], found.shape[-1]) for found in maps]
        tokens = [
            projection(found.flatten(2).transpose(1, 2))
            for projection, found in zip(self.projections, maps, strict=True)
        ]
        for deep in range(len(tokens) - 1, 0, -1):
            tokens[deep - 1] = tokens[deep - 1] + self._lift(tokens[deep], deep, grids)
        return tokens

    def _lift(self, tokens: Tensor, deep: int, grids: list[tuple[int, int]]) -> Tensor:
        """Bring the tokens of a level to the positions of the level before."""
        height, width = grids[deep - 1]
        if self.upsample == "dense":
            lifted: Tensor = self.lifts[deep - 1](tokens.transpose(1, 2))
            return lifted.transpose(1, 2)
        if grids[deep] == grids[deep - 1]:
            return tokens
        found = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *grids[deep])
        found = F.interpolate(found, size=(height, width), mode="bilinear", align_corners=False)
        return found.flatten(2).transpose(1, 2)
