"""One stored pair, decoded and looked at: the task of a checking worker. Never imports torch."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from datasets.cutouts import Photo
from datasets.decode import decode_photo
from datasets.doctor.counts import pixels_at_model
from datasets.doctor.near_duplicates import PhotoMark, mark_photo
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from utils.errors import DataError

# Mean of JPEG's standard luminance table (ITU-T T.81, Annex K), which quality 50 uses as it is.
_STANDARD_STEP = 57.625
# Largest part of a pair's pixels that may be wrong before it is reported.
TOLERATED = 0.001


@dataclass(frozen=True)
class StoredPair:
    """A pair to look at.

    Attributes:
        roi: its roi's file.
        extra_roi: its extra-roi's file.
        size: (width, height) in pixels, where a manifest has it.
        box: (left, top, width, height) of the roi, where a manifest has it.
        area: pixels of the roi, where a manifest has them; JPEG hides the roi of a dark picture.
        marked: whether to say what the whole photo looks like.
    """

    roi: Path
    extra_roi: Path
    size: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    area: int | None = None
    marked: bool = False


@dataclass
class PairSeen:
    """What a pair showed.

    Attributes:
        pair: which.
        problems: everything that is wrong with its pictures, one line each; the rest is only known without any.
        roi_pixels: of the roi, at the size that a model sees.
        empty: whether the roi has no pixel.
        whole: whether the roi is the whole photo.
        mark: what the photo looks like, where it was asked for.
    """

    pair: StoredPair
    problems: list[str] = field(default_factory=list)
    roi_pixels: float = 0.0
    empty: bool = False
    whole: bool = False
    mark: PhotoMark | None = None


_limit = PREPROCESSING_LIMIT


def start_checking(limit: PixelLimit) -> None:
    """Prepare this process for ``check_pair``: the largest picture that is decoded."""
    global _limit  # noqa: PLW0603  # a worker process serves one check; its tasks stay small this way
    _limit = limit


def check_pair(pair: StoredPair) -> PairSeen:
    """Look at a pair's pictures."""
    seen = PairSeen(pair)
    views: list[Photo] = []
    noise = 0.0
    for path in (pair.roi, pair.extra_roi):
        try:
            data = path.read_bytes()
            if not data:  # the listing has reported it
                continue
            views.append(np.asarray(decode_photo(data, str(path), _limit).image))
            noise = max(noise, jpeg_noise(path))
        except DataError as error:
            seen.problems.append(f"{error}, or preprocess again")
        except OSError as error:
            seen.problems.append(f"{path} cannot be read ({error.strerror}); check its permissions and the disk")
    if len(views) == 2:
        _compare(seen, views[0], views[1], noise)
    return seen


def _compare(seen: PairSeen, roi: Photo, extra_roi: Photo, noise: float) -> None:
    pair, width, height = seen.pair, roi.shape[1], roi.shape[0]
    if roi.shape != extra_roi.shape:
        seen.problems.append(
            f"{pair.roi} is {_size(roi)} pixels, but {pair.extra_roi} is {_size(extra_roi)}; "
            f"both halves have one size: preprocess again"
        )
        return
    if pair.size is not None and (width, height) != pair.size:
        seen.problems.append(
            f"{pair.roi} is {_size(roi)} pixels, but the manifest says {pair.size[0]}×{pair.size[1]}; preprocess again"
        )
        return
    inside, outside = (view.sum(axis=2, dtype=np.int32) for view in (roi, extra_roi))
    overlap = float(np.mean(np.minimum(inside, outside) > noise))
    mask = inside > outside + noise
    if overlap > (TOLERATED if noise else 0):
        seen.problems.append(
            f"{pair.roi} and {pair.extra_roi} overlap in {100 * overlap:.2f} % of the pixels; they are not the two "
            f"sides of one mask: preprocess again"
        )
        return
    if pair.box is not None and _outside_box(mask, pair.box) > TOLERATED:
        seen.problems.append(f"{pair.roi} reaches out of its box in the manifest {pair.box}; preprocess again")
        return
    area = int(np.count_nonzero(inside > outside)) if pair.area is None else pair.area
    seen.empty = not (inside > noise).any() if pair.area is None else area == 0
    seen.whole = not (outside > noise).any() if pair.area is None else area == width * height
    seen.roi_pixels = pixels_at_model(area, width, height)
    if pair.marked:
        photo = np.minimum(roi.astype(np.uint16) + extra_roi, 255).astype(np.uint8)
        seen.mark = mark_photo(Image.fromarray(photo))


def jpeg_noise(path: Path) -> float:
    """Return how bright (sum of three channels, 0..765) JPEG may leave a pixel that was cut out; 0 without loss.

    The ringing grows with the quantisation step. On 2,229 + 25 real pairs at qualities 30 to 100 it stayed under 3.4
    times the step's percentage of the standard table, with or without chroma subsampling at quality 75 and above;
    the bound is 16 + 6 times, so that only a wrong pair exceeds it.
    """
    with Image.open(path) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return 0.0
        step = float(np.mean(image.quantization[0]))
    return 16 + 6 * 100 * step / _STANDARD_STEP


def _outside_box(mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> float:
    left, top, width, height = box
    inside = np.count_nonzero(mask[top : top + height, left : left + width])
    return (int(np.count_nonzero(mask)) - int(inside)) / mask.size


def _size(view: Photo) -> str:
    return f"{view.shape[1]}×{view.shape[0]}"
