"""A watch over the embeddings: where all of them come to point the same way, a low loss says nothing."""

from typing import NamedTuple

from utils.engine import LOSS_UNITS, Meter
from utils.errors import RunError

SPREAD, EMPTY = "spread", "without_region"


class _Sums(NamedTuple):
    photos: int = 0
    spread: float = 0.0
    empty: float = 0.0


class CollapseMonitor:
    """Looks at what was tallied since it looked last, and stops a run whose embeddings have collapsed.

    Args:
        least: the spread below which they have, as a part of that of directions without preference (1); 0 never stops.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self._meter: Meter | None = None
        self._seen = _Sums()

    def begin(self, meter: Meter) -> None:
        """Take what a meter holds, before the first step of an epoch or of the rest of one, as looked at already."""
        self._meter, self._seen = meter, _sums(meter)

    def look(self, meter: Meter, step: int) -> None:
        """Look at the sums of the epoch so far, after ``step`` optimiser steps.

        Raises:
            RunError: the spread since the last look is below the least one.
        """
        before, self._seen = self._seen, _sums(meter)
        assert meter is self._meter
        counted = (self._seen.photos - self._seen.empty) - (before.photos - before.empty)
        if counted <= 0:
            return
        spread = (self._seen.spread - before.spread) / counted
        if spread < self.least:
            raise RunError(
                f"the embeddings have collapsed: up to optimiser step {step} their spread is {spread:.3f}, below "
                f"train.collapse_spread {self.least} (1 is that of directions without preference); lower "
                f"train.base_lr or take a larger train.batch_size in a new run, or go on all the same with "
                f"train.collapse_spread 0. No checkpoint was written from it"
            )


def _sums(meter: Meter) -> _Sums:
    tallies = meter.tallies
    return _Sums(meter.pairs, tallies.get(SPREAD, 0) / LOSS_UNITS, tallies.get(EMPTY, 0) / LOSS_UNITS)
