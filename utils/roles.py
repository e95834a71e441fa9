"""What the engine asks of the parts that it is given."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Answer(Protocol):
    """What a model may return in training in place of logits: logits B×C, and whatever its own losses need.

    Attributes:
        logits: B×C; null from a model that classifies nothing.
        tallies: what the model counts of its B pairs beside, scalars by name: their sums.
    """

    logits: Tensor | None
    tallies: Mapping[str, Tensor]


class StepFactor(Protocol):
    """What the engine needs of a schedule."""

    def factor(self, step: int) -> float:
        """Return the factor on every group's peak rate for an optimiser step counted from 0."""


class WeightAverage(Protocol):
    """What the engine needs of an averaged copy of the weights; timm's ``ModelEmaV3`` is one."""

    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move the average towards the model's weights."""
