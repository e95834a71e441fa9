"""LARS, and the optimiser of a pre-training run."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import timm.optim
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from R2O.config import FidelityConfig, PretrainConfig
from R2O.schedules import RATED_BATCH
from utils.errors import ConfigError
from utils.optimisers import check_optimizer


# timm's LARS keeps the learning rate outside its momentum, so that a step of the past counts with the rate of today:
# under a changing rate its weights are others (2.9972 where those of the authors' code are 2.9985).
class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) as BYOL's and R2O's code have it, on any device.

    For a weight p with gradient g: ``v ← momentum · v + lr · local · (g + weight_decay · p)`` and then ``p ← p - v``,
    where ``local = trust · |p| / (|g| + weight_decay · |p|)``, and 1 where a norm leaves it undefined.

    Args:
        params: parameters or groups; in a group with ``adaptive: False`` ``local`` is 1.
        lr: learning rate.
        momentum: 0..1.
        weight_decay: at least 0.
        trust: the part of a weight's norm that a step at rate 1 moves.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adaptive": True}
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient; return the closure's loss where one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        if decay:
            gradient = gradient.add(weight, alpha=decay)
        if group["adaptive"]:
            gradient = gradient * self._local(weight, weight.grad, group)
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        weight.sub_(state["momentum_buffer"].mul_(group["momentum"]).add_(gradient, alpha=group["lr"]))

    @staticmethod
    def _local(weight: Tensor, gradient: Tensor | None, group: dict[str, Any]) -> Tensor:
        """Return the rate of one weight as a tensor, so that no step waits for the device."""
        assert gradient is not None
        norm = torch.linalg.vector_norm(weight)
        below = torch.linalg.vector_norm(gradient) + group["weight_decay"] * norm
        defined = (norm > 0) & (below > 0)
        return torch.where(defined, group["trust"] * norm / below.where(defined, 1.0), 1.0)


def make_pretrain_optimizer(
    train: PretrainConfig, trunk: nn.Module, heads: Iterable[nn.Module], fidelity: FidelityConfig
) -> torch.optim.Optimizer:
    """Build the optimiser over what takes gradient of the online trunk, its projector and the predictor.

    Groups carry ``role`` (``backbone`` or ``head``) and ``peak_lr``. Parameters of one axis at most (biases, scales of
    normalisation) have neither weight decay nor a rate of their own.

    Raises:
        ConfigError: unknown optimiser; ``fidelity.stem_bn_in_lars`` without LARS, or without a BatchNorm in the trunk.
    """
    parts = [("backbone", trunk), *(("head", head) for head in heads)]
    peak = train.base_lr * train.batch_size / RATED_BATCH
    if train.optimizer != "lars":
        return _of_timm(train, parts, peak, fidelity)
    like_matrix = _stem_scale(trunk) if fidelity.stem_bn_in_lars else None
    groups: list[dict[str, Any]] = []
    for role, part in parts:
        free = [weight for weight in part.parameters() if weight.requires_grad]
        matrices = [weight for weight in free if weight.ndim > 1 or weight is like_matrix]
        vectors = [weight for weight in free if weight.ndim <= 1 and weight is not like_matrix]
        both = {"role": role, "peak_lr": peak}
        groups.append({"params": matrices, "weight_decay": train.weight_decay, "adaptive": True, **both})
        groups.append({"params": vectors, "weight_decay": 0.0, "adaptive": False, **both})
    return Lars([group for group in groups if group["params"]], peak, momentum=train.momentum)


def _stem_scale(trunk: nn.Module) -> Tensor:
    """Return the scale of the first BatchNorm."""
    scale = next((part.weight for part in trunk.modules() if isinstance(part, _BatchNorm)), None)
    if scale is None:
        raise ConfigError(
            "fidelity.stem_bn_in_lars is true, but the backbone has no BatchNorm with a scale; set it to false"
        )
    return scale


def _of_timm(
    train: PretrainConfig, parts: list[tuple[str, nn.Module]], peak: float, fidelity: FidelityConfig
) -> torch.optim.Optimizer:
    check_optimizer(train.optimizer)
    if fidelity.stem_bn_in_lars:
        raise ConfigError(
            f"fidelity.stem_bn_in_lars is true, which train.optimizer {train.optimizer} does not read; set it to "
            f"false, or train.optimizer: lars"
        )
    groups = []
    for role, part in parts:
        names: Callable[[], Iterable[str]] | None = getattr(getattr(part, "model", None), "no_weight_decay", None)
        # Position embeddings and class tokens, below the name that the trunk gives its model.
        spared = [f"model.{name}" for name in sorted(names())] if names is not None else []
        found = timm.optim.param_groups_weight_decay(part, weight_decay=train.weight_decay, no_weight_decay_list=spared)
        groups += [dict(group, role=role, peak_lr=peak) for group in found if group["params"]]
    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
        groups, opt=train.optimizer, lr=peak, weight_decay=train.weight_decay
    )
    return optimizer
