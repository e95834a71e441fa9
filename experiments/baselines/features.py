"""What the baselines see of a pair: the other classes of its photo, the place of its roi, the roi's colours."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.manifest import read_columns
from datasets.readers import open_reader
from datasets.transforms import Mask, Photo
from datasets.workers import available_cores
from utils.errors import DataError
from utils.metrics import Array

GEOMETRY = ("area_fraction", "box_left", "box_top", "box_width", "box_height")
BINS = 8  # of each colour channel
_HORIZONTAL, _VERTICAL = (1, 3), (2, 4)  # columns of GEOMETRY that are parts of the width and of the height
_SIZE = ("content_width", "content_height")
_Part = tuple[Sequence[float], NDArray[np.int64], NDArray[np.float32]]


class Measured(NamedTuple):
    """What a pass over the pairs yields.

    Attributes:
        geometry: float64 N×5, as ``GEOMETRY``.
        colour: float32 N×512 sparse, square roots of the colour histogram.
    """

    geometry: NDArray[np.float64]
    colour: sparse.csr_array


def label_context(labels: Array, photos: Array, n_classes: int) -> sparse.csr_array:
    """Return for each pair which other classes lie in its photo.

    Only the classes that are given count: one that was excluded from the pairs is no context either.

    Args:
        labels: int N, class index; a photo holds a class at most once.
        photos: N, the photo of each pair, numbers or strings. Not the group, which may span several photos.
        n_classes: C.

    Returns:
        float64 N×C sparse, 1 where the class is another one of the same photo.
    """
    _, code = np.unique(photos, return_inverse=True)
    ones = np.ones(len(labels))
    columns = labels.astype(np.int64)
    present = sparse.coo_array((ones, (code, columns)), shape=(int(code.max(initial=-1)) + 1, n_classes)).tocsr()
    own = sparse.coo_array((ones, (np.arange(len(labels)), columns)), shape=(len(labels), n_classes)).tocsr()
    context: sparse.csr_array = (present[code] - own).tocsr()
    context.eliminate_zeros()
    return context


def manifest_geometry(index: PairIndex) -> NDArray[np.float64] | None:
    """Return ``GEOMETRY`` of each pair from the manifest, or None where there is none.

    Returns:
        float64 N×5 in 0..1: roi pixels over all pixels of the cut-out; the tight box's left edge and width over the
        cut-out's width, its top edge and height over the cut-out's height.

    Raises:
        DataError: the manifest is damaged or lacks a pair.
    """
    path = index.manifest
    if path is None or not path.is_file():
        return None
    cells = {row[:3]: row[3:] for row in read_columns(path, ("split", "class", "stem", *GEOMETRY, *_SIZE))}
    keys = [index.key(row) for row in range(len(index))]
    missing = next((key for key in keys if key not in cells), None)
    if missing is not None:
        raise DataError(f"{path} has no row for {'/'.join(missing)}; write it again with preprocess_foodseg103.py")
    try:
        values = np.array([cells[key] for key in keys], dtype=np.float64).reshape(-1, len(GEOMETRY) + len(_SIZE))
    except ValueError as error:
        raise DataError(f"{path} holds a cell that is not a number ({error}); preprocess again") from None
    return _fractions(values[:, : len(GEOMETRY)], values[:, len(GEOMETRY) :])


def measure_pairs(index: PairIndex) -> Measured:
    """Measure geometry and colours of the pairs, at their stored size; every file is decoded once.

    Of cut-outs the mask is found from both, so that what JPEG leaves beside the roi does not count. Histograms have
    8×8×8 bins over red, green and blue and sum to 1 before the square root, which makes distances between them
    Hellinger's. A roi without a pixel that is not black has zeros throughout.

    Raises:
        DataError: a file cannot be read, or has another size than was listed.
    """
    by_photo = np.argsort(index.photo_codes(), kind="stable")
    photos = np.split(by_photo, np.flatnonzero(np.diff(index.photo_codes()[by_photo])) + 1)
    # Decoding leaves Python's lock, but Pillow's warnings, which whole photos are read with, know no threads.
    cut_outs = index.masked and index.archive is None
    with ThreadPoolExecutor(available_cores() if cut_outs else 1) as pool:
        measured = pool.map(partial(_measure_photo, index), photos)
        # A bar where somebody watches.
        bar = tqdm(measured, total=len(photos), desc=f"colours of {index.split}", unit=" photos", disable=None)
        parts = [part for of_photo in bar for part in of_photo]
    boxes, bins, shares = zip(*(parts[place] for place in np.argsort(by_photo)), strict=True)
    geometry = _fractions(np.array(boxes, dtype=np.float64), index.size.astype(np.float64))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in bins])])
    colour = sparse.csr_array((np.concatenate(shares), np.concatenate(bins), starts), shape=(len(index), BINS**3))
    return Measured(geometry, colour)


def _measure_photo(index: PairIndex, rows: NDArray[np.int64]) -> list[_Part]:
    """Return for some pairs area fraction and box in pixels, occupied bins, and square roots of their shares."""
    parts = []
    for stored in open_reader(index).read(rows.tolist()):
        counts = colour_counts(stored.pictures["roi"], stored.mask)
        occupied = np.flatnonzero(counts)
        shares = np.sqrt(counts[occupied] / max(1, counts.sum()), dtype=np.float64).astype(np.float32)
        parts.append((_box(stored.mask), occupied, shares))
    return parts


def colour_counts(picture: Photo, mask: Mask) -> NDArray[np.int64]:
    """Count the pixels inside the mask by colour, in 8×8×8 bins.

    Args:
        picture: uint8 3×H×W, RGB.
        mask: bool H×W.

    Returns:
        int64 512; bin ``64 r + 8 g + b`` for channels in ``32 r .. 32 r + 31`` and so on.
    """
    red, green, blue = (picture[:, mask] // (256 // BINS)).astype(np.int64)
    return np.bincount((red * BINS + green) * BINS + blue, minlength=BINS**3)


def _box(mask: Mask) -> Sequence[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    left, top = float(columns[0]), float(rows[0])
    return float(mask.mean()), left, top, columns[-1] + 1 - left, rows[-1] + 1 - top


def _fractions(boxes: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide boxes in pixels by the cut-outs' width and height (N×2)."""
    boxes = boxes.copy()
    boxes[:, _HORIZONTAL] /= size[:, :1]
    boxes[:, _VERTICAL] /= size[:, 1:]
    return boxes
