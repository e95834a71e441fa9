"""Pairs composed from photo and mask as they are loaded: no cut-out is ever stored."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.archive_scan import DATA_OPTIONS
from datasets.cutouts import resize_labels, resize_photo
from datasets.decode import Labels, align_labels, decode_labels, decode_photo
from datasets.index import ArchivePhotos, PairIndex
from datasets.readers import StoredPair
from datasets.transforms import Mask, Photo
from utils.errors import DataError


class _Opened(NamedTuple):
    """A photo at the size of its pairs (uint8 3×H×W), its H×W label ids, and where it is not black."""

    picture: Photo
    labels: Labels
    bright: Mask


class ArchiveReader:
    """Reads pairs of an archive: what a lossless tree of the same archive would give, bit for bit.

    Photo and mask are decoded, turned and resized by the functions of preprocessing, once for all pairs of a photo in
    one call; a decoded photo is kept only while later rows of that call need it.

    Args:
        index: pairs of an archive (``datasets.archive_index``).
    """

    def __init__(self, index: PairIndex) -> None:
        assert index.archive is not None, "an index of folder pairs has another reader"
        self.index = index
        self._archive: ArchivePhotos = index.archive
        self._ids = [self._archive.label_ids[name] for name in index.classes.names]

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs of some rows in their order; both pictures are the photo, shared by all its pairs.

        Raises:
            DataError: where photo or mask cannot be read, or changed since the archive was scanned.
        """
        photos = [int(self._archive.row_photo[row]) for row in rows]
        last = {photo: place for place, photo in enumerate(photos)}
        opened: dict[int, _Opened] = {}
        for place, (row, photo) in enumerate(zip(rows, photos, strict=True)):
            if photo not in opened:
                opened[photo] = self._open(row)
            # No name may hold a photo while the reader waits or opens the next one.
            yield self._compose(row, opened.pop(photo) if last[photo] == place else opened[photo])

    def _compose(self, row: int, opened: _Opened) -> StoredPair:
        inside = opened.labels == self._ids[self.index.label[row]]
        if not inside.any():
            raise DataError(
                f"{self.index.paths(row)[1]} no longer shows '{self.index.key(row)[1]}': it changed since the archive "
                f"was scanned; run the same command again"
            )
        # A stored pair does not tell on which side black pixels lie, and takes them as outside. They change no view,
        # but they count in the area that augmentation must leave of a region.
        inside &= opened.bright
        return StoredPair({"roi": opened.picture, "extra_roi": opened.picture}, inside)

    def _open(self, row: int) -> _Opened:
        photo_file, mask_file = self.index.paths(row)
        size = self._archive.size
        decoded = decode_photo(_read(photo_file), str(photo_file), self.index.limit)
        labels = decode_labels(_read(mask_file), str(mask_file), self.index.limit)
        option = DATA_OPTIONS.mask_orientation
        labels = align_labels(labels, decoded, self._archive.mask_orientation, str(photo_file), str(mask_file), option)
        pixels = np.array(resize_photo(decoded.image, size))
        picture: Photo = pixels.transpose(2, 0, 1)  # pixel by pixel in memory, as a decoded cut-out
        width, height = (int(side) for side in self.index.size[row])
        if picture.shape[1:] != (height, width):
            raise DataError(
                f"{photo_file} gives pairs of {picture.shape[2]}×{picture.shape[1]} pixels, but the index says "
                f"{width}×{height}: it changed since the archive was scanned; run the same command again"
            )
        return _Opened(picture, resize_labels(labels, size), bright(pixels))


def bright(pixels: Photo) -> Mask:
    """Return where H×W×3 pixels are not black."""
    height, width, _ = pixels.shape
    values = pixels.reshape(-1)
    # A pass over neighbouring values is faster than three over every third one.
    any_of_three = values[:-2] | values[1:-1]
    any_of_three |= values[2:]
    bright: Mask = (any_of_three[::3] != 0).reshape(height, width)
    return bright


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); restore it, or take it out") from None
