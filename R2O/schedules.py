"""Learning rate, target momentum and number of clusters at every optimiser step."""

import bisect
import math
from dataclasses import dataclass

from R2O.config import ClustersConfig, PretrainConfig
from utils.errors import ConfigError

# Stands for K in the learning rate where superpixels are not clustered: the most groups that the authors' code makes.
UNCLUSTERED = 128
RATED_BATCH = 256  # photos for which train.base_lr is meant


def clusters_at(config: ClustersConfig, epochs: int, epoch: int) -> int | None:
    """Return the number K of groups in an epoch, null where superpixels are not clustered.

    Args:
        config: points and values.
        epochs: length of the run, at which the last point lies where none are given.
        epoch: counted from 1.

    Fractions are cut off. ``cosine`` falls along the first quarter of a cosine, and rises along that of a sine;
    outside its points it keeps the first and the last value, and so does ``linear``, which in the authors' code goes on
    along its slope, below 1 or above what it clusters.

    Raises:
        ConfigError: nothing is left of the points after the epochs that ``hold`` keeps.
    """
    values = config.values
    if config.kind == "constant":
        return values[0]
    if config.kind == "piecewise":
        return values[max(0, bisect.bisect_right(config.epochs or [], epoch) - 1)]
    start, end = _span(config, epochs)
    first, last = (value for value in values if value is not None)
    if epoch <= start:
        return first
    if epoch >= end:
        return last
    if config.kind == "linear":
        return (first * (end - epoch) + last * (epoch - start)) // (end - start)  # whole numbers: no rounding
    angle = math.pi / 2 * (epoch - start) / (end - start)
    value = last + (first - last) * math.cos(angle) if first >= last else first + (last - first) * math.sin(angle)
    return int(value + 1e-9)  # or a whole number, such as that at a third of a fall, would be one less by rounding


def _span(config: ClustersConfig, epochs: int) -> tuple[int, int]:
    """Return the epochs between which K changes."""
    start, end = config.epochs or (0, epochs)
    if config.hold >= end:
        raise ConfigError(
            f"train.clusters.hold is {config.hold}, but the number of clusters reaches its last value at epoch {end}; "
            f"hold it for fewer epochs, or raise {'train.clusters.epochs' if config.epochs else 'train.epochs'}"
        )
    return max(start, config.hold), end


@dataclass(frozen=True)
class PretrainSchedule:
    """What changes from step to step; steps are counted from 0.

    The learning rate rises linearly from exactly 0 and falls to 0 along half a cosine (Grill et al. 2020, section 3.3).

    Attributes:
        steps_per_epoch: optimiser steps of one epoch, as the loader has them: without the short rest. All lengths
            follow from it, so that the rate ends at 0 with the run; the authors' code counts the rest as well.
        train: durations in epochs, and the number of clusters.
    """

    steps_per_epoch: int
    train: PretrainConfig

    def __post_init__(self) -> None:
        clusters_at(self.train.clusters, self.train.epochs, 1)  # refuses a hold without end before the run starts

    @property
    def total_steps(self) -> int:
        """Steps from the first to a rate of 0."""
        return self._steps(self.train.epochs)

    @property
    def warmup_steps(self) -> int:
        """Steps of the rise."""
        return self._steps(self.train.warmup_epochs)

    def _steps(self, epochs: float) -> int:
        return int(epochs * self.steps_per_epoch)

    @property
    def peak_lr(self) -> float:
        """Learning rate at the end of the rise, before the factor of the clusters."""
        return self.train.base_lr * self.train.batch_size / RATED_BATCH

    def factor(self, step: int) -> float:
        """Return the factor on the peak rate, K / ``lr_clusters`` included."""
        return self._rise_and_fall(step) * self._of_clusters(step)

    def _rise_and_fall(self, step: int) -> float:
        warmup = self.warmup_steps
        if step < warmup:
            return step / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def _of_clusters(self, step: int) -> float:
        if self.train.lr_clusters is None:
            return 1.0
        clusters = self.clusters(step)
        return (UNCLUSTERED if clusters is None else clusters) / self.train.lr_clusters

    def momentum(self, step: int) -> float:
        """Return what the target keeps of itself: from ``target_momentum`` to 1 along half a cosine."""
        done = min(1.0, step / max(1, self.total_steps))
        return 1.0 - (1.0 - self.train.target_momentum) * 0.5 * (1.0 + math.cos(math.pi * done))

    def clusters(self, step: int) -> int | None:
        """Return the number K of groups, null for superpixels as they are."""
        return clusters_at(self.train.clusters, self.train.epochs, step // self.steps_per_epoch + 1)

    def peak_step(self) -> int:
        """Return the first step at which the rate of the run is highest."""
        return max(range(self.steps_per_epoch * self.train.epochs), key=self.factor)
