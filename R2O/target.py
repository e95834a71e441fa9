"""The target: a second network that follows the first one slowly and never sees a gradient."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def follower(online: Network) -> Network:
    """Return a copy of a network whose parameters take no gradient."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def move(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move a target's parameters: ``target ← momentum · target + (1 - momentum) · online``, 0..1 (Grill et al. 2020).

    Buffers stay: the target's BatchNorm statistics come from what the target sees.
    """
    pairs = list(zip(target.parameters(), online.parameters(), strict=True))
    torch._foreach_lerp_([ours for ours, _ in pairs], [theirs.detach() for _, theirs in pairs], 1.0 - momentum)


@contextmanager
def looked_at(network: nn.Module) -> Iterator[None]:
    """Run a network in eval mode, where it changes nothing, and put its modules back into the modes they had."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
