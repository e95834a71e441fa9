"""Size and fingerprint of a photo's file from a few of its bytes, so that many are listed and none is decoded.

Never imports torch.
"""

import hashlib
import os
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from datasets.decode import EXIF_ORIENTATION, QUARTER_TURNS, read_photo_header, refuse_floats
from datasets.picture_size import READABLE, PixelLimit
from utils.errors import DataError

_SAMPLE = 4096  # bytes that are read of each part of a file
_CHUNK_HEAD = struct.Struct(">I4s")  # of PNG: length, kind
_PNG_START, _CRC = 8, 4
_UNCOMPRESSED = ("BMP", "TIFF")  # files of one length may differ anywhere


class PhotoFile(NamedTuple):
    """Upright (width, height) in pixels, and 16 bytes that stand for the file's content."""

    size: tuple[int, int]
    digest: bytes


def read_photo_files(paths: Iterable[Path], limit: PixelLimit) -> Iterator[PhotoFile | DataError]:
    """Yield what is read of each file, or what is wrong with it, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            try:
                yield _read(path, limit)
            except DataError as error:
                yield error


def _read(path: Path, limit: PixelLimit) -> PhotoFile:
    """Return what ``decode_photo`` would find in a file, and its digest.

    The digest is over length, first, middle and last bytes, or all where pictures are not compressed: another copy has
    the same, and a picture that was edited, saved again or replaced has another length, or other bytes in the end.
    """
    try:
        with path.open("rb", buffering=0) as file:
            image = _open(file, path, limit)
            size = image.size[::-1] if _orientation(image, file) in QUARTER_TURNS else image.size
            refuse_floats(image, str(path))
            if image.format == "TIFF":  # Pillow turns those by itself, some versions when they are opened, others later
                file.seek(0)
                size = read_photo_header(file.read(), str(path), limit).size
            return PhotoFile(size, _digest(file, image.format in _UNCOMPRESSED))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); restore it, or remove it") from None


def _open(file: BinaryIO, path: Path, limit: PixelLimit) -> Image.Image:
    try:
        image = Image.open(file, formats=READABLE)
    except Exception as error:  # Pillow raises many types on damaged headers
        reason = f" ({' '.join(str(error).split())})" if isinstance(error, SyntaxError | ValueError) else ""
        raise DataError(f"{path} is no picture that can be read{reason}; copy it again, or remove it") from None
    limit.check(*image.size, str(path))
    return image


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """Return the EXIF orientation as ``decode_photo`` finds it; 1 where there is none or it cannot be read."""
    if image.format == "PNG" and "exif" not in image.info:
        if not _png_has_late_exif(file):
            return 1  # Pillow would decode the picture to look for it
        file.seek(0)
        image = Image.open(file, formats=("PNG",))
    with suppress(Exception):  # the parser raises many types on damaged blocks
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        return orientation if isinstance(orientation, int) else 1
    return 1


def _png_has_late_exif(file: BinaryIO) -> bool:
    """Say whether a PNG states its orientation behind the pixels; only the heads of its chunks are read."""
    position = _PNG_START
    while True:
        file.seek(position)
        head = file.read(_CHUNK_HEAD.size)
        if len(head) < _CHUNK_HEAD.size:
            return False
        length, kind = _CHUNK_HEAD.unpack(head)
        if kind in (b"eXIf", b"IEND"):
            return bool(kind == b"eXIf")
        position += _CHUNK_HEAD.size + length + _CRC


def _digest(file: BinaryIO, whole: bool) -> bytes:
    length = file.seek(0, os.SEEK_END)
    if whole:
        file.seek(0)
        return hashlib.blake2b(file.read(), digest_size=16).digest()
    found = hashlib.blake2b(str(length).encode(), digest_size=16)
    for start in sorted({0, max(0, (length - _SAMPLE) // 2), max(0, length - _SAMPLE)}):
        file.seek(start)
        found.update(file.read(_SAMPLE))
    return found.digest()
