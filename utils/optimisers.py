"""Optimiser and parameter groups: backbones and head have rates of their own."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import timm.optim
import torch
from torch import nn

from utils.devices import resolve_device
from utils.errors import ConfigError, nearest
from utils.sections import TrainConfig

# timm's names for those of torch's own whose step is one kernel on CPUs and GPUs alike.
FUSED = ("adam", "adamw", "momentum", "nesterov", "sgd")


def resolve_fused(setting: bool | Literal["auto"], device: str, optimizer: str) -> bool:
    """Return whether the optimiser's step is one kernel; ``auto`` on a CUDA device where torch has one.

    Raises:
        ConfigError: unknown optimiser, or it is asked for and torch has none.
    """
    if setting == "auto":
        return device == "cuda" and optimizer in FUSED
    if setting and optimizer not in FUSED:
        check_optimizer(optimizer)
        raise ConfigError(
            f"train.fused is true, which the optimiser '{optimizer}' does not have; use auto or false, or one of "
            f"{', '.join(FUSED)}"
        )
    return setting


def make_optimizer(train: TrainConfig, backbones: Iterable[nn.Module], head: nn.Module) -> torch.optim.Optimizer:
    """Build a timm optimiser over the trainable parameters.

    Each parameter group carries ``role`` (``backbone`` or ``head``) and ``peak_lr``. Weight decay spares biases,
    normalisation and what the model names itself. A backbone shared by two roles must be given once.

    Raises:
        ConfigError: unknown optimiser, or ``train.fused`` with one that has no such step.
    """
    check_optimizer(train.optimizer)
    # Left out where it is off, since most optimisers do not know the word.
    options: dict[str, Any] = (
        {"fused": True} if resolve_fused(train.fused, resolve_device(train.device), train.optimizer) else {}
    )
    groups = [group for backbone in backbones for group in _backbone_groups(train, backbone)]
    groups += [
        dict(group, role="head", peak_lr=train.head_lr)
        for group in timm.optim.param_groups_weight_decay(head, weight_decay=train.weight_decay)
        if group["params"]
    ]
    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        groups, opt=train.optimizer, lr=train.head_lr, weight_decay=train.weight_decay, **options
    )
    return optimizer


def check_optimizer(name: str) -> None:
    """Refuse a name that timm has no optimiser of, with the nearest ones."""
    names = [str(known) for known in timm.optim.list_optimizers()]
    if name not in names:
        raise ConfigError(
            f"train.optimizer '{name}' is not a timm optimiser{nearest(name, names)}; "
            f"list them with: python -c 'import timm.optim; print(timm.optim.list_optimizers())'"
        )


def _backbone_groups(train: TrainConfig, backbone: nn.Module) -> list[dict[str, Any]]:
    model = getattr(backbone, "model", backbone)
    # Position embeddings and class tokens, as the published fine-tuning recipes have it.
    names: Callable[[], Iterable[str]] | None = getattr(model, "no_weight_decay", None)
    spared = sorted(names()) if names is not None else []
    if train.layer_decay is None:
        groups = timm.optim.param_groups_weight_decay(
            model, weight_decay=train.weight_decay, no_weight_decay_list=spared
        )
    else:
        groups = timm.optim.param_groups_layer_decay(
            model, weight_decay=train.weight_decay, no_weight_decay_list=spared, layer_decay=train.layer_decay
        )
    return [
        {
            "params": group["params"],
            "weight_decay": group["weight_decay"],
            "role": "backbone",
            "peak_lr": train.backbone_lr * group.get("lr_scale", 1.0),
        }
        for group in groups
        if group["params"]
    ]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to ``factor`` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def largest_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the largest current rate of each role, as ``lr_backbone`` and ``lr_head``."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        key = f"lr_{group['role']}"
        rates[key] = max(rates.get(key, 0.0), float(group["lr"]))
    return rates
