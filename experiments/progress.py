"""How far a run has come."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from utils.engine import Meter


@dataclass
class Progress:
    """Place in a run, and what it has logged.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps taken since the start.
        step_in_epoch: those of the unfinished epoch.
        loss_units, hits, pairs, tallies: sums of the unfinished epoch, as in ``utils.engine.Meter``.
        seconds, waited: those that the unfinished epoch took so far, and those of them without the next batch.
        rows: one row per completed epoch, as in ``log.jsonl``.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    loss_units: int = 0
    hits: int = 0
    pairs: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    tallies: dict[str, int] = field(default_factory=dict)

    def advance(self, steps: int, meter: Meter) -> None:
        """Add the steps taken and take over the meter's sums."""
        self.step += steps
        self.step_in_epoch += steps
        self.loss_units, self.hits, self.pairs = meter.loss_units, meter.hits, meter.pairs
        self.tallies = dict(meter.tallies)
        self.waited += meter.waited

    def at(self, steps: int, meter: Meter) -> "Progress":
        """Return the place ``steps`` further on, for a checkpoint in the middle of an epoch."""
        further = replace(self)
        further.advance(steps, meter)
        return further

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Close an epoch with its row."""
        self.rows.append(row)
        self.epoch += 1
        self.step_in_epoch, self.loss_units, self.hits, self.pairs, self.tallies = 0, 0, 0, 0, {}
        self.seconds = self.waited = 0.0

    @property
    def place(self) -> tuple[int, int]:
        """Epochs completed and optimiser steps taken: what a checkpoint is of."""
        return self.epoch, self.step

    @property
    def best_epoch(self) -> int | None:
        """The first epoch with the highest validation macro-F1, counted from 1; null without validation."""
        scored = [(row["val"]["macro_f1"], -row["epoch"]) for row in self.rows if "val" in row]
        return -max(scored)[1] if scored else None

    @property
    def is_best(self) -> bool:
        """Whether the last completed epoch is the best so far."""
        return bool(self.rows) and self.best_epoch == self.rows[-1]["epoch"]

    def as_state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)
