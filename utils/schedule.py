"""The learning rate at every optimiser step."""

import math
from dataclasses import dataclass
from typing import Literal

from utils.sections import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine to zero.

    Attributes:
        total_steps: length of the schedule.
        warmup_steps: length of its linear rise.
        warmup_start: factor on the peak rate at position 0, 0..1.
        steps_per_epoch: optimiser steps of one epoch.
        unit: what moves the position: each optimiser ``step``, or each ``epoch`` although the length is in steps
            (the released code, train_RveRNet.py).
        epochs_run: epochs of the run, to tell where the rate is highest.
    """

    total_steps: int
    warmup_steps: int
    warmup_start: float
    steps_per_epoch: int
    unit: Literal["step", "epoch"]
    epochs_run: int = 1

    def factor(self, step: int) -> float:
        """Return the factor on the peak rate for an optimiser step counted from 0."""
        position = step if self.unit == "step" else step // self.steps_per_epoch
        if position < self.warmup_steps:
            return self.warmup_start + (1.0 - self.warmup_start) * position / self.warmup_steps
        done = (position - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def peak_step(self) -> int:
        """Return the first optimiser step at which the rate of this run is highest."""
        last = self.steps_per_epoch * self.epochs_run - 1
        candidates = {0, self.warmup_steps, last, last - last % self.steps_per_epoch}
        if self.unit == "epoch":
            candidates.add(self.warmup_steps * self.steps_per_epoch)
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
    )
