"""How large a picture is, read from its first bytes, so that none is decoded that would fill the memory.

Never imports torch.
"""

import io
import struct
from dataclasses import dataclass
from typing import Literal, get_args

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
_MOST_MARKERS = 65_536  # cameras and programs write fewer than a thousand
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
StoredKind = Literal["JPEG", "PNG", "WEBP"]
STORED_KINDS: tuple[StoredKind, ...] = get_args(StoredKind)


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
    """Refuse the bytes of a JPEG, PNG or WebP file whose header states too many pixels.

    Raises:
        DataError: where it is too large, or its header does not end; the message starts with ``name``. Nothing where
            no size is found, which its decoder will say.
    """
    size = _stated_size(data, name)
    if size is not None:
        limit.check(*size, name)


def stored_kind(data: NDArray[np.uint8], name: str) -> StoredKind:
    """Return what a stored cut-out is by its first bytes; a ``DataError`` that starts with ``name`` for all else."""
    start = data[:12].tobytes()
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG"):
        return "PNG"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WEBP"
    raise DataError(
        f"{name} cannot be decoded (its first bytes are not those of a JPEG, PNG or WebP file); restore the file, or "
        f"make the pair again"
    )


def _stated_size(data: NDArray[np.uint8], name: str) -> tuple[int, int] | None:
    start = data[:32].tobytes()
    if start.startswith(b"\xff\xd8"):
        return _jpeg_size(data, name)
    if start.startswith(b"\x89PNG") and len(start) >= 24:
        width, height = struct.unpack(">II", start[16:24])
        return width, height
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP" and len(start) >= 30:
        return _webp_size(start)
    return None


def _jpeg_size(data: NDArray[np.uint8], name: str) -> tuple[int, int] | None:
    """Walk through the segments as libjpeg does, which passes over stray bytes between them."""
    view, position, end = data.data, 2, len(data)
    whole: bytes | None = None
    for _ in range(_MOST_MARKERS):
        if not 0 <= position < end - 9:
            return None
        if view[position] != 0xFF:
            whole = data.tobytes() if whole is None else whole  # once for all searches
            position = whole.find(b"\xff", position)
            continue
        marker = view[position + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", view[position + 5 : position + 9])
            return width, height
        else:
            position += 2 + (view[position + 2] << 8 | view[position + 3])
    raise DataError(
        f"{name} cannot be decoded (more than {_MOST_MARKERS:,} markers before its size); restore the file, or make "
        f"the pair again"
    )


def _webp_size(start: bytes) -> tuple[int, int] | None:
    kind = start[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", start[26:30])
    return width & 0x3FFF, height & 0x3FFF


def open_picture(data: bytes, name: str, limit: PixelLimit) -> Image.Image:
    """Open a picture in Pillow without decoding it; of several frames or pages, the first.

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
    if image.format == "TIFF":  # a tile is decoded whole, however small the picture is
        limit.check(_number(image, _TILE_WIDTH), _number(image, _TILE_HEIGHT), name)
    return image


def _number(image: Image.Image, tag: int) -> int:
    tags = getattr(image, "tag_v2", {})
    value = tags.get(tag, 1)
    return value if isinstance(value, int) else 1


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
