"""Pictures of one pair as NumPy arrays: decode, find the mask, put together, resize, letterbox, cut.

Photos are uint8 3×H×W (RGB, 0..255), masks bool H×W (true in the region of interest). In memory a photo lies as it
is decoded, pixel by pixel (H×W×3), and so does a batch (channels last): nothing is transposed on the way, and a mask is
applied in that order too, as a *channel mask*. ``datasets.cutouts`` does the same for preprocessing and without torch.
"""

import io
import os
import re
from functools import lru_cache
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
from datasets.decode import EXIF_ORIENTATION, TURNS
from datasets.picture_size import DATA_LIMIT, PixelLimit, check_picture, stored_kind
from utils.batch import Interpolation
from utils.errors import DataError

Photo = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ChannelMask = NDArray[np.uint8]  # H×W×3: 1 in the region of interest, 0 elsewhere, alike in the three channels

BARS = {"black": 0, "grey": 125}
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


def read_rgb(path: str | Path, limit: PixelLimit = DATA_LIMIT) -> Photo:
    """Decode a stored cut-out to uint8 3×H×W, turned as its EXIF block says; greyscale is repeated in 3 channels.

    Raises:
        DataError: where the file is missing, damaged, cut short, larger than ``limit`` or neither JPEG, PNG nor WebP,
            whatever its name says, or where it has transparent pixels (whose colour would show what the cut-out is
            meant to hide); the message starts with the path.
    """
    try:
        encoded = _read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); restore it, or preprocess again") from None
    if not encoded.size:
        raise DataError(f"{path} has 0 bytes; make the pair again, or remove both files")
    kind = stored_kind(encoded, str(path))
    check_picture(encoded, limit, str(path))
    try:
        if kind == "PNG":
            return _planes(_decode_png(encoded.tobytes(), str(path), limit))
        picture = decode_image(torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True)
        transparent = kind == "WEBP" and _is_transparent(encoded.tobytes())
    except DataError:
        raise
    except Exception as error:  # torchvision's decoders and Pillow raise several types on damaged files
        reason = _TORCHVISION_PLACE.sub("", (str(error).splitlines() or [type(error).__name__])[0])
        raise DataError(f"{path} cannot be decoded ({reason}); restore the file, or make the pair again") from None
    if transparent:
        raise _transparent_pixels(str(path))
    if picture.dtype != torch.uint8:
        picture = functional.to_dtype(picture, torch.uint8, scale=True)
    return _planes(_pixels(picture.numpy()))


def _decode_png(data: bytes, path: str, limit: PixelLimit) -> NDArray[np.uint8]:
    """Decode a PNG to H×W×3 in Pillow, since torchvision's decoder ends the whole process where one is damaged."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        limit.check(*image.size, path)  # of several headers, Pillow believes the last
        image.load()
        if _shows_through(image):
            raise _transparent_pixels(path)
        orientation = image.getexif().get(EXIF_ORIENTATION)
        if image.mode.startswith("I"):  # grey of 16 bits, of which torchvision keeps the upper 8
            upper = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
            rgb = upper.convert("RGB")
        else:
            rgb = image.convert("RGB")
    return np.array(rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb)


def _transparent_pixels(path: str) -> DataError:
    return DataError(f"{path} has transparent pixels; save it without an alpha channel, black where it was cut")


def _shows_through(image: Image.Image) -> bool:
    return image.has_transparency_data and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def _read(path: str | Path) -> NDArray[np.uint8]:
    """Read a file whole, in half the time of NumPy's own function, which asks the system more often."""
    with io.FileIO(path) as file:
        encoded = np.empty(os.fstat(file.fileno()).st_size, dtype=np.uint8)
        return encoded[: file.readinto(encoded.data)]


def _is_transparent(data: bytes) -> bool:
    """Say whether any pixel is; Pillow reads the header alone unless there is an alpha channel or a colour key."""
    with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
        return _shows_through(image)


