"""From rows of an index to pictures and masks: what is stored is known here alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from datasets.index import PairIndex
from datasets.listing import VIEW_FOLDERS
from datasets.transforms import ChannelMask, Mask, MaskFinder, Photo, channel_mask, plain_mask, read_rgb
from utils.errors import DataError


class StoredPair(NamedTuple):
    """One pair as it is stored.

    Attributes:
        pictures: for "roi" and "extra_roi", a uint8 3×H×W picture (RGB) that is true on that view's own side of the
            mask; elsewhere it is unspecified. Both may be the same array.
        mask: bool H×W, true in the region of interest.
        channels: the mask for three channels, where the reader knows it.
    """

    pictures: dict[str, Photo]
    mask: Mask
    channels: ChannelMask | None = None

    def channel_mask(self) -> ChannelMask:
        """Return the mask for three channels."""
        return channel_mask(self.mask) if self.channels is None else self.channels


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
        self._folders = [
            [f"{index.root}/{index.split}/{view}/{folder}/" for view in VIEW_FOLDERS]
            for folder in index.classes.folders
        ]
        self._finder = MaskFinder()

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs of some rows in their order, as ``PairReader`` says."""
        wanted = np.asarray(rows, dtype=np.int64)
        details = (self.index.label[wanted], self.index.suffix[wanted], self.index.size[wanted])
        for row, label, suffix, size in zip(rows, *(column.tolist() for column in details), strict=True):
            stem = self.index.stems[row]
            roi, extra_roi = (
                read_rgb(f"{folder}{stem}{self.index.suffix_names[code]}", self.index.limit)
                for folder, code in zip(self._folders[label], suffix, strict=True)
            )
            if roi.shape != extra_roi.shape or roi.shape[1:] != (size[1], size[0]):
                raise self._changed(row, roi, extra_roi)
            channels = self._finder.find(roi, extra_roi)
            yield StoredPair({"roi": roi, "extra_roi": extra_roi}, plain_mask(channels), channels)

    def _changed(self, row: int, *pictures: Photo) -> DataError:
        width, height = self.index.size[row]
        paths = self.index.paths(row)
        sizes = [f"{path} is {x.shape[2]}×{x.shape[1]}" for path, x in zip(paths, pictures, strict=True)]
        return DataError(
            f"{' and '.join(sizes)} pixels, but the index says {width}×{height}; "
            f"the files have changed since the manifest was written: preprocess again"
        )


def open_reader(index: PairIndex) -> PairReader:
    """Return the reader of what an index lists."""
    if index.archive is None:
        return FolderReader(index)
    from datasets.archive_reader import ArchiveReader  # here, since it yields the pairs that this file describes

    return ArchiveReader(index)
