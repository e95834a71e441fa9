"""Picture files in, arrays out: any photo becomes upright RGB, any mask becomes label ids. Never imports torch."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit, open_picture, read_pixels
from utils.errors import DataError

Labels = NDArray[np.integer[Any]]
MaskOrientation = Literal["stored", "upright"]

EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True)
class DecodedPhoto:
    """An upright RGB photo and how its file stored it.

    Attributes:
        image: the photo, turned as its EXIF block says.
        orientation: EXIF orientation 1..8; 1 where the file says none.
        stored_size: (width, height) before turning, in pixels.
        damaged_exif: true where the EXIF block cannot be read, so that the photo was taken as upright.
    """

    image: Image.Image
    orientation: int
    stored_size: tuple[int, int]
    damaged_exif: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Upright (width, height) in pixels."""
        return self.image.size


@dataclass(frozen=True)
class PhotoHeader:
    """How a photo's file stores it, and its upright (width, height) in pixels; else as ``DecodedPhoto``."""

    size: tuple[int, int]
    orientation: int
    stored_size: tuple[int, int]
    damaged_exif: bool = False


def decode_photo(data: bytes, name: str, limit: PixelLimit = PREPROCESSING_LIMIT) -> DecodedPhoto:
    """Decode a photo of any mode to upright 8-bit RGB; ``limit`` is the largest that is decoded.

    Greyscale is repeated in three channels, 16 bits are scaled to 8, transparent pixels are laid over white, and
    colour profiles are ignored, as torchvision does.

    Raises:
        DataError: where the file is empty, truncated, too large or no picture; the message starts with ``name``.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = _load(data, name, limit)
        stored_size = image.size
        orientation, readable = _orientation(image)
        rgb = _to_rgb(image, name)
    if orientation in TURNS:
        rgb = rgb.transpose(TURNS[orientation])
    damaged = not readable or any("exif" in str(warning.message).lower() for warning in caught)
    return DecodedPhoto(rgb, orientation, stored_size, damaged)


def read_photo_header(data: bytes, name: str, limit: PixelLimit = PREPROCESSING_LIMIT) -> PhotoHeader:
    """Read what ``decode_photo`` would find out of a file, without decoding the pixels of a JPEG.

    Raises:
        DataError: where the file is empty, too large or no picture; the message starts with ``name``.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = open_picture(data, name, limit)
        if image.format not in ("JPEG", "MPO"):  # other formats may tell the orientation behind the pixels
            read_pixels(image, name)
        orientation, readable = _orientation(image)
    width, height = image.size
    damaged = not readable or any("exif" in str(warning.message).lower() for warning in caught)
    size = (height, width) if orientation in QUARTER_TURNS else (width, height)
    return PhotoHeader(size, orientation, image.size, damaged)


def decode_labels(data: bytes, name: str, limit: PixelLimit = PREPROCESSING_LIMIT) -> Labels:
    """Decode a mask to H×W label ids; ``limit`` is the largest that is decoded.

    Palette masks give their indices, not their colours; colour masks are read only if their channels are equal.

    Raises:
        DataError: where the file cannot be read or holds no label ids; the message starts with ``name``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _load(data, name, limit)
        orientation, _ = _orientation(image)
    if orientation in TURNS:
        raise DataError(f"{name}: the mask has an EXIF orientation of its own ({orientation}); save it without one")
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    pixels = np.asarray(image)
    if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
        return pixels.astype(np.uint8) if image.mode == "1" else pixels
    if image.mode in ("RGB", "RGBA"):
        first: Labels = pixels[..., 0]
        if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
            return np.ascontiguousarray(first)
        raise DataError(
            f"{name}: the mask is a colour picture; a mask holds one class id per pixel "
            f"(greyscale, palette, or colour with three equal channels)"
        )
    raise DataError(f"{name}: the mask has pixels of type '{image.mode}'; save class ids as an 8-bit or 16-bit PNG")


def align_labels(
    labels: Labels,
    photo: DecodedPhoto | PhotoHeader,
    orientation: MaskOrientation | None,
    photo_name: str,
    mask_name: str,
    option: str = "--mask_orientation",
) -> Labels:
    """Turn H×W label ids so that they lie on the upright photo.

    ``orientation`` decides only where the mask's size fits the photo both as stored and upright; ``option`` is what
    the user calls it.

    Raises:
        DataError: where the sizes do not fit, naming both files, or where both fit and ``orientation`` is None.
    """
    size = (labels.shape[1], labels.shape[0])
    upright_size = photo.size
    fits_stored, fits_upright = size == photo.stored_size, size == upright_size
    if not fits_stored and not fits_upright:
        raise DataError(
            f"{mask_name} is {size[0]}×{size[1]} pixels, but its photo {photo_name} is "
            f"{upright_size[0]}×{upright_size[1]}; a mask has its photo's size"
        )
    if photo.orientation not in TURNS:
        return labels
    if fits_stored and fits_upright:
        if orientation is None:
            raise DataError(
                f"{photo_name} is turned by its EXIF block (orientation {photo.orientation}), and {mask_name} fits "
                f"before and after; say which with {option} stored (drawn on the pixels as stored) or "
                f"upright (drawn on the photo as seen)"
            )
        fits_stored = orientation == "stored"
    return _turned(labels, photo.orientation) if fits_stored else labels


def _turned(labels: Labels, orientation: int) -> Labels:
    """Turn an H×W array as ``TURNS`` turns a picture, for ids that need more than 8 bits as well."""
    turned = {
        2: lambda: labels[:, ::-1],
        3: lambda: labels[::-1, ::-1],
        4: lambda: labels[::-1],
        5: lambda: labels.T,
        6: lambda: labels[::-1].T,
        7: lambda: labels[::-1, ::-1].T,
        8: lambda: labels[:, ::-1].T,
    }[orientation]()
    return np.ascontiguousarray(turned)


def _load(data: bytes, name: str, limit: PixelLimit) -> Image.Image:
    image = open_picture(data, name, limit)
    read_pixels(image, name)
    return image


def _orientation(image: Image.Image) -> tuple[int, bool]:
    """Return the EXIF orientation, 1 where there is none, and whether the EXIF block could be read."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # the parser raises many types on damaged blocks; the caller reports it
        return 1, False
    return (value, True) if value in TURNS else (1, True)


def refuse_floats(image: Image.Image, name: str) -> None:
    """Raise a ``DataError`` that starts with ``name`` where pixels are numbers without a known range."""
    if image.mode == "F":
        raise DataError(f"{name}: pixels are floating-point numbers; save the photo with 8 bits a channel")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(f"{name}: grey values outside 0..65535; save the photo with 8 bits a channel")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    refuse_floats(image, name)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
