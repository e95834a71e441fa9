"""Loops over batches: tensors in, plain floats out. Opens no file, prints nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.profiler import record_function

from utils.batch import Batch
from utils.compilation import compile_errors
from utils.errors import RunError
from utils.optimisers import set_learning_rates
from utils.roles import StepFactor, WeightAverage
from utils.seeding import seed_everything
from utils.transfer import WaitClock, on_device

Prepare = Callable[[Batch], dict[str, Tensor]]
Criterion = Callable[[Tensor, Tensor], Tensor]


Losses = Callable[[Any, Tensor, Criterion], Tensor]


Sums = tuple[Tensor, Tensor, Mapping[str, Tensor]]
LOSS_UNITS = 2**32  # 1e8 pairs with a loss of 10 stay below 2**63


def losses_of_logits(output: Tensor, label: Tensor, criterion: Criterion) -> Tensor:
    """Return the criterion's losses B of a model that returns logits B×C."""
    return criterion(output, label)


@dataclass
class Training:
    """Everything that one optimiser step needs.

    Attributes:
        model: prepared by the accelerator.
        optimizer: prepared by the accelerator; groups carry ``peak_lr``.
        accelerator: device, precision, processes.
        schedule: factor on the peak rates.
        prepare: turns a batch on the device into what the model takes; ``partial(prepare_views, specs=...)``.
        losses: takes what the model returned, int64 labels B and the criterion, and returns float32 losses B.
        class_weights: float32 C on the device, or null.
        label_smoothing: 0..1.
        clip_norm: largest gradient norm, or null.
        average: averaged weights, or null.
        seed: of dropout and stochastic depth, together with step, micro-batch and rank.
        log_every: optimiser steps between two reads from the device.
        on_step: called after each optimiser step, or null.
        before_step: called before each optimiser step with its number, counted from 0, or null.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    schedule: StepFactor
    prepare: Prepare
    losses: Losses = losses_of_logits
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    average: WeightAverage | None = None
    seed: int = 0
    log_every: int = 20
    on_step: Callable[[], None] | None = None
    before_step: Callable[[int], None] | None = None

    def criterion(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the cross-entropy N of logits N×C with labels N: smoothed, and weighted by class."""
        losses = F.cross_entropy(logits.float(), label, reduction="none", label_smoothing=self.label_smoothing)
        return losses if self.class_weights is None else losses * self.class_weights[label]


@dataclass
class Meter:
    """Sums of one epoch. Those since the last read stay on the device.

    Attributes:
        device: where the losses are.
        loss_units: summed losses in units of 1 / ``LOSS_UNITS``.
        hits, pairs: pairs classified rightly, and all.
        tallies: sums of what the model counts beside, by name, in the same units.
        rates: the options that set the learning rates, for messages.
    """

    device: torch.device
    loss_units: int = 0
    hits: int = 0
    pairs: int = 0
    tallies: dict[str, int] = field(default_factory=dict)
    rates: str = "train.backbone_lr and train.head_lr"
    clock: WaitClock = field(init=False)
    pending: Tensor = field(init=False)
    first_bad_step: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = dict(self.tallies)
        self.pending = torch.zeros(2, device=self.device, dtype=torch.int64)
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.clock = WaitClock(self.device)

    @property
    def waited(self) -> float:
        """Seconds, up to the last read, in which the device had nothing to do for want of the next batch."""
        return self.clock.seconds

    def add(self, losses: Tensor, hits: Tensor, step: int, tallies: Mapping[str, Tensor] | None = None) -> None:
        """Add sums of one micro-batch, without waiting for the device; tallies of an epoch all have the same names."""
        # Whole numbers: their sum does not depend on where an interruption or an interval divided it.
        found = [_units(losses), hits, *map(_units, (tallies or {}).values())]
        for name in tallies or {}:
            self.tallies.setdefault(name, 0)
        if len(found) > len(self.pending):
            self.pending = F.pad(self.pending, (0, len(found) - len(self.pending)))
        self.pending += torch.stack(found)
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
        never = 2**62
        bad = torch.where(self.first_bad_step < 0, never, self.first_bad_step)
        rows: list[list[int]] = accelerator.gather(torch.cat([self.pending, bad.reshape(1)])[None]).tolist()
        self.clock.settle()
        first_bad = min(row[-1] for row in rows)
        if first_bad < never:
            raise RunError(
                f"the loss is not finite since optimiser step {first_bad + 1}; lower {self.rates}, "
                f"set train.clip_norm, or use train.precision fp32. No checkpoint was written from it"
            )
        loss, hits, *tallied = (sum(column) for column in list(zip(*rows, strict=True))[:-1])
        self.loss_units += loss
        self.hits += hits
        for name, units in zip(self.tallies, tallied, strict=False):
            self.tallies[name] += units
        self.pairs = pairs
        self.pending = torch.zeros_like(self.pending)
        return self.means()

    def means(self) -> dict[str, float]:
        """Return the means over pairs up to the last read, ``top1`` and the tallies among them."""
        found = {"loss": self.loss_units / LOSS_UNITS / max(1, self.pairs), "top1": self.hits / max(1, self.pairs)}
        return found | {name: units / LOSS_UNITS / max(1, self.pairs) for name, units in self.tallies.items()}


