"""Pairs that no folder lists: photos and masks in memory, on the same way to a model as those of an archive."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import cutouts
from datasets.archive_reader import bright
from datasets.classes import ClassMap
from datasets.cutouts import content_size, resize_labels, resize_photo
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.readers import StoredPair
from datasets.scan import ScannedPair
from datasets.transforms import Mask, Photo
from utils.batch import ViewSpec
from utils.data_sections import DataConfig
from utils.errors import DataError


@dataclass(frozen=True, eq=False)
class NewPair:
    """A photo and the mask of one region in it.

    Attributes:
        photo: uint8 H×W×3, RGB, upright, of any size.
        mask: bool H×W, true in the region of interest.
        name: what messages call it.
    """

    photo: cutouts.Photo
    mask: Mask
    name: str = "photo"

    def __post_init__(self) -> None:
        if self.photo.shape != (*self.mask.shape, 3):
            height, width = self.mask.shape
            raise DataError(
                f"{self.name}: the mask is {width}×{height} pixels, but the photo is {self.photo.shape[1]}×"
                f"{self.photo.shape[0]}; a mask has its photo's size"
            )


class NewPairReader:
    """Reads pairs in memory: what an archive of the same photos and masks would give, bit for bit.

    Args:
        pairs: read by their position.
        size: longer side in pixels to which photo and mask are resized before they are cut; 0 keeps the photo's.
    """

    def __init__(self, pairs: Sequence[NewPair], size: int) -> None:
        self._pairs, self._size = pairs, size

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs at some positions in their order; neighbours of one photo share its resized picture.

        Raises:
            DataError: where a mask has no pixel left at that size.
        """
        photo, resized = None, None
        for row in rows:
            pair = self._pairs[row]
            if resized is None or pair.photo is not photo:
                photo, pixels = pair.photo, np.array(resize_photo(Image.fromarray(pair.photo), self._size))
                resized = pixels.transpose(2, 0, 1), bright(pixels)
            yield self._stored(pair, *resized)

    def _stored(self, pair: NewPair, picture: Photo, not_black: Mask) -> StoredPair:
        inside = resize_labels(pair.mask, self._size)
        if not inside.any():
            raise DataError(
                f"{pair.name}: the region of interest ({np.count_nonzero(pair.mask)} pixels of the photo) vanishes "
                f"when the longer side is made {self._size} pixels, as the model wants; choose a larger region"
            )
        return StoredPair({"roi": picture, "extra_roi": picture}, inside & not_black)


def new_pair_dataset(
    pairs: Sequence[NewPair], specs: Mapping[str, ViewSpec], data: DataConfig, classes: ClassMap, size: int
) -> PairDataset:
    """Return pairs in memory as a dataset without augmentation; row i is ``pairs[i]``, and labels mean nothing.

    Args:
        pairs: at least one.
        specs: what each view's backbone asks of its picture.
        data: the colour of the bars is read from it.
        classes: of the model.
        size: longer side in pixels before cutting, as in training; 0 keeps the photo's.
    """
    sizes = [content_size(pair.mask.shape[1], pair.mask.shape[0], size) for pair in pairs]
    scanned = [ScannedPair(0, str(row), str(row), stored, ("", ""), b"") for row, stored in enumerate(sizes)]
    index = PairIndex.from_pairs(Path(), "new", classes, scanned, [])
    return PairDataset(index, specs, data, training=False, seed=0, reader=NewPairReader(pairs, size))
