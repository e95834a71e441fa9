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
from datasets.manifest import MANIFEST_FILE, read_columns
from datasets.transforms import Mask, Photo, read_rgb, recover_mask
from datasets.workers import available_cores
from utils.errors import DataError
from utils.metrics import Array

GEOMETRY = ("area_fraction", "box_left", "box_top", "box_width", "box_height")
BINS = 8  # of each colour channel
_HORIZONTAL, _VERTICAL = (1, 3), (2, 4)  # columns of GEOMETRY that are parts of the width and of the height
_SIZE = ("content_width", "content_height")


class Measured(NamedTuple):
    """What a pass over the stored cut-outs yields.

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
    """Return ``GEOMETRY`` of each pair from the tree's manifest, or None where there is none.

    Returns:
        float64 N×5 in 0..1: roi pixels over all pixels of the cut-out; the tight box's left edge and width over the
        cut-out's width, its top edge and height over the cut-out's height.

    Raises:
        DataError: the manifest is damaged or lacks a pair.
    """
    path = index.root / MANIFEST_FILE
    if not path.is_file():
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
    """Measure geometry and colours on the stored cut-outs, at their stored size; every pair is decoded once.

    The mask is found from both cut-outs, so that what JPEG leaves beside the roi does not count. Histograms have
    8×8×8 bins over red, green and blue and sum to 1 before the square root, which makes distances between them
    Hellinger's. A roi without a pixel that is not black has zeros throughout.

    Raises:
        DataError: a cut-out cannot be read, or the two of a pair differ in size.
    """
    with ThreadPoolExecutor(available_cores()) as pool:  # decoding leaves Python's lock
        rows = pool.map(partial(_measure, index), range(len(index)))
        # A bar where somebody watches.
        parts = list(tqdm(rows, total=len(index), desc=f"colours of {index.split}", unit=" pairs", disable=None))
    boxes, bins, shares = zip(*parts, strict=True)
    geometry = _fractions(np.array(boxes, dtype=np.float64), index.size.astype(np.float64))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in bins])])
    colour = sparse.csr_array((np.concatenate(shares), np.concatenate(bins), starts), shape=(len(index), BINS**3))
    return Measured(geometry, colour)


def _measure(index: PairIndex, row: int) -> tuple[Sequence[float], NDArray[np.int64], NDArray[np.float32]]:
    """Return area fraction and box in pixels, the occupied bins and the square roots of their shares."""
    paths = index.paths(row)
    roi, extra_roi = (read_rgb(path) for path in paths)
    if roi.shape != extra_roi.shape:
        sizes = [f"{path} is {x.shape[2]}×{x.shape[1]}" for path, x in zip(paths, (roi, extra_roi), strict=True)]
        raise DataError(f"{' and '.join(sizes)} pixels; the two cut-outs of a pair have one size: preprocess again")
    mask = recover_mask(roi, extra_roi)
    counts = colour_counts(roi, mask)
    occupied = np.flatnonzero(counts)
    shares = np.sqrt(counts[occupied] / max(1, counts.sum()), dtype=np.float64).astype(np.float32)
    return _box(mask), occupied, shares


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
