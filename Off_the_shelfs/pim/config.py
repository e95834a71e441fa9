"""Configuration of the plug-in module."""

import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import ConfigError, require

Count = int | float


@dataclass(frozen=True, kw_only=True)
class PimLossConfig:
    """Weights of the four terms of the loss; one of the first three whose weight is 0 is not computed.

    Attributes:
        blocks: cross-entropy of each level's mean logits.
        selected: cross-entropy of each kept position.
        dropped: squared distance of each dropped position's tanh(logits) from -1.
        combiner: cross-entropy of the model's own logits, above 0, since nothing else trains the combiner and the head;
            other than 1 only where the features go straight to a linear layer, as in train_Off-the-shelf.py.
    """

    blocks: float = 0.5
    selected: float = 0.0
    dropped: float = 5.0
    combiner: float = 1.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            require(math.isfinite(value) and value >= 0, f"pim.loss.{key}", value, "a finite number, at least 0")
        if not self.combiner:
            raise ConfigError(
                "pim.loss.combiner is 0, but nothing else trains the combiner and the head, whose logits are the "
                "model's answer; set it above 0, such as 1"
            )
        if self.blocks == self.selected == self.dropped == 0:
            raise ConfigError(
                "pim.loss: blocks, selected and dropped are all 0, so nothing trains the classifiers that choose the "
                "positions; set one of them above 0, such as blocks: 0.5"
            )


@dataclass(frozen=True, kw_only=True)
class PimConfig:
    """The plug-in module: pyramid, classifiers of positions, selector and combiner.

    Attributes:
        levels: timm's numbers of the maps of features, shallow to deep, negative from the end; null takes the last
            four, or all where there are fewer.
        taps: ``stages`` takes each stage's output (strides 4 to 32 with Swin); ``merged`` takes what a stage hands to
            the next one after its patches were merged, and the last stage's output (strides 8, 16, 32, 32 with Swin),
            as the published weights need it.
        width: F, channels of the pyramid.
        upsample: ``interpolate`` to the grid of the shallower level, or a learned ``dense`` map between positions,
            which the published weights have.
        counts: positions that each level keeps, as a number, or as a fraction of the level's positions (a number with
            a decimal point, at most 1.0); one value for all levels, or a list. 0.2222 gives the published counts of
            CUB at 384 px with Swin's strides 4 to 32.
        positions_per_joint: kept positions for each node of the combiner's graph.
        query_channels: of the combiner's two projections, of which only the mean over channels is used: ``one``, or a
            ``quarter`` of the width as in the published weights, the same function with more parameters.
        loss: weights of the four terms.
    """

    levels: list[int] | None = None
    taps: Literal["stages", "merged"] = "stages"
    width: int = 512
    upsample: Literal["interpolate", "dense"] = "interpolate"
    counts: Count | list[Count] = field(
        default=0.2222, metadata={"allowed": "a whole number, a fraction with a decimal point, or a list of such"}
    )
    positions_per_joint: int = 32
    query_channels: Literal["one", "quarter"] = "one"
    loss: PimLossConfig = field(default_factory=PimLossConfig)

    def __post_init__(self) -> None:
        require(self.width >= 4, "pim.width", self.width, "at least 4 channels")
        require(self.positions_per_joint >= 1, "pim.positions_per_joint", self.positions_per_joint, "at least 1")
        levels = self.levels
        require(levels is None or len(levels) >= 1, "pim.levels", levels, "null or at least one number")
        for count in self.counts if isinstance(self.counts, list) else [self.counts]:
            fits = count >= 0 if isinstance(count, int) else 0 <= count <= 1
            require(fits, "pim.counts", count, "a whole number from 0, or a fraction 0.0 to 1.0")
