"""Many names in two arrays, so that a million of them cost little memory and forked workers share it."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class PackedNames(Sequence[str]):
    """Strings that are kept as UTF-8 bytes, one behind the other."""

    def __init__(self, names: Iterable[str]) -> None:
        parts = [name.encode("utf-8") for name in names]
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(parts), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Return the name of a row, or the names of some."""
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return self._bytes[self._ends[row] : self._ends[row + 1]].tobytes().decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        data, ends = self._bytes.tobytes(), self._ends.tolist()
        return (data[start:end].decode("utf-8") for start, end in itertools.pairwise(ends))
