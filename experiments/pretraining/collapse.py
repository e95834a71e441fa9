"""A watch over the embeddings: where all of them come to point the same way, a low loss says nothing."""

from utils.engine import LOSS_UNITS, Meter
from utils.errors import RunError

SPREAD, EMPTY = "spread", "without_region"


class CollapseMonitor:
    """Looks at what was tallied since it looked last, and stops a run whose embeddings have collapsed.

    Args:
        least: the spread below which they have, as a part of that of directions without preference (1); 0 never stops.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self._seen = _Sums()

    def look(self, meter: Meter, step: int) -> None:
        """Look at the sums of the epoch so far, after ``step`` optimiser steps.

        Raises:
            RunError: the spread since the last look is below the least one.
        """
        now = _Sums(meter.pairs, meter.tallies.get(SPREAD, 0) / LOSS_UNITS, meter.tallies.get(EMPTY, 0) / LOSS_UNITS)
        before = self._seen if now.photos >= self._seen.photos else _Sums()  # an epoch has begun
        self._seen = now
        counted = (now.photos - now.empty) - (before.photos - before.empty)
        if counted <= 0:
            return
        spread = (now.spread - before.spread) / counted
        if spread < self.least:
            raise RunError(
                f"the embeddings have collapsed: up to optimiser step {step} their spread is {spread:.3f}, below "
                f"train.collapse_spread {self.least} (1 is that of directions without preference); lower "
                f"train.base_lr, take a larger train.batch_size, or set train.collapse_spread 0 to go on all the same. "
                f"No checkpoint was written from it"
            )


class _Sums:
    def __init__(self, photos: int = 0, spread: float = 0.0, empty: float = 0.0) -> None:
        self.photos, self.spread, self.empty = photos, spread, empty
