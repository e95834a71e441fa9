"""Loops over batches: tensors in, plain floats out. Opens no file, prints nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from utils.batch import Batch
from utils.errors import RunError
from utils.optimisers import set_learning_rates
from utils.schedule import Schedule
from utils.seeding import seed_everything
from utils.transfer import on_device

Prepare = Callable[[Batch], dict[str, Tensor]]


class WeightAverage(Protocol):
    """What the engine needs of an averaged copy of the weights; timm's ``ModelEmaV3`` is one."""

    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move the average towards the model's weights."""


@dataclass
class Training:
    """Everything that one optimiser step needs.

    Attributes:
        model: prepared by the accelerator.
        optimizer: prepared by the accelerator; groups carry ``peak_lr``.
        accelerator: device, precision, processes.
        schedule: factor on the peak rates.
        prepare: turns a batch on the device into what the model takes; ``partial(prepare_views, specs=...)``.
        class_weights: float32 C on the device, or null.
        label_smoothing: 0..1.
        clip_norm: largest gradient norm, or null.
        average: averaged weights, or null.
        seed: of dropout and stochastic depth, together with step, micro-batch and rank.
        log_every: optimiser steps between two reads from the device.
        on_step: called after each optimiser step, or null.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    schedule: Schedule
    prepare: Prepare
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    average: WeightAverage | None = None
    seed: int = 0
    log_every: int = 20
    on_step: Callable[[], None] | None = None


@dataclass
class Meter:
    """Sums of one epoch. Those since the last read stay on the device.

    ``waited`` counts the seconds spent waiting for the next batch since the meter was made.
    """

    device: torch.device
    loss_sum: float = 0.0
    hits: float = 0.0
    pairs: int = 0
    waited: float = field(default=0.0, init=False)
    pending: Tensor = field(init=False)
    first_bad_step: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # In double precision a sum does not depend on where it was read; Apple's devices have single only.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.pending = torch.zeros(2, device=self.device, dtype=dtype)
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)

    def add(self, losses: Tensor, hits: Tensor, step: int) -> None:
        """Add the summed loss and the hits of one micro-batch, without waiting for the device."""
        self.pending += torch.stack([losses, hits])
        bad = ~torch.isfinite(losses) & (self.first_bad_step < 0)
        self.first_bad_step = torch.where(bad, step, self.first_bad_step)

    def read(self, accelerator: Accelerator, pairs: int) -> dict[str, float]:
        """Wait for the device and return the epoch's means so far.

        Args:
            accelerator: to sum over processes.
            pairs: pairs seen in this epoch so far, over all processes.

        Raises:
            RunError: if a loss was not finite; names the first such step.
        """
        bad = torch.where(self.first_bad_step < 0, torch.iinfo(torch.int64).max, self.first_bad_step)
        first_bad = int(accelerator.gather(bad.reshape(1)).min())
        if first_bad != torch.iinfo(torch.int64).max:
            raise RunError(
                f"the loss is not finite since optimiser step {first_bad + 1}; lower train.backbone_lr and "
                f"train.head_lr, set train.clip_norm, or use train.precision fp32. No checkpoint was written from it"
            )
        loss_sum, hits = accelerator.reduce(self.pending, reduction="sum").tolist()
        self.loss_sum, self.hits, self.pairs = self.loss_sum + loss_sum, self.hits + hits, pairs
        self.pending = torch.zeros_like(self.pending)
        return self.means()

    def means(self) -> dict[str, float]:
        """Return the means up to the last read."""
        return {"loss": self.loss_sum / max(1, self.pairs), "top1": self.hits / max(1, self.pairs)}


def train_one_epoch(
    training: Training,
    batches: Iterator[Batch],
    plan: Sequence[Sequence[int]],
    first_step: int,
    meter: Meter,
    on_interval: Callable[[int, dict[str, float]], None],
    stop_requested: Callable[[], bool],
) -> tuple[int, bool]:
    """Take the optimiser steps of one epoch, or the rest of it.

    Args:
        training: model, optimiser and settings.
        batches: micro-batches of this process on its device, in the plan's order; see ``utils.transfer.on_device``.
        plan: for each step, the pairs of each of its micro-batches over all processes.
        first_step: number of the plan's first step, counted from 0 since the start of the run.
        meter: sums of the epoch; those of an earlier part are kept.
        on_interval: called with the steps done and the means so far, every ``log_every`` steps.
        stop_requested: asked after each step; with several processes after each interval, where all must agree.

    Returns:
        The steps taken, and whether a stop was requested.
    """
    accelerator = training.accelerator
    training.model.train()
    seen = meter.pairs
    for done, micro_batches in enumerate(plan, start=1):
        step, step_pairs = first_step + done - 1, sum(micro_batches)
        set_learning_rates(training.optimizer, training.schedule.factor(step))
        training.optimizer.zero_grad()
        for number in range(len(micro_batches)):
            started = time.perf_counter()
            batch = next(batches)
            meter.waited += time.perf_counter() - started
            seed_everything(training.seed, step, number, accelerator.process_index)
            synchronised = number == len(micro_batches) - 1
            with nullcontext() if synchronised else accelerator.no_sync(training.model):
                losses, hits = _forward(training, batch)
                # DistributedDataParallel averages over processes, so each share counts that many times.
                accelerator.backward(losses.sum() * (accelerator.num_processes / step_pairs))
            meter.add(losses.detach().sum(), hits, step)
        if training.clip_norm is not None:
            accelerator.clip_grad_norm_(training.model.parameters(), training.clip_norm)
        training.optimizer.step()
        if training.average is not None:
            training.average.update(accelerator.unwrap_model(training.model), step=step)
        if training.on_step is not None:
            training.on_step()
        seen += step_pairs
        interval_ends = done % training.log_every == 0 or done == len(plan)
        if interval_ends:
            on_interval(done, meter.read(accelerator, seen))
        if (interval_ends or accelerator.num_processes == 1) and agree(accelerator, stop_requested()):
            meter.read(accelerator, seen)
            return done, True
    return len(plan), agree(accelerator, stop_requested())


def agree(accelerator: Accelerator, wish: bool) -> bool:
    """Return whether any process wishes it; every process has to ask at the same place."""
    if accelerator.num_processes == 1:
        return wish
    wishes: Tensor = accelerator.gather(torch.tensor([int(wish)], device=accelerator.device))
    return bool(wishes.any())


def _forward(training: Training, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of each pair (padding counts 0) and the number of hits."""
    with training.accelerator.autocast():
        logits = training.model(training.prepare(batch))
    real = batch.index >= 0
    losses = F.cross_entropy(logits.float(), batch.label, reduction="none", label_smoothing=training.label_smoothing)
    if training.class_weights is not None:
        losses = losses * training.class_weights[batch.label]
    hits = ((logits.detach().argmax(dim=1) == batch.label) & real).sum()
    return losses * real, hits.float()


@torch.inference_mode()
def compute_logits(
    model: nn.Module,
    batches: Iterable[Batch],
    prepare: Prepare,
    accelerator: Accelerator,
    n_pairs: int,
    n_classes: int,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return float32 logits N×C of a split in index order, gathered from all processes.

    ``batches`` holds this process's share; their ``index`` counts from 0 within the split. ``prepare`` turns a batch
    on the device into what the model takes.
    """
    model.eval()
    logits = torch.zeros(n_pairs, n_classes, device=accelerator.device)
    for batch in on_device(batches, accelerator.device):
        with accelerator.autocast():
            logits[batch.index] = model(prepare(batch)).float()
        if on_batch is not None:
            on_batch(len(batch))
    gathered: Tensor = accelerator.reduce(logits, reduction="sum")
    return gathered.cpu().numpy()
