"""How right levels, positions and ensembles are."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from Off_the_shelfs.pim.losses import Classified


class Divided(Classified, Protocol):
    """A level's logits, and how many of its positions are kept and dropped."""

    @property
    def n_kept(self) -> int:
        """Positions that are kept."""

    @property
    def n_dropped(self) -> int:
        """Positions that are not."""


def pim_measures(levels: Sequence[Divided], logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return numbers 0..1, B each, by name; with three classes or fewer there is no ``top3``.

    ``level_1`` … (mean logits of a level, shallow to deep), ``combiner`` (the model's logits) and ``highest_1`` … (the
    summed probabilities of the k that are surest of a picture, among the levels and the combiner) are right or not;
    ``kept_1`` … and ``dropped_1`` … are the share of a picture's positions that are, and absent where a level has none.

    Args:
        levels: of B pictures.
        logits: B×K of the model.
        label: int64 B.
    """
    measures: dict[str, Tensor] = {}
    means = [level.logits.float().mean(dim=1) for level in levels]
    for number, (level, mean) in enumerate(zip(levels, means, strict=True), start=1):
        measures |= _right(f"level_{number}", mean, label)
        if level.n_kept:
            measures |= _right(f"kept_{number}", level.kept_logits, label)
        if level.n_dropped:
            measures |= _right(f"dropped_{number}", level.dropped_logits, label)
    measures |= _right("combiner", logits, label)
    sums = highest_sums(torch.stack([*means, logits.float()], dim=1))
    for count in range(1, sums.shape[1] + 1):
        measures |= _right(f"highest_{count}", sums[:, count - 1], label)
    return measures


def highest_sums(logits: Tensor) -> Tensor:
    """Return B×H×K, at k - 1 the sum of the k surest probability vectors of each picture, from logits B×H×K of H heads.

    A head is as sure as its largest probability.
    """
    probabilities = logits.softmax(dim=-1)
    order = probabilities.amax(dim=-1).argsort(dim=1, descending=True, stable=True)
    return probabilities.gather(1, order.unsqueeze(-1).expand_as(probabilities)).cumsum(dim=1)


def _right(name: str, scores: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return whether, or how often, the label is the highest of scores B×K or B×n×K, and among the highest three."""
    sizes = (1, 3) if scores.shape[-1] > 3 else (1,)
    highest = scores.topk(max(sizes), dim=-1).indices
    hits = highest == label.view(-1, *[1] * (scores.dim() - 1))
    found = {f"{name}/top{size}": hits[..., :size].any(dim=-1).float() for size in sizes}
    return {key: value.mean(dim=1) if value.dim() == 2 else value for key, value in found.items()}
