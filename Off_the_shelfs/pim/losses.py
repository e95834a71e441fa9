"""What trains the classifiers of positions (arXiv 2202.03822, section 3.4)."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from Off_the_shelfs.pim.config import PimLossConfig
from utils.engine import Criterion


class Classified(Protocol):
    """One level's logits, as ``LevelFinding`` has them."""

    @property
    def logits(self) -> Tensor:
        """B×S×K."""

    @property
    def kept_logits(self) -> Tensor:
        """B×n×K."""

    @property
    def dropped_logits(self) -> Tensor:
        """B×(S-n)×K."""


def pim_losses(levels: Sequence[Classified], label: Tensor, criterion: Criterion, weights: PimLossConfig) -> Tensor:
    """Return the weighted losses, float32 B, summed over levels; the combiner's belongs to the model's head.

    A term of weight 0 is not computed, and a level that keeps or drops nothing has 0 in its place.

    Args:
        levels: of B pictures.
        label: int64 B.
        criterion: takes logits N×K and labels N to losses N.
        weights: of the terms.
    """
    terms = (("blocks", _block), ("selected", _selected))
    losses = torch.zeros(label.shape, device=label.device)
    for level in levels:
        for name, term in terms:
            if getattr(weights, name):
                losses = losses + getattr(weights, name) * term(level, label, criterion)
        if weights.dropped:
            losses = losses + weights.dropped * dropped_loss(level.dropped_logits)
    return losses


def _block(level: Classified, label: Tensor, criterion: Criterion) -> Tensor:
    """Return the criterion's losses B of the mean logits of all positions."""
    return criterion(level.logits.float().mean(dim=1), label)


def _selected(level: Classified, label: Tensor, criterion: Criterion) -> Tensor:
    """Return the mean B of the criterion's losses of the kept positions."""
    logits = level.kept_logits.float()
    pairs, kept, _ = logits.shape
    if not kept:
        return logits.sum(dim=(1, 2))
    return criterion(logits.flatten(0, 1), label.repeat_interleave(kept)).view(pairs, kept).mean(dim=1)


def dropped_loss(logits: Tensor) -> Tensor:
    """Return the mean square B of ``tanh(logits) + 1`` of dropped positions B×n×K: 0 to 4, and 1 for logits of 0."""
    squares = (torch.tanh(logits.float()) + 1).square()
    return squares.mean(dim=(1, 2)) if logits.shape[1] else squares.sum(dim=(1, 2))
