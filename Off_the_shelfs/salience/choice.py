"""Choosing one view: by noisy weights that gradients pass in training, by the largest logit otherwise.

Gumbel-softmax after Jang, Gu and Poole 2017, "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

_MIX = 0x9E3779B1  # odd, so that every bit counts
_BITS = 31


def is_chosen(choice: Tensor, views: int) -> Tensor:
    """Return bool B×V: whether view v is the choice int64 B."""
    return choice[:, None] == torch.arange(views, device=choice.device)


class _OneHot(torch.autograd.Function):
    """The largest weight as 1 and the others as exactly 0; gradients pass as if nothing had been done."""

    @staticmethod
    def forward(_context: Any, weights: Tensor) -> Tensor:  # noqa: ANN401  # torch's own, without a type
        return is_chosen(weights.argmax(dim=1), weights.shape[1]).to(weights.dtype)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401  # as above
        return gradient


def noisy_weights(logits: Tensor, temperature: Tensor | float, *, hard: bool) -> Tensor:
    """Return Gumbel-softmax weights B×V, float32, of logits B×V; torch's random state is drawn from.

    Each row is at least 0 and sums to 1; the largest weight lies at view v with probability softmax(logits)_v.

    Args:
        logits: of any precision; all is computed in float32.
        temperature: above 0; towards 0 the weights become one-hot.
        hard: give the largest weight as 1 and the others as 0, with the gradient of the soft weights.
    """
    with torch.autocast(logits.device.type, enabled=False):
        noise = -torch.empty_like(logits, dtype=torch.float32).exponential_().log()
        weights = ((logits.float() + noise) / temperature).softmax(dim=1)
        return cast(Tensor, _OneHot.apply(weights)) if hard else weights


def temperature_at(done: float, start: float, end: float) -> float:
    """Return the temperature when the part ``done`` (0..1) of the training is over: geometric from start to end."""
    return float(start * (end / start) ** min(1.0, max(0.0, done)))


def imbalance(logits: Tensor) -> Tensor:
    """Return how far the views are from being used equally in a batch: log V minus the entropy of the mean share.

    The share is softmax(logits) of logits B×V, without noise. 0 where all views are used equally, log V (natural)
    where the batch keeps to one.
    """
    with torch.autocast(logits.device.type, enabled=False):
        share = logits.float().softmax(dim=1).mean(dim=0)
        # Away from 0, where the gradient would not be finite.
        return math.log(len(share)) + (share * share.clamp_min(torch.finfo(torch.float32).tiny).log()).sum()


def drawn_from_content(pictures: Tensor, mean: Sequence[float], std: Sequence[float], views: int) -> Tensor:
    """Return a number 0..V-1 for each of the normalised pictures B×3×R×R that depends on its pixels alone.

    So a random choice is the same at every evaluation, whatever the seed, the batch, and its order. Pixels are taken
    back to whole numbers 0..255, each multiplied with a number of its own, and the sum is mixed; whole numbers add up
    to the same on every device.
    """
    count, channels, height, width = pictures.shape
    places = torch.arange(1, channels * height * width + 1, device=pictures.device).view(channels, height, width)
    total = torch.zeros(count, dtype=torch.int64, device=pictures.device)
    for channel, own_places, middle, spread in zip(pictures.unbind(1), places, mean, std, strict=True):
        # In place after the first product: what costs here is new memory.
        pixels = (channel.float() * spread).add_(middle).mul_(255).round_().long()
        total = total + pixels.mul_(own_places.mul_(_MIX).remainder_(2**_BITS)).sum(dim=(1, 2))
    for _ in range(2):
        total = (total + total // 2**15) % 2**_BITS * _MIX
    return total // 2**16 % views
