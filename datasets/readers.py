"""From rows of an index to pictures and masks: what is stored is known here alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from datasets.index import PairIndex
from datasets.transforms import Mask, Photo, read_rgb, recover_mask
from utils.errors import DataError


class StoredPair(NamedTuple):
    """One pair as it is stored.

    Attributes:
        pictures: for "roi" and "extra_roi", a uint8 3×H×W picture (RGB) that is true on that view's own side of the
            mask; elsewhere it is unspecified. Both may be the same array.
        mask: bool H×W, true in the region of interest.
    """

    pictures: dict[str, Photo]
    mask: Mask


class PairReader(Protocol):
    """Reads pairs of one index."""

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs of some rows (0..len(index) - 1) in their order.

        Raises:
            DataError: where a file cannot be read or decoded, or no longer has the size it was indexed with.
        """
        ...


class FolderReader:
    """Reads pairs of cut-outs: decodes both and recovers the mask from the two together."""

    def __init__(self, index: PairIndex) -> None:
        self.index = index

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs of some rows in their order, as ``PairReader`` says."""
        for row in rows:
            roi, extra_roi = self._decode(row)
            yield StoredPair({"roi": roi, "extra_roi": extra_roi}, recover_mask(roi, extra_roi))

    def _decode(self, row: int) -> tuple[Photo, Photo]:
        paths = self.index.paths(row)
        roi, extra_roi = (read_rgb(path) for path in paths)
        width, height = (int(side) for side in self.index.size[row])
        if roi.shape != extra_roi.shape or roi.shape[1:] != (height, width):
            sizes = [f"{path} is {x.shape[2]}×{x.shape[1]}" for path, x in zip(paths, (roi, extra_roi), strict=True)]
            raise DataError(
                f"{' and '.join(sizes)} pixels, but the index says {width}×{height}; "
                f"the files have changed since the manifest was written: preprocess again"
            )
        return roi, extra_roi


def open_reader(index: PairIndex) -> PairReader:
    """Return the reader of what an index lists."""
    if index.archive is None:
        return FolderReader(index)
    from datasets.archive_reader import ArchiveReader  # here, since it yields the pairs that this file describes

    return ArchiveReader(index)
