"""Which positions count: the most confident ones, whatever the label (arXiv 2202.03822, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.levels import Level
from utils.errors import ConfigError


def resolve_counts(config: PimConfig, levels: Sequence[Level]) -> list[int]:
    """Return how many positions each level keeps; a fraction of its positions is rounded to the nearest number.

    Raises:
        ConfigError: a list of another length, more than a level has, too few for a single joint, or a level whose
            classifier no term of the loss would train.
    """
    counts = config.counts if isinstance(config.counts, list) else [config.counts]
    counts = counts * len(levels) if len(counts) == 1 else counts
    sizes = [level.positions for level in levels]
    if len(counts) != len(levels):
        raise ConfigError(f"pim.counts has {len(counts)} numbers for {len(levels)} levels; give one for each, or one")
    kept = [
        count if isinstance(count, int) else int(count * size + 0.5) for count, size in zip(counts, sizes, strict=True)
    ]
    for number, (count, level) in enumerate(zip(kept, levels, strict=True), start=1):
        if count > level.positions:
            raise ConfigError(
                f"pim.counts asks for {count} positions of level {number}, which has {level.positions} "
                f"({level.height}×{level.width}); lower it, use a fraction such as 0.2222, or larger pictures"
            )
        _check_trained(config, number, count, level)
    if sum(kept) < config.positions_per_joint:
        raise ConfigError(
            f"pim.counts keeps {' + '.join(map(str, kept))} = {sum(kept)} of the {' + '.join(map(str, sizes))} "
            f"positions, too few for one joint of {config.positions_per_joint}; raise it, lower "
            f"pim.positions_per_joint, or use larger pictures"
        )
    return kept


def _check_trained(config: PimConfig, number: int, count: int, level: Level) -> None:
    """The choice passes no gradient, so a classifier needs a loss of its own to learn, and processes one to agree."""
    loss = config.loss
    if not (loss.blocks or (loss.selected and count) or (loss.dropped and count < level.positions)):
        raise ConfigError(
            f"pim.counts keeps {count} of the {level.positions} positions of level {number}, so with pim.loss.blocks 0 "
            f"nothing trains its classifier; set pim.loss.blocks above 0, such as 0.5, or change the count"
        )


@torch.no_grad()
def confidence(logits: Tensor) -> Tensor:
    """Return the largest class probability, float32 B×S, of logits B×S×K."""
    # Not its logarithm, whose rounding changes the order of neighbours.
    return logits.float().softmax(dim=-1).amax(dim=-1)


@torch.no_grad()
def rank_positions(logits: Tensor) -> Tensor:
    """Return the positions, int64 B×S, from the most to the least confident; equals stay in their order."""
    sure = confidence(logits)
    if torch.compiler.is_exporting():  # ONNX has no stable sort, but its TopK leaves equals in their order
        return sure.topk(sure.shape[1], dim=1).indices
    return sure.argsort(dim=1, descending=True, stable=True)


def take(values: Tensor, positions: Tensor) -> Tensor:
    """Return values B×n×D at positions B×n of values B×S×D; gradients pass through the values alone."""
    # Whole rows are copied; gather would look up each number by itself.
    first = torch.arange(values.shape[0], device=values.device).unsqueeze(1) * values.shape[1]
    taken = values.flatten(0, 1).index_select(0, (positions + first).flatten())
    return taken.view(*positions.shape, values.shape[-1])
