"""A batch in one block of memory, so that one hand-over moves all of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from utils.batch import Batch

ALIGNMENT = 64  # bytes; a cache line, and more than any type asks


@dataclass(frozen=True)
class BatchLayout:
    """Where the tensors of a batch lie in a block of bytes.

    Attributes:
        sides: side of the square view in pixels, by view name.
    """

    sides: Mapping[str, int]

    def nbytes(self, count: int) -> int:
        """Return the bytes that a batch of ``count`` pairs takes."""
        return packed_bytes(self._sizes(count))

    def carve(self, block: Tensor, count: int) -> Batch:
        """Return the batch of ``count`` pairs whose tensors lie in the block (uint8, ``nbytes(count)`` at least).

        Views are B×3×S×S and lie in memory as B×S×S×3 (channels last). Nothing is written.
        """
        parts = cut_block(block, self._sizes(count))
        names = list(self.sides)
        pixels, boxes, flips = (parts[number * len(names) : (number + 1) * len(names)] for number in range(3))
        return Batch(
            views={
                name: part.view(count, self.sides[name], self.sides[name], 3).permute(0, 3, 1, 2)
                for name, part in zip(names, pixels, strict=True)
            },
            label=parts[-2].view(torch.int64),
            index=parts[-1].view(torch.int64),
            content_box={name: part.view(torch.int16).view(count, 4) for name, part in zip(names, boxes, strict=True)},
            flip={name: part.view(torch.bool) for name, part in zip(names, flips, strict=True)},
        )

    def _sizes(self, count: int) -> list[int]:
        """Return the bytes of the views, content boxes, flips, labels and rows, in their order."""
        pixels = [count * 3 * side * side for side in self.sides.values()]
        return [*pixels, *[count * 8] * len(pixels), *[count] * len(pixels), count * 8, count * 8]


def packed_bytes(sizes: Sequence[int]) -> int:
    """Return the bytes that tensors of some sizes in bytes take in one block."""
    return sum(map(_aligned, sizes))


def cut_block(block: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return the parts of a block (uint8) in which tensors of some sizes in bytes lie one after the other."""
    starts = accumulate(map(_aligned, sizes), initial=0)
    return [block[start : start + size] for start, size in zip(starts, sizes, strict=False)]


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
