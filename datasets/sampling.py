"""Which pairs meet in which step: a plan that depends on (seed, epoch) alone."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets import draws
from datasets.pairs import PADDING_ROW, Item
from utils.errors import ConfigError

Sampling = Literal["natural", "balanced"]


class StepSampler:
    """Batches of (epoch, row) items for training; every process holds one and takes its own share.

    A step's batch is cut from the epoch's order by position, then dealt out: process r gets positions r, r + world
    size, ... Every process gets the same number of micro-batches of the same sizes; where the pairs do not divide
    evenly, the row -1 fills the gap (``PairDataset`` turns it into padding with index -1, which must not count).
    Micro-batches of one step differ by at most one row, so that none is so small that its statistics mean nothing.
    The last step of an epoch may be short and is kept.

    Args:
        labels: class index of every row.
        batch_size: pairs per optimiser step over all processes.
        micro_batch: pairs that one process takes at once, at most; None takes its whole share.
        seed: of the order.
        sampling: ``natural`` shows each pair once an epoch; ``balanced`` draws as many pairs, classes equally often,
            and goes round the pairs of a class before one comes again. A pair that comes twice in an epoch is
            augmented alike both times, since draws depend on (seed, epoch, key) alone.
        shuffle: draw a new order each epoch; otherwise rows come in order (``natural`` only).
        world_size: number of processes.
        rank: this process, 0..world_size - 1.

    Raises:
        ConfigError: where there are no pairs, a size is below 1, or a process would never get a pair.
    """

    def __init__(
        self,
        labels: NDArray[np.integer[Any]],
        batch_size: int,
        micro_batch: int | None = None,
        *,
        seed: int = 0,
        sampling: Sampling = "natural",
        shuffle: bool = True,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        if not len(labels):
            raise ConfigError("there are no training pairs to sample from")
        if batch_size < 1:
            raise ConfigError(f"train.batch_size is {batch_size}; allowed: 1 or more")
        if micro_batch is not None and micro_batch < 1:
            raise ConfigError(f"train.micro_batch is {micro_batch}; allowed: 1 or more, or null for the whole share")
        if batch_size < world_size:
            raise ConfigError(f"train.batch_size is {batch_size} for {world_size} processes; each needs a pair a step")
        if sampling not in ("natural", "balanced"):
            raise ConfigError(f"data.sampling is '{sampling}'; allowed: natural, balanced")
        assert 0 <= rank < world_size
        assert shuffle or sampling == "natural"
        self.labels = np.asarray(labels)
        self.batch_size, self.micro_batch, self.seed = batch_size, micro_batch, seed
        self.sampling, self.shuffle = sampling, shuffle
        self.world_size, self.rank = world_size, rank
        self.epoch, self.start_step = 0, 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch, the short last one included."""
        return math.ceil(len(self.labels) / self.batch_size)

    def pairs_in_step(self, step: int) -> int:
        """Pairs of a step over all processes, padding not counted."""
        return min(self.batch_size, len(self.labels) - step * self.batch_size)

    def micro_batches_in_step(self, step: int) -> int:
        """Micro-batches of a step, the same number in every process."""
        share = math.ceil(self.pairs_in_step(step) / self.world_size)
        return math.ceil(share / (self.micro_batch or share))

    def set_position(self, epoch: int, start_step: int = 0) -> None:
        """Choose the epoch that the next iteration yields, and the step that it begins with (to resume inside it)."""
        self.epoch, self.start_step = epoch, start_step

    def plan_sizes(self) -> list[list[int]]:
        """Return for each step from the position on the pairs of its micro-batches over all processes."""
        return [self._micro_batch_pairs(step) for step in range(self.start_step, self.steps_per_epoch)]

    def _micro_batch_pairs(self, step: int) -> list[int]:
        pairs = self.pairs_in_step(step)
        per_position = [min(self.world_size, pairs - p) for p in range(0, pairs, self.world_size)]
        return [int(part.sum()) for part in np.array_split(per_position, self.micro_batches_in_step(step))]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the rows of an epoch in their order over all processes: int64, as many as there are pairs."""
        if not self.shuffle:
            return np.arange(len(self.labels))
        generator = draws.generator(self.seed, epoch, "order")
        if self.sampling == "balanced":
            return _balanced(self.labels, generator)
        return generator.permutation(len(self.labels))

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[list[list[int]]]:
        """Yield this process's micro-batches of each step, as lists of rows."""
        order = self.order(epoch)
        for step in range(start_step, self.steps_per_epoch):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            share = np.full(math.ceil(len(batch) / self.world_size), PADDING_ROW, dtype=np.int64)
            mine = batch[self.rank :: self.world_size]
            share[: len(mine)] = mine
            yield [part.tolist() for part in np.array_split(share, self.micro_batches_in_step(step))]

    def plan(self, epoch: int) -> list[list[list[int]]]:
        """Return this process's whole epoch: steps, their micro-batches, their rows."""
        return list(self.steps(epoch))

    def __iter__(self) -> Iterator[list[Item]]:
        """Yield the (epoch, row) items of one micro-batch after the other."""
        epoch = self.epoch
        for step in self.steps(epoch, self.start_step):
            for rows in step:
                yield [(epoch, row) for row in rows]

    def __len__(self) -> int:
        """Micro-batches that the next iteration yields."""
        return sum(self.micro_batches_in_step(step) for step in range(self.start_step, self.steps_per_epoch))


class OrderedBatches:
    """Batches of (epoch 0, row) items for evaluation: rows in order, each exactly once over all processes.

    Process r takes rows r, r + world size, ... without padding, so processes may have different numbers of batches.

    Args:
        count: number of rows.
        batch_size: pairs per batch of one process.
        world_size: number of processes.
        rank: this process, 0..world_size - 1.
    """

    def __init__(self, count: int, batch_size: int, *, world_size: int = 1, rank: int = 0) -> None:
        if batch_size < 1:
            raise ConfigError(f"eval.batch_size is {batch_size}; allowed: 1 or more")
        self.rows: Sequence[int] = range(rank, count, world_size)
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Item]]:
        for start in range(0, len(self.rows), self.batch_size):
            yield [(0, row) for row in self.rows[start : start + self.batch_size]]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)


def _balanced(labels: NDArray[np.integer[Any]], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw len(labels) rows: counts of any two classes, and of any two pairs of a class, differ by at most one."""
    classes = np.unique(labels)
    quota, left_over = divmod(len(labels), len(classes))
    favoured = set(generator.permutation(classes)[:left_over].tolist())
    drawn = [
        _round_robin(np.flatnonzero(labels == label), quota + (label in favoured), generator)
        for label in classes.tolist()
    ]
    return generator.permutation(np.concatenate(drawn))


def _round_robin(rows: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    rounds = math.ceil(count / len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(rounds)] or [rows[:0]])[:count]
