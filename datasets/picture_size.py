"""How large a picture is, read from its first bytes, so that none is decoded that would fill the memory.

Never imports torch.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from utils.errors import DataError

# Pillow asks for one limit in all programs and only warns at half of it; the limit here stands before every decoding.
Image.MAX_IMAGE_PIXELS = None
# What photos and masks come in; JPEG includes MPO, several pictures in one file. Pillow knows other formats, some of
# which start programs (EPS).
READABLE = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # markers of JPEG between C0 and CF that hold no size
_ALONE = (0x01, *range(0xD0, 0xD9))  # those without a length


@dataclass(frozen=True)
class PixelLimit:
    """The largest picture that is decoded.

    Attributes:
        megapixels: million pixels.
        option: what the user calls it.
    """

    megapixels: float = 180.0
    option: str = "--max_megapixels"

    def check(self, width: int, height: int, name: str) -> None:
        """Raise a ``DataError`` that starts with ``name`` where a picture is larger."""
        if width * height > self.megapixels * 1e6:
            raise DataError(
                f"{name}: the picture has {width}×{height} pixels, more than {self.option} {self.megapixels:g} "
                f"million; make it smaller, or raise that limit"
            )


PREPROCESSING_LIMIT = PixelLimit()
DATA_LIMIT = PixelLimit(option="data.max_megapixels")


def check_picture(data: NDArray[np.uint8], limit: PixelLimit, name: str) -> None:
    """Refuse the bytes of a JPEG, PNG, WebP or GIF file whose header states too many pixels.

    Raises:
        DataError: where it is too large; the message starts with ``name``. Nothing where no size is found, which its
            decoder will say.
    """
    size = _stated_size(data)
    if size is not None:
        limit.check(*size, name)


def _stated_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    start = data[:32].tobytes()
    if start.startswith(b"\xff\xd8"):
        return _jpeg_size(data.data)
    if start.startswith(b"\x89PNG") and len(start) >= 24:
        width, height = struct.unpack(">II", start[16:24])
        return width, height
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP" and len(start) >= 30:
        return _webp_size(start)
    if start[:3] == b"GIF":
        return _size_in_pillow(data.tobytes())
    return None


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Walk through the segments as libjpeg does, which passes over stray bytes between them."""
    position, end = 2, len(data)
    while 0 <= position < end - 9:
        if data[position] != 0xFF:
            position = bytes(data).find(b"\xff", position)
            continue
        marker = data[position + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    return None


def _webp_size(start: bytes) -> tuple[int, int] | None:
    kind = start[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", start[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _size_in_pillow(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data), formats=READABLE) as image:
            return image.size
    except Exception:  # Pillow raises many types; the decoder will say what is wrong
        return None


def open_picture(data: bytes, name: str, limit: PixelLimit) -> Image.Image:
    """Open a picture in Pillow without decoding it.

    Raises:
        DataError: where the file is empty, too large or no picture; the message starts with ``name``.
    """
    if not data:
        raise DataError(f"{name}: the file is empty (0 bytes); copy it again")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=READABLE)
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a picture that Pillow can read; save it as JPEG or PNG") from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise damaged(name, error) from None
    limit.check(*image.size, name)
    return image


def read_pixels(image: Image.Image, name: str) -> None:
    """Decode an open picture; a ``DataError`` that starts with ``name`` where it is damaged."""
    try:
        image.load()
    except Exception as error:  # as above
        raise damaged(name, error) from None


def damaged(name: str, error: Exception) -> DataError:
    """Return the error of a file whose decoder gave up."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{name}: damaged or cut short ({reason}); copy it again")
