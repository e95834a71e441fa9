"""One photo: what is read of it, which pairs it makes, and where their files lie. Never imports torch."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasets.archive import MASK_FOLDER, PHOTO_FOLDER, ArchivePhoto
from datasets.class_file import BACKGROUND_ID, CLASS_FILE, describe_ids
from datasets.classes import folder_name
from datasets.cutouts import Mask, PictureFormat
from datasets.decode import (
    DecodedPhoto,
    Labels,
    MaskOrientation,
    PhotoHeader,
    align_labels,
    decode_labels,
)
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.source_photo import SourcePhoto
from datasets.tree import Layout
from utils.errors import DataError

ROI_FOLDER = "roi"
EXTRA_ROI_FOLDER = "extra-roi"
Seen = TypeVar("Seen", DecodedPhoto, PhotoHeader)


@dataclass(frozen=True)
class CutOptions:
    """What decides the bytes of the pictures.

    Attributes:
        size: longer side in pixels; 0 keeps the photo's.
        format: file format of cut-outs and photos.
        quality: JPEG quality, 1..100.
        min_area: smallest part of the photo that a class may cover, in [0, 1).
        mask_orientation: which way masks lie that fit a turned photo both ways.
        layout: ``pairs`` writes a roi and an extra-roi for each class, ``archive`` the photo and its mask.
    """

    size: int = 224
    format: PictureFormat = "jpg"
    quality: int = 95
    min_area: float = 0.0
    mask_orientation: MaskOrientation | None = None
    layout: Layout = "pairs"


@dataclass(frozen=True)
class CutPair:
    """One class of a photo.

    Attributes:
        class_name: name of the class.
        area: roi pixels, stored.
        box: of the roi, in stored pixels.
        prompts: objects that a segmenter was asked for; 0 where the mask is annotation.
        score: the lowest of their scores.
        photo_area: pixels of their masks in the photo itself.
    """

    class_name: str
    area: int
    box: tuple[int, int, int, int]
    prompts: int = 0
    score: float | None = None
    photo_area: int | None = None


@dataclass(frozen=True)
class CutRecord:
    """A finished photo.

    Attributes:
        split: split of the photo.
        stem: stem of the photo.
        photo_sha256: of the photo's file.
        mask_sha256: of the mask's file, or of the prompts and the segmenter's settings.
        size: upright (width, height) of the photo in pixels.
        content_size: (width, height) of the stored pictures in pixels.
        pairs: classes that make a pair.
        under_min_area: classes left out because they cover too little.
        vanished: classes of which resizing left no pixel.
        no_mask: classes of which the segmenter found nothing, or the whole photo.
        damaged_exif: whether the photo's EXIF block could not be read, so that it was taken as upright.
        file_bytes: lengths of the files that were written, in the order of ``written_paths``.
    """

    split: str
    stem: str
    photo_sha256: str
    mask_sha256: str
    size: tuple[int, int]
    content_size: tuple[int, int]
    pairs: list[CutPair] = field(default_factory=list)
    under_min_area: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    no_mask: list[str] = field(default_factory=list)
    damaged_exif: bool = False
    file_bytes: list[int] = field(default_factory=list)


def pair_paths(split: str, folder: str, stem: str, suffix: str) -> tuple[str, str]:
    """Return the paths of a pair's roi and extra-roi inside a tree, with ``/``; ``suffix`` has no dot."""
    return f"{split}/{ROI_FOLDER}/{folder}/{stem}.{suffix}", f"{split}/{EXTRA_ROI_FOLDER}/{folder}/{stem}.{suffix}"


def archive_paths(split: str, stem: str, suffix: str) -> tuple[str, str]:
    """Return the paths of a photo and its mask inside an archive, with ``/``; ``suffix`` has no dot."""
    return f"{PHOTO_FOLDER}/{split}/{stem}.{suffix}", f"{MASK_FOLDER}/{split}/{stem}.png"


def written_paths(record: CutRecord, options: CutOptions) -> list[str]:
    """Return the paths of a photo's files in the tree, with ``/``: photo and mask, or the halves of each pair."""
    if options.layout == "archive":
        return list(archive_paths(record.split, record.stem, options.format))
    folders = [folder_name(pair.class_name) for pair in record.pairs]
    return [path for name in folders for path in pair_paths(record.split, name, record.stem, options.format)]


@dataclass(frozen=True)
class OpenedPhoto(Generic[Seen]):
    """A photo and its mask, decoded and checked.

    Attributes:
        photo: the photo, or its header.
        labels: H×W label ids on the upright photo.
        ids: label ids that occur, in rising order, without the background.
        photo_sha256: of the photo's file.
        mask_sha256: of the mask's file.
    """

    photo: Seen
    labels: Labels
    ids: list[int]
    photo_sha256: str
    mask_sha256: str


