"""A photo opened for prediction: its regions, small enough to wait for the model, and what is said of each."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.cutouts import Mask, Photo, content_size, mask_box, resize_labels, resize_photo
from datasets.new_pairs import NewPair
from utils.errors import DataError

SHOWN_SIDES = (640, 1000)  # least and largest longer side of a drawn photo, in pixels
TINY, WEAK = "tiny mask", "weak mask"
WHOLE = "whole photo"  # kind of the one region of a photo whose parts were not asked for
TINY_FRACTION, TINY_PIXELS = 0.001, 16  # of the photo; at the size at which the model's pairs are cut


@dataclass(frozen=True, eq=False)
class Region:
    """One region of a photo.

    Attributes:
        source: where its mask is from, ready for JSON: ``kind``, and what belongs to it.
        score: the segmenter's own estimate of the mask, null where none was asked.
        box: left, top, right, bottom of the mask in pixels of the upright photo.
        area_fraction: part of the photo that the mask covers, 0..1.
        pair: photo and mask at the size at which the model's pairs are cut.
        shown: the mask in the drawn photo's pixels; null where no picture is drawn.
        marks: what speaks against its answer: ``TINY``, ``WEAK``.
        file: the mask in the photo's own pixels as a PNG of one bit a pixel; null where it is not kept.
    """

    source: dict[str, Any]
    score: float | None
    box: tuple[int, int, int, int]
    area_fraction: float
    pair: NewPair
    shown: Mask | None
    marks: tuple[str, ...] = ()
    file: bytes | None = None


@dataclass(frozen=True, eq=False)
class OpenedPhoto:
    """A photo with its regions; what is large was let go.

    Attributes:
        name: the photo as the user named it.
        stem: of the picture's file name.
        size: width and height of the upright photo in pixels.
        regions: at least one, in order.
        shown: the photo as it is drawn, H×W×3; null where no picture is drawn.
        notes: what the user should know.
    """

    name: str
    stem: str
    size: tuple[int, int]
    regions: Sequence[Region]
    shown: Photo | None
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class FoundMask:
    """A mask H×W in the photo's own pixels, where it is from, and whether its score is low."""

    mask: Mask
    source: dict[str, Any]
    score: float | None = None
    weak: bool = False


def describe_photo(
    name: str,
    stem: str,
    image: Image.Image,
    found: Sequence[FoundMask],
    *,
    size: int,
    drawn: bool,
    drop_vanished: bool = False,
    kept: bool = False,
) -> OpenedPhoto:
    """Return a photo with its regions, made as small as the model wants them.

    Args:
        name: the photo as the user named it.
        stem: of the picture's file name.
        image: upright RGB.
        found: masks of the photo.
        size: longer side in pixels at which pairs are cut; 0 keeps the photo's.
        drawn: whether a picture is drawn.
        drop_vanished: leave out regions that have no pixel at that size, with a note, where an error is raised else.
        kept: whether masks are made ready to be written.

    Raises:
        DataError: a region has no pixel left at that size.
    """
    small = np.array(resize_photo(image, size))
    shown_size = _shown_size(*image.size)
    regions, vanished = [], 0
    for number, one in enumerate(found, start=1):
        mask = resize_labels(one.mask, size)
        if not mask.any():
            if not drop_vanished:
                raise DataError(
                    f"{name}: region {number} has no pixel left when the photo is resized to {size} pixels; choose a "
                    f"larger region"
                )
            vanished += 1
            continue
        pair = NewPair(small, mask, f"{name}, region {number}")
        regions.append(_region(one, pair, shown_size if drawn else None, kept=kept))
    notes = []
    if vanished:
        some = "1 segment has" if vanished == 1 else f"{vanished} segments have"
        notes = [f"{name}: {some} no pixel at {size} pixels and {'is' if vanished == 1 else 'are'} left out"]
    return OpenedPhoto(name, stem, image.size, regions, _shown_photo(image, shown_size) if drawn else None, notes)


def _region(found: FoundMask, pair: NewPair, shown_size: tuple[int, int] | None, *, kept: bool) -> Region:
    """Describe a mask and the pair that is cut along it; ``shown_size`` is null where no picture is drawn."""
    left, top, width, height = mask_box(found.mask)
    fraction = float(np.count_nonzero(found.mask) / found.mask.size)
    tiny = fraction < TINY_FRACTION or np.count_nonzero(pair.mask) < TINY_PIXELS
    return Region(
        source=found.source,
        score=found.score,
        box=(left, top, left + width, top + height),
        area_fraction=fraction,
        pair=pair,
        shown=None if shown_size is None else _shown_mask(found.mask, shown_size),
        marks=(TINY,) * bool(tiny) + (WEAK,) * found.weak,
        file=_mask_file(found.mask) if kept else None,
    )


def tiny_note(photo: OpenedPhoto) -> list[str]:
    """Return a line about the regions that are too small for their answers to mean much; none where there are none."""
    found = [str(number) for number, region in enumerate(photo.regions, start=1) if TINY in region.marks]
    if not found:
        return []
    which = f"the mask of region {found[0]} is" if len(found) == 1 else f"the masks of regions {', '.join(found)} are"
    return [
        f"{photo.name}: {which} tiny (below {100 * TINY_FRACTION:g} % of the photo, or {TINY_PIXELS} pixels at the "
        f"model's size), so the answer means little; choose a larger region"
    ]


def _mask_file(mask: Mask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _shown_size(width: int, height: int) -> tuple[int, int]:
    longer = max(width, height)
    return content_size(width, height, min(max(longer, SHOWN_SIDES[0]), SHOWN_SIDES[1]))


def _shown_photo(image: Image.Image, size: tuple[int, int]) -> Photo:
    if size == image.size:
        return np.array(image)
    shrinks = size[0] < image.width
    pixels = np.asarray(image)
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)


def _shown_mask(mask: Mask, size: tuple[int, int]) -> NDArray[np.bool_]:
    if size == mask.shape[::-1]:
        return mask.copy()
    grown = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown >= 128)
