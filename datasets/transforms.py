"""Pictures of one pair as NumPy arrays: decode, find the mask, put together, resize, letterbox, cut.

Photos are uint8 3×H×W (RGB, 0..255) as a batch wants them, masks bool H×W (true in the region of interest).
``datasets.cutouts`` does the same for preprocessing in H×W×3 and without torch.
"""

import io
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from datasets.cutouts import content_size
from utils.batch import Interpolation
from utils.errors import DataError

Photo = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BARS = {"black": 0, "grey": 125}
JPEG_SUFFIXES = (".jpg", ".jpeg")
_TORCHVISION_PLACE = re.compile(r"^.*\.cpp:\d+, ")  # where torchvision was compiled means nothing to a user
_INTERPOLATION = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


class ContentBox(NamedTuple):
    """Where the picture lies inside the letterbox, in pixels from the top-left corner."""

    left: int
    top: int
    width: int
    height: int


def read_rgb(path: Path) -> Photo:
    """Decode a stored cut-out to uint8 3×H×W, turned as its EXIF block says; greyscale is repeated in 3 channels.

    Raises:
        DataError: where the file is missing, damaged or cut short, or where it has transparent pixels (whose colour
            would show what the cut-out is meant to hide); the message starts with the path.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
        if not encoded.size:
            raise DataError(f"{path} has 0 bytes; make the pair again, or remove both files")
        picture = decode_image(torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True)
        transparent = path.suffix.lower() not in JPEG_SUFFIXES and _is_transparent(encoded.tobytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); restore it, or preprocess again") from None
    except RuntimeError as error:
        reason = _TORCHVISION_PLACE.sub("", str(error).splitlines()[0])
        raise DataError(f"{path} cannot be decoded ({reason}); restore the file, or make the pair again") from None
    if transparent:
        raise DataError(f"{path} has transparent pixels; save it without an alpha channel, black where it was cut")
    if picture.dtype != torch.uint8:
        picture = functional.to_dtype(picture, torch.uint8, scale=True)
    return np.ascontiguousarray(picture.numpy())


def _is_transparent(data: bytes) -> bool:
    """Say whether any pixel is; Pillow reads the header alone unless there is an alpha channel or a colour key."""
    with Image.open(io.BytesIO(data)) as image:
        return image.has_transparency_data and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def recover_mask(roi: Photo, extra_roi: Photo) -> Mask:
    """Find the H×W mask of a stored pair: true where the roi's channel sum is larger than the extra-roi's.

    Black pixels of the photo count as outside, where they change neither view. JPEG at quality 95 and 4:4:4
    misplaces about 1 pixel in 100,000, a lossless format none but the black ones.
    """
    difference = roi.astype(np.int16)
    difference -= extra_roi
    total = difference[0]
    total += difference[1]
    total += difference[2]
    inside: Mask = total > 0
    return inside


def compose(roi: Photo, extra_roi: Photo, mask: Mask) -> Photo:
    """Put the photo together: the roi where the mask is true, the extra-roi elsewhere."""
    photo: Photo = roi * mask
    photo += extra_roi * ~mask
    return photo


def letterbox_box(width: int, height: int, side: int) -> ContentBox:
    """Place a picture in a square: the longer side becomes ``side``, the shorter keeps the aspect ratio (at least 1).

    The picture is centred; the odd pixel of the bars goes left and top.
    """
    new_width, new_height = content_size(width, height, side)
    return ContentBox((side - new_width + 1) // 2, (side - new_height + 1) // 2, new_width, new_height)


def resize_pair(photo: Photo, mask: Mask, side: int, interpolation: Interpolation) -> tuple[Photo, Mask]:
    """Resize a photo (antialiased) and its mask (nearest neighbour) so that the longer side becomes ``side`` pixels.

    This comes before cutting: cutting first would mix black into the border. A pair that fits is returned as it is.
    """
    height, width = mask.shape
    new_width, new_height = content_size(width, height, side)
    if (new_width, new_height) == (width, height):
        return photo, mask
    resized = functional.resize(
        torch.from_numpy(photo), [new_height, new_width], interpolation=_INTERPOLATION[interpolation], antialias=True
    )
    return resized.numpy(), mask[_nearest(height, new_height)][:, _nearest(width, new_width)]


def _nearest(old: int, new: int) -> NDArray[np.integer[Any]]:
    """Return the input pixel under the centre of each output pixel, in integers, as preprocessing does."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def paint_bars(canvas: Photo, box: ContentBox, bars: Literal["black", "grey"]) -> Photo:
    """Paint a canvas (3×S×S) outside the content box and return the part inside it, as a view."""
    level = BARS[bars]
    right, bottom = box.left + box.width, box.top + box.height
    canvas[:, : box.top] = level
    canvas[:, bottom:] = level
    canvas[:, box.top : bottom, : box.left] = level
    canvas[:, box.top : bottom, right:] = level
    return canvas[:, box.top : bottom, box.left : right]