def _units(value: Tensor) -> Tensor:
    return (value.float() * LOSS_UNITS).round().long()


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

    No step waits for the device, but in fp16, whose loss scale is tested at each.

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

    Raises:
        ConfigError: a backbone cannot be compiled.
        RunError: the loss is not finite any more.
    """
    accelerator = training.accelerator
    training.model.train()
    seen = meter.pairs
    for done, micro_batches in enumerate(plan, start=1):
        step, step_pairs = first_step + done - 1, sum(micro_batches)
        set_learning_rates(training.optimizer, training.schedule.factor(step))
        if training.before_step is not None:
            training.before_step(step)
        training.optimizer.zero_grad()
        for number in range(len(micro_batches)):
            batch = _next(batches, meter)
            is_last = number == len(micro_batches) - 1
            seed_everything(training.seed, step, number, accelerator.process_index)
            loss, hits, tallies = _accumulate(training, batch, step_pairs, is_last=is_last)
            meter.add(loss, hits, step, tallies)
        _take_step(training, step)
        seen += step_pairs
        interval_ends = done % training.log_every == 0 or done == len(plan)
        if interval_ends:
            on_interval(done, meter.read(accelerator, seen))
        if (interval_ends or accelerator.num_processes == 1) and agree(accelerator, stop_requested()):
            meter.read(accelerator, seen)
            return done, True
    return len(plan), agree(accelerator, stop_requested())


def _next(batches: Iterator[Batch], meter: Meter) -> Batch:
    with meter.clock.waiting(), record_function("wait for data"):
        return next(batches)


def _accumulate(training: Training, batch: Batch, step_pairs: int, *, is_last: bool) -> Sums:
    """Add the gradients of a micro-batch; return its summed loss, its hits and its tallies, still on the device.

    Processes exchange gradients in the backward pass of a step's last micro-batch alone.
    """
    accelerator = training.accelerator
    together = nullcontext() if is_last else accelerator.no_sync(training.model)
    with together, compile_errors(training.model):
        with record_function("forward"):
            loss, hits, tallies = _forward(training, batch)
        with record_function("backward"):
            # DistributedDataParallel averages over processes, so each share counts that many times.
            accelerator.backward(loss * (accelerator.num_processes / step_pairs))
    return loss.detach(), hits, tallies


def _take_step(training: Training, step: int) -> None:
    """Move the weights, and their average after them."""
    accelerator = training.accelerator
    with record_function("optimizer step"):
        if training.clip_norm is not None:
            accelerator.clip_grad_norm_(training.model.parameters(), training.clip_norm)
        training.optimizer.step()
        if training.average is not None:
            training.average.update(accelerator.unwrap_model(training.model), step=step)
    if training.on_step is not None:
        training.on_step()


def agree(accelerator: Accelerator, wish: bool) -> bool:
    """Return whether any process wishes it; every process has to ask at the same place."""
    if accelerator.num_processes == 1:
        return wish
    wishes: Tensor = accelerator.gather(torch.tensor([int(wish)], device=accelerator.device))
    return bool(wishes.any())


def _forward(training: Training, batch: Batch) -> Sums:
    """Return the summed loss of the pairs (padding counts 0), the number of hits and the tallies."""
    with training.accelerator.autocast():
        output = training.model(training.prepare(batch))
    real = batch.index >= 0
    losses = training.losses(output, batch.label, training.criterion)
    logits: Tensor | None = output if isinstance(output, Tensor) else output.logits
    tallies: Mapping[str, Tensor] = {} if isinstance(output, Tensor) else output.tallies
    hits = torch.zeros((), dtype=torch.int64, device=losses.device)
    if logits is not None:
        hits = ((logits.detach().argmax(dim=1) == batch.label) & real).sum()
    return (losses * real).sum(), hits, tallies


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
        with accelerator.autocast(), compile_errors(model):
            logits[batch.index] = model(prepare(batch)).float()
        if on_batch is not None:
            on_batch(len(batch))
    gathered: Tensor = accelerator.reduce(logits, reduction="sum")
    return gathered.cpu().numpy()
