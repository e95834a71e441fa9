"""Activations that are dropped in the forward pass and computed again in the backward pass, to save memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.errors import ConfigError


def check_grad_checkpointing(model: nn.Module, name: str) -> None:
    """Refuse models for which timm has no gradient checkpointing."""
    try:
        set_grad_checkpointing(model, wanted=True)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"backbone '{name}' cannot compute its activations again (timm has no gradient checkpointing for it); "
            "set grad_checkpointing: false, and lower train.micro_batch where memory is short"
        ) from error


def set_grad_checkpointing(model: nn.Module, *, wanted: bool) -> None:
    """Switch a timm model's gradient checkpointing on or off."""
    cast(Callable[[bool], None], model.set_grad_checkpointing)(wanted)


class CountedOnce:
    """Keeps BatchNorm's running averages from counting a batch again when the backward pass computes it again."""

    def __init__(self, model: nn.Module) -> None:
        self._is_first_pass = False
        self._momenta: dict[nn.Module, float | None] = {}
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                layer.register_forward_pre_hook(self._before)
                # A repeated pass ends by an exception once it has what it needs.
                layer.register_forward_hook(self._after, always_call=True)

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Surround the forward pass; every other pass in training mode is a repetition."""
        self._is_first_pass = True
        try:
            yield
        finally:
            self._is_first_pass = False

    def _before(self, layer: nn.Module, _inputs: object) -> None:
        if isinstance(layer, _BatchNorm) and layer.training and not self._is_first_pass:
            self._momenta[layer], layer.momentum = layer.momentum, 0.0

    def _after(self, layer: nn.Module, _inputs: object, _output: object) -> None:
        if isinstance(layer, _BatchNorm) and layer in self._momenta:
            layer.momentum = self._momenta.pop(layer)
            if isinstance(layer.num_batches_tracked, torch.Tensor):
                layer.num_batches_tracked.sub_(1)
