"""Which pairs meet in which step: a plan that depends on (seed, epoch) alone."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets import draws
from datasets.batches import Item
from utils.errors import ConfigError

Sampling = Literal["natural", "balanced"]
Rows = NDArray[np.int64]


class StepSampler:
    """Batches of (epoch, row) items for training; every process holds one and takes its own share.

    A step's batch is cut from the epoch's order by position, then dealt out: process r gets positions r, r + world
    size, ...; with ``photos`` it gets the r-th of as many neighbouring parts, so that few photos are shared. Every
    process gets the same number of micro-batches. Those of one step, over all processes, differ by at most one pair, so
    that none is so small that its statistics mean nothing. Where a process's part would be empty, it gets a copy of a
    pair that does not count: the negative row ``~row`` (``PairDataset`` loads the pair and gives it the index -1). The
    last step of an epoch may be short and is kept.

    Args:
        labels: class index of every row.
        batch_size: pairs per optimiser step over all processes.
        micro_batch: pairs that one process takes at once, at most; None takes its whole share.
        seed: of the order.
        sampling: ``natural`` shows each pair once an epoch; ``balanced`` draws as many pairs, classes equally often,
            and goes round the pairs of a class before one comes again. A pair that comes twice in an epoch is
            augmented alike both times, since draws depend on (seed, epoch, key) alone.
        photos: integers that are equal for rows of one photo: the order is then one of photos, and the pairs of each
            stand next to each other. Where ``balanced`` draws a pair again, its photo comes again with it, elsewhere
            in the epoch. None orders pairs whatever their photos.
        shuffle: draw a new order each epoch; otherwise rows come in order, or photo by photo (``natural`` only).
        drop_last: leave out the rest of an epoch's order that fills no batch.
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
        photos: NDArray[np.integer[Any]] | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
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
        assert not drop_last or len(labels) >= batch_size
        assert shuffle or sampling == "natural"
        assert photos is None or len(photos) == len(labels)
        self.labels = np.asarray(labels)
        self.photos = None if photos is None else np.unique(photos, return_inverse=True)[1].astype(np.int64)
        self.batch_size, self.micro_batch, self.seed = batch_size, micro_batch, seed
        self.sampling, self.shuffle, self.drop_last = sampling, shuffle, drop_last
        self.world_size, self.rank = world_size, rank
        self.epoch, self.start_step = 0, 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch, the short last one included unless it is left out."""
        return len(self.labels) // self.batch_size if self.drop_last else math.ceil(len(self.labels) / self.batch_size)

    @property
    def smallest_part(self) -> int:
        """Fewest pairs that a process takes at once anywhere in an epoch, at least 1; copies count here."""
        return max(1, min(int(self._part_sizes(pairs).min()) for pairs in self._step_sizes()))

    def pairs_in_step(self, step: int) -> int:
        """Pairs of a step over all processes, copies not counted."""
        return min(self.batch_size, len(self.labels) - step * self.batch_size)

    def micro_batches_in_step(self, step: int) -> int:
        """Micro-batches of a step, the same number in every process."""
        return self._parts(self.pairs_in_step(step))

    def set_position(self, epoch: int, start_step: int = 0) -> None:
        """Choose the epoch that the next iteration yields, and the step that it begins with (to resume inside it)."""
        self.epoch, self.start_step = epoch, start_step

    def plan_sizes(self) -> list[list[int]]:
        """Return for each step from the position on the pairs of its micro-batches over all processes."""
        by_pairs = {pairs: self._part_sizes(pairs).sum(axis=0).tolist() for pairs in self._step_sizes()}
        return [by_pairs[self.pairs_in_step(step)] for step in range(self.start_step, self.steps_per_epoch)]

    def order(self, epoch: int) -> Rows:
        """Return the rows of an epoch in their order over all processes: int64, as many as there are pairs."""
        if not self.shuffle:
            return np.arange(len(self.labels)) if self.photos is None else np.argsort(self.photos, kind="stable")
        generator = draws.generator(self.seed, epoch, "order")
        if self.sampling == "balanced":
            rows = _balanced(self.labels, generator)
        else:
            rows = generator.permutation(len(self.labels))
        return rows if self.photos is None else _by_photo(rows, self.photos, generator)

    def steps(self, epoch: int, start_step: int = 0) -> Iterator[list[list[int]]]:
        """Yield this process's micro-batches of each step, as lists of rows; a negative row is a copy of ``~row``."""
        order = self.order(epoch)
        for step in range(start_step, self.steps_per_epoch):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            mine = batch[self._share(len(batch), self.rank)]
            copy = ~(mine if len(mine) else batch)[-1:]
            yield [(part if len(part) else copy).tolist() for part in np.array_split(mine, self._parts(len(batch)))]

    def _share(self, pairs: int, rank: int) -> slice:
        """Return which of a step's pairs a process takes."""
        if self.photos is None:
            return slice(rank, None, self.world_size)
        least, more = divmod(pairs, self.world_size)
        start = rank * least + min(rank, more)
        return slice(start, start + least + (rank < more))

    def _parts(self, pairs: int) -> int:
        share = math.ceil(pairs / self.world_size)
        return math.ceil(share / (self.micro_batch or share))

    def _part_sizes(self, pairs: int) -> Rows:
        """Return the pairs of each micro-batch of a step: processes × micro-batches, 0 where a copy stands in."""
        shares = [range(pairs)[self._share(pairs, rank)] for rank in range(self.world_size)]
        return np.array([[len(part) for part in np.array_split(share, self._parts(pairs))] for share in shares])

    def _step_sizes(self) -> set[int]:
        return {self.pairs_in_step(step) for step in (0, self.steps_per_epoch - 1)}

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

    Process r takes rows r, r + world size, ...; with ``photos``, rows are ordered by photo and the process takes the
    r-th of as many neighbouring parts. No row comes twice, so processes may have different numbers of batches.

    Args:
        count: number of rows.
        batch_size: pairs per batch of one process.
        photos: integers that are equal for rows of one photo; None keeps the order of rows.
        world_size: number of processes.
        rank: this process, 0..world_size - 1.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        photos: NDArray[np.integer[Any]] | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"eval.batch_size is {batch_size}; allowed: 1 or more")
        self.rows: Sequence[int] = range(rank, count, world_size)
        if photos is not None:
            assert len(photos) == count
            self.rows = np.array_split(np.argsort(photos, kind="stable"), world_size)[rank].tolist()
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[Item]]:
        for start in range(0, len(self.rows), self.batch_size):
            yield [(0, row) for row in self.rows[start : start + self.batch_size]]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)


