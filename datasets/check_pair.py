"""One stored pair, decoded and looked at: the task of a checking worker. Never imports torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from datasets.cutouts import Photo
from datasets.decode import decode_photo
from utils.errors import DataError

# Mean of JPEG's standard luminance table (ITU-T T.81, Annex K), which quality 50 uses as it is.
_STANDARD_STEP = 57.625
# Largest part of a pair's pixels that may be wrong before it is reported.
TOLERATED = 0.001


@dataclass(frozen=True)
class StoredPair:
    """A pair to look at: its two files, and size and box (left, top, width, height) where a manifest has them."""

    roi: Path
    extra_roi: Path
    size: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None


def check_pair(pair: StoredPair) -> list[str]:
    """Return everything that is wrong with a pair's pictures."""
    problems: list[str] = []
    views: list[Photo] = []
    noise = 0.0
    for path in (pair.roi, pair.extra_roi):
        try:
            data = path.read_bytes()
            if not data:  # the listing has reported it
                continue
            views.append(np.asarray(decode_photo(data, str(path)).image))
            noise = max(noise, jpeg_noise(path))
        except DataError as error:
            problems.append(f"{error}, or preprocess again")
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror}); check its permissions and the disk")
    if len(views) < 2:
        return problems
    roi, extra_roi = views
    if roi.shape != extra_roi.shape:
        return [
            f"{pair.roi} is {_size(roi)} pixels, but {pair.extra_roi} is {_size(extra_roi)}; "
            f"both halves have one size: preprocess again"
        ]
    if pair.size is not None and (roi.shape[1], roi.shape[0]) != pair.size:
        return [f"{pair.roi} is {_size(roi)} pixels, but the manifest says {pair.size[0]}×{pair.size[1]}"]
    inside, outside = (view.sum(axis=2, dtype=np.int32) for view in views)
    overlap = float(np.mean(np.minimum(inside, outside) > noise))
    if overlap > (TOLERATED if noise else 0):
        problems.append(
            f"{pair.roi} and {pair.extra_roi} overlap in {100 * overlap:.2f} % of the pixels; they are not the two "
            f"sides of one mask: preprocess again"
        )
    elif pair.box is not None and _outside_box(inside > outside + noise, pair.box) > TOLERATED:
        problems.append(f"{pair.roi} reaches out of its box in the manifest {pair.box}; preprocess again")
    return problems


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


def nothing_to_set_up() -> None:
    """Stand in for the set-up of a worker that needs none."""
