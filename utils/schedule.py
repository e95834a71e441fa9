"""The learning rate at every optimiser step."""

import math
from dataclasses import dataclass
from typing import Literal

from utils.sections import TrainConfig

PIM_START, PIM_FLOOR = 1e-9, 1e-12  # learning rates


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine: to zero, or of the whole length as PIM's code has it.

    Attributes:
        total_steps: length of the schedule.
        warmup_steps: length of its linear rise.
        warmup_start: factor on the peak rate at position 0, 0..1.
        steps_per_epoch: optimiser steps of one epoch.
        unit: what moves the position: each optimiser ``step``, or each ``epoch`` although the length is in steps
            (the released code, train_RveRNet.py).
        epochs_run: epochs of the run, to tell where the rate is highest.
        shape: ``cosine``, or ``pim``, whose factors depend on ``peak_lr``.
        peak_lr: highest peak rate of the groups, from which ``pim`` takes its absolute bounds.
    """

    total_steps: int
    warmup_steps: int
    warmup_start: float
    steps_per_epoch: int
    unit: Literal["step", "epoch"]
    epochs_run: int = 1
    shape: Literal["cosine", "pim"] = "cosine"
    peak_lr: float = 1.0

    def factor(self, step: int) -> float:
        """Return the factor on the peak rate for an optimiser step counted from 0."""
        position = step if self.unit == "step" else step // self.steps_per_epoch
        if self.shape == "pim":
            return self._pim(position)
        if position < self.warmup_steps:
            return self.warmup_start + (1.0 - self.warmup_start) * position / self.warmup_steps
        done = (position - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def progress(self, step: int) -> float:
        """Return the part of the schedule, 0..1, that is done before an optimiser step counted from 0."""
        return min(1.0, step / max(1, self.total_steps - 1))

    def _pim(self, position: int) -> float:
        """Return the factor of PIM's schedule (Chou et al. 2022; their code).

        With W warm-up steps of T: W rates from 1e-9 to the peak, both included, then
        ``floor + (peak - floor) (1 + cos(π t / T)) / 2`` for t = 0, 1, … from step W on, with a floor of 1e-12.
        """
        start, floor = PIM_START / self.peak_lr, PIM_FLOOR / self.peak_lr
        if position < self.warmup_steps:
            done = position / max(1, self.warmup_steps - 1)
            return start * (1.0 - done) + done
        height = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (position - self.warmup_steps) / self.total_steps)))
        return floor * (1.0 - height) + height

    def peak_step(self) -> int:
        """Return the first optimiser step at which the rate of this run is highest."""
        last = self.steps_per_epoch * self.epochs_run - 1
        length = 1 if self.unit == "step" else self.steps_per_epoch
        # PIM's warm-up reaches the peak with its last step, the other with the one after it.
        rise = {0, max(0, self.warmup_steps - 1) * length, self.warmup_steps * length}
        candidates = rise | {last, last - last % self.steps_per_epoch}
        return max(sorted(step for step in candidates if step <= last), key=self.factor)


def make_schedule(train: TrainConfig, n_pairs: int, steps_per_epoch: int) -> Schedule:
    """Convert the durations of a training configuration into steps.

    Args:
        train: the training section.
        n_pairs: training pairs.
        steps_per_epoch: optimiser steps that one epoch takes.
    """
    counted = steps_per_epoch if train.schedule_rounding == "up" else max(1, n_pairs // train.batch_size)
    total_steps = counted * train.epochs
    return Schedule(
        total_steps=total_steps,
        warmup_steps=int(train.warmup * total_steps),
        warmup_start=train.warmup_start,
        steps_per_epoch=steps_per_epoch,
        unit=train.schedule_unit,
        epochs_run=train.epochs,
        shape=train.schedule_shape,
        peak_lr=max(train.backbone_lr, train.head_lr),
    )
