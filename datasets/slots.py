"""Shared memory that worker processes write batches into, again and again.

Fresh shared memory for every batch costs about as much as decoding it: the system has to find, clear and map each of
its pages in two processes. Here the main process owns some blocks, names a free one with every batch that it asks for,
and gets only its number back. A block is free again when nobody holds a tensor of the batch in it any longer.
"""

import itertools
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.batches import BatchDataset, Item, Layout
from utils.batch import Batch
from utils.errors import DataError

_POOLS: "weakref.WeakValueDictionary[int, Slots]" = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Order:
    """What a worker is asked for: items, and the slot for their batch, None where it has to find memory itself."""

    items: Sequence[Item]
    slot: int | None


@dataclass
class Delivery:
    """What a worker hands over: where the batch lies, or what went wrong.

    Attributes:
        pool: which ``Slots`` of the main process.
        pairs: pairs in the batch.
        slot: of the batch, where it lies in one.
        block: the batch, where it does not.
        error: message of a ``DataError``.
    """

    pool: int
    pairs: int
    slot: int | None = None
    block: Tensor | None = None
    error: str | None = None

    def batch(self) -> Batch:
        """Return the batch, in the main process.

        Raises:
            DataError: where the worker met one.
        """
        return self._carve(pinned=False)

    def pin_memory(self) -> "Batch | Delivery":
        """Return the batch in page-locked memory; an error stays what it is. Called by the loader's own thread."""
        return self if self.error else self._carve(pinned=True)

    def _carve(self, *, pinned: bool) -> Batch:
        pool = _POOLS[self.pool]
        block = self.block
        if self.slot is not None:
            block = pool.lend(self.slot)
        if self.error is not None:
            raise DataError(self.error)
        assert block is not None
        return pool.layout.carve(block.pin_memory() if pinned else block, self.pairs)


class Slots:
    """The blocks of one loader.

    Args:
        layout: of the batches.
        count: number of slots.
        pairs: pairs of the largest batch that a slot holds.
    """

    def __init__(self, layout: Layout, count: int, pairs: int) -> None:
        self.layout, self.pairs = layout, pairs
        # As torch's own collation does it; the pages are taken at once, so that none can be missing later.
        storage = torch.UntypedStorage._new_shared(count * layout.nbytes(pairs))  # type: ignore[no-untyped-call]  # untyped in torch
        self._memory = torch.empty(0, dtype=torch.uint8).set_(storage).view(count, layout.nbytes(pairs))
        self._free = deque(range(count))
        self._ordered: set[int] = set()
        self.number = next(_NUMBERS)
        _POOLS[self.number] = self

    def order(self, items: Sequence[Item]) -> Order:
        """Ask for a batch, in a free slot if there is one and it fits."""
        if not self._free or len(items) > self.pairs:
            return Order(items, None)
        slot = self._free.popleft()
        self._ordered.add(slot)
        return Order(items, slot)

    def load(self, dataset: BatchDataset, order: Order) -> Delivery:
        """Load an ordered batch, in a worker."""
        pairs = len(order.items)
        if order.slot is None:
            block = torch.empty(self.layout.nbytes(pairs), dtype=torch.uint8)
        else:
            block = self._memory[order.slot]
        delivery = Delivery(self.number, pairs, order.slot, block if order.slot is None else None)
        try:
            dataset.load(order.items, block)
        except DataError as error:
            delivery.error, delivery.block = str(error), None
        return delivery

    def lend(self, slot: int) -> Tensor:
        """Return the bytes of a slot; it is free again when the last tensor that shares them is gone."""
        self._ordered.discard(slot)
        array = self._memory[slot].numpy()
        block = torch.from_numpy(array)  # a storage of its own, which holds the array as long as it is held itself
        weakref.finalize(array, self._free.append, slot).atexit = False
        return block

    def reclaim(self) -> None:
        """Free the slots of batches that were ordered and never came, as when an epoch was left before its end."""
        self._free.extend(self._ordered)
        self._ordered.clear()
