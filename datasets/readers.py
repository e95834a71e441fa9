"""From rows of an index to pictures and masks: what is stored is known here alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from datasets.decode import decode_photo
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
    """Reads the rows of one index."""

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


class PhotoReader:
    """Reads photos without masks, upright and whole: each picture is the photo, and the mask is true everywhere."""

    def __init__(self, index: PairIndex) -> None:
        self.index = index

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the photos of some rows in their order, as ``PairReader`` says."""
        for row in rows:
            (path,) = self.index.paths(row)
            try:
                data = path.read_bytes()
            except OSError as error:
                reason = error.strerror or error
                raise DataError(f"{path} cannot be read ({reason}); restore it, or remove it") from None
            picture: Photo = np.array(decode_photo(data, str(path), self.index.limit).image).transpose(2, 0, 1)
            width, height = self.index.size[row].tolist()
            if picture.shape[1:] != (height, width):
                raise DataError(
                    f"{path} has {picture.shape[2]}×{picture.shape[1]} pixels, but had {width}×{height} when it was "
                    f"listed: it changed since; run the same command again"
                )
            yield StoredPair(dict.fromkeys(("roi", "extra_roi"), picture), np.ones((height, width), dtype=np.bool_))


def open_reader(index: PairIndex) -> PairReader:
    """Return the reader of what an index lists."""
    if not index.masked:
        return PhotoReader(index)
    if index.archive is None:
        return FolderReader(index)
    from datasets.archive_reader import ArchiveReader  # here, since it yields the pairs that this file describes

    return ArchiveReader(index)