def _by_photo(rows: Rows, photos: Rows, generator: np.random.Generator) -> Rows:
    """Put drawn rows in a random order of photos, those of one photo next to each other and otherwise as drawn.

    A row that was drawn more than once goes into as many rounds of its photo, which have places of their own: a batch
    would else be filled with one pair.
    """
    by_row = np.argsort(rows, kind="stable")
    same_as_before = np.append(False, np.diff(rows[by_row]) == 0)
    position = np.arange(len(rows))
    first = np.maximum.accumulate(np.where(same_as_before, 0, position))
    turn = np.empty_like(position)
    turn[by_row] = position - first
    units = np.unique(photos[rows] * (turn.max() + 1) + turn, return_inverse=True)[1]
    place = generator.permutation(units.max() + 1)
    return rows[np.argsort(place[units], kind="stable")]


def _balanced(labels: NDArray[np.integer[Any]], generator: np.random.Generator) -> Rows:
    """Draw len(labels) rows: counts of any two classes, and of any two pairs of a class, differ by at most one."""
    classes = np.unique(labels)
    quota, left_over = divmod(len(labels), len(classes))
    favoured = set(generator.permutation(classes)[:left_over].tolist())
    drawn = [
        _round_robin(np.flatnonzero(labels == label), quota + (label in favoured), generator)
        for label in classes.tolist()
    ]
    return generator.permutation(np.concatenate(drawn))


def _round_robin(rows: Rows, count: int, generator: np.random.Generator) -> Rows:
    rounds = math.ceil(count / len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(rounds)] or [rows[:0]])[:count]
