"""What the loaders need of a data set, whatever its batches are made of."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from utils.batch import Batch

Item = tuple[int, int]


class Layout(Protocol):
    """Where the tensors of a batch lie in a block of bytes."""

    def nbytes(self, count: int) -> int:
        """Return the bytes that a batch of ``count`` items takes."""
        ...

    def carve(self, block: Tensor, count: int) -> Batch:
        """Return the batch of ``count`` items whose tensors lie in the block (uint8, ``nbytes(count)`` at least)."""
        ...


class BatchDataset(Protocol):
    """Items that are loaded a batch at a time; an item is (epoch, row)."""

    @property
    def layout(self) -> Layout:
        """Of its batches."""
        ...

    def __len__(self) -> int: ...

    def __getitems__(self, items: Sequence[Item]) -> Batch:
        """Return the batch of some items, in their order; a ``DataError`` names a file that cannot be read."""
        ...

    def load(self, items: Sequence[Item], block: Tensor) -> Batch:
        """Load some items, as ``__getitems__`` does, into a block of memory that ``layout`` fits."""
        ...