def open_photo(
    source: Path,
    photo: ArchivePhoto,
    label_ids: dict[int, str],
    mask_orientation: MaskOrientation | None,
    decode: Callable[[bytes, str, PixelLimit], Seen],
    option: str = "--mask_orientation",
    limit: PixelLimit = PREPROCESSING_LIMIT,
) -> OpenedPhoto[Seen] | list[str]:
    """Read a photo and its mask, or say everything that is wrong with them.

    Args:
        source: folder of the archive.
        photo: which.
        label_ids: class name by label id.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        decode: ``decode_photo``, or ``read_photo_header`` where the pixels do not matter.
        option: what the user calls ``mask_orientation``.
        limit: the largest picture that is decoded.
    """
    problems: list[str] = []
    photo_file, mask_file = source / photo.photo, source / photo.mask
    photo_data, mask_data = _read(photo_file, problems), _read(mask_file, problems)
    decoded = labels = None
    try:
        decoded = None if photo_data is None else decode(photo_data, str(photo_file), limit)
    except DataError as error:
        problems.append(str(error))
    try:
        labels = None if mask_data is None else decode_labels(mask_data, str(mask_file), limit)
    except DataError as error:
        problems.append(str(error))
    ids = [] if labels is None else _label_ids(labels, label_ids, str(mask_file), problems)
    if decoded is None or labels is None or photo_data is None or mask_data is None:
        return problems
    try:
        labels = align_labels(labels, decoded, mask_orientation, str(photo_file), str(mask_file), option)
    except DataError as error:
        problems.append(str(error))
    hashes = [hashlib.sha256(data).hexdigest() for data in (photo_data, mask_data)]
    return problems or OpenedPhoto(decoded, labels, ids, hashes[0], hashes[1])


def _read(path: Path, problems: list[str]) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        problems.append(f"{path} cannot be read ({error.strerror}); check its permissions and the disk")
        return None


def _label_ids(labels: Labels, label_ids: dict[int, str], name: str, problems: list[str]) -> list[int]:
    if labels.dtype == np.uint8:
        found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()  # np.unique sorts: 8 times slower
    else:
        found = np.unique(labels).tolist()
    found = [label for label in found if label != BACKGROUND_ID]
    unknown = [label for label in found if label not in label_ids]
    if unknown:
        several = len(unknown) > 1
        problems.append(
            f"{name}: label id{'s' * several} {', '.join(map(str, unknown[:8]))}{', …' * (len(unknown) > 8)} "
            f"{'are' if several else 'is'} not in {CLASS_FILE}; add {'them' if several else 'it'} there or mend the "
            f"mask; allowed: {describe_ids(label_ids)}"
        )
    return found


class _Opened(Protocol):
    @property
    def photo(self) -> DecodedPhoto | PhotoHeader: ...
    @property
    def photo_sha256(self) -> str: ...
    @property
    def mask_sha256(self) -> str: ...


def start_record(photo: SourcePhoto, opened: _Opened, pixels: NDArray[Any]) -> CutRecord:
    """Return the record of a photo without any pair; ``pixels`` are H×W or H×W×3 at the size of the cut-outs."""
    return CutRecord(
        photo.split,
        photo.stem,
        opened.photo_sha256,
        opened.mask_sha256,
        opened.photo.size,
        (pixels.shape[1], pixels.shape[0]),
        damaged_exif=opened.photo.damaged_exif,
    )


def class_masks(
    record: CutRecord, labels: Labels, names: dict[int, str], min_area: float
) -> Iterator[tuple[str, Mask, int]]:
    """Yield (class name, mask, pixels) of each class that makes a pair, and note the others in the record.

    Args:
        record: of the photo.
        labels: H×W label ids at the size of the cut-outs.
        names: class name by label id, of the ids that the mask holds at its own size.
        min_area: smallest part of the photo that a class may cover.
    """
    for label, name in names.items():
        mask = labels == label
        area = pair_area(record, name, mask, min_area)
        if area is not None:
            yield name, mask, area


def pair_area(record: CutRecord, name: str, mask: Mask, min_area: float) -> int | None:
    """Return the pixels of a class that makes a pair; None for another, which is noted in the record.

    Args:
        record: of the photo.
        name: of the class.
        mask: H×W at the size of the cut-outs.
        min_area: smallest part of the photo that a class may cover.
    """
    area = int(np.count_nonzero(mask))
    if area == 0:
        record.vanished.append(name)
    elif area < min_area * mask.size:
        record.under_min_area.append(name)
    else:
        return area
    return None