class MaskFinder:
    """Finds the masks of stored pairs, one after the other. Not for several threads.

    It keeps its working memory from pair to pair, and goes through a pair in parts for which that memory stays in a
    core's cache: memory costs more here than arithmetic.
    """

    _AT_ONCE = 3 * 8192  # values, of whole pixels

    def __init__(self) -> None:
        self._difference, self._sum = np.zeros((2, self._AT_ONCE), dtype=np.int16)
        self._larger = np.zeros(self._AT_ONCE + 2, dtype=np.uint8)  # two values before the first, which stay 0
        self._first_channel = np.resize(np.array([1, 0, 0], dtype=np.uint8), self._AT_ONCE)
        self._whole_part = self._part(self._AT_ONCE)

    def find(self, roi: Photo, extra_roi: Photo) -> ChannelMask:
        """Find the channel mask of a stored pair: inside, the roi's channel sum is larger than the extra-roi's.

        Black pixels of the photo count as outside, where they change neither view. JPEG at quality 95 and 4:4:4
        misplaces about 1 pixel in 100,000, a lossless format none but the black ones.
        """
        pixels, others = _pixels(roi), _pixels(extra_roi)
        inside = np.empty(pixels.shape, dtype=np.uint8)
        flat = pixels.reshape(-1), others.reshape(-1), inside.reshape(-1)
        for start in range(0, inside.size, self._AT_ONCE):
            self._find(*(values[start : start + self._AT_ONCE] for values in flat))
        return inside

    def _find(self, pixels: NDArray[np.uint8], others: NDArray[np.uint8], inside: NDArray[np.uint8]) -> None:
        part = self._whole_part if inside.size == self._AT_ONCE else self._part(inside.size)
        difference, first, second, third, total, sums, larger, before, before_that, first_channel = part
        np.copyto(difference, pixels)
        np.subtract(difference, others, out=difference)
        # Sums of three neighbours, of which only those that begin at a first channel belong to one pixel: simple
        # passes over memory are several times faster than every third value.
        np.add(first, second, out=sums)
        np.add(sums, third, out=sums)
        np.greater(total, 0, out=larger.view(np.bool_))
        np.bitwise_and(larger, first_channel, out=larger)
        np.bitwise_or(larger, before, out=inside)
        np.bitwise_or(inside, before_that, out=inside)

    def _part(self, count: int) -> tuple[NDArray[Any], ...]:
        """Return the working memory of some values in the slices that ``_find`` uses; slicing takes its time, too."""
        difference, total, larger = self._difference[:count], self._sum[:count], self._larger[: count + 2]
        shifted = difference[:-2], difference[1:-1], difference[2:]
        return (
            difference,
            *shifted,
            total,
            total[:-2],
            larger[2:],
            larger[1:-1],
            larger[:-2],
            self._first_channel[:count],
        )


def recover_mask(roi: Photo, extra_roi: Photo) -> Mask:
    """Return the H×W mask of one stored pair, as ``MaskFinder`` does."""
    return plain_mask(MaskFinder().find(roi, extra_roi))


def plain_mask(inside: ChannelMask) -> Mask:
    """Return the H×W mask of a channel mask, in the same memory."""
    return inside[:, :, 0].view(np.bool_)


def channel_mask(mask: Mask) -> ChannelMask:
    """Repeat an H×W mask for the three channels."""
    starts = np.zeros(mask.size * 3 + 2, dtype=np.uint8)
    starts[2::3] = mask.reshape(-1)
    inside = starts[2:] | starts[1:-1]
    inside |= starts[:-2]
    return inside.reshape(*mask.shape, 3)


def compose(roi: Photo, extra_roi: Photo, inside: ChannelMask) -> Photo:
    """Put the photo together: the roi where the mask is true, the extra-roi elsewhere."""
    photo = _pixels(roi) * inside
    photo |= _pixels(extra_roi) & (inside - 1)  # 255 where it is 0
    return _planes(photo)


def cut_into(canvas: Photo, picture: Photo, inside: ChannelMask, view: str) -> None:
    """Write a picture into a canvas of its size, 0 outside the view's own side of the mask."""
    if view == "photo":
        canvas[...] = picture
    elif view == "roi":
        np.multiply(picture.transpose(1, 2, 0), inside, out=canvas.transpose(1, 2, 0))
    else:
        np.bitwise_and(picture.transpose(1, 2, 0), inside - 1, out=canvas.transpose(1, 2, 0))  # 255 where it is 0


def _pixels(picture: Photo) -> NDArray[np.uint8]:
    """Return a picture as contiguous H×W×3, which costs nothing where it was decoded that way."""
    return np.ascontiguousarray(picture.transpose(1, 2, 0))


def _planes(pixels: NDArray[np.uint8]) -> Photo:
    """Return H×W×3 pixels as 3×H×W in the same memory."""
    return pixels.transpose(2, 0, 1)


@lru_cache(maxsize=4096)
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
    bars_around = (
        canvas[:, : box.top],
        canvas[:, bottom:],
        canvas[:, box.top : bottom, : box.left],
        canvas[:, box.top : bottom, right:],
    )
    for bar in bars_around:
        if bar.size:
            bar[...] = level
    return canvas[:, box.top : bottom, box.left : right]
