"""A photo's header tells what decoding the whole photo would."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from datasets.decode import decode_photo, read_photo_header
from utils.errors import DataError

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
TORN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0"


def encoded(picture_format: str, image: Image.Image = PHOTO, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def with_late_exif(orientation: int) -> bytes:
    """A PNG whose EXIF block comes after the pixels, as the format allows."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    data = encoded("PNG")
    return data[:-12] + chunk + data[-12:]


def photos() -> Iterator[tuple[str, bytes]]:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for picture_format in ("JPEG", "PNG", "WEBP"):
            yield f"{picture_format} {orientation}", encoded(picture_format, exif=exif)
        yield f"late {orientation}", with_late_exif(orientation)
    yield "torn", encoded("JPEG", exif=TORN_EXIF)
    for mode in ("L", "CMYK"):
        yield mode, encoded("JPEG", PHOTO.convert(mode))
    yield "MPO", encoded("MPO", save_all=True, append_images=[PHOTO])


@pytest.mark.parametrize(("name", "data"), list(photos()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_header_tells_what_decoding_would(name: str, data: bytes) -> None:
    header, whole = read_photo_header(data, name), decode_photo(data, name)
    assert header.size == whole.image.size
    assert (header.orientation, header.stored_size) == (whole.orientation, whole.stored_size)
    assert header.damaged_exif == whole.damaged_exif == (name == "torn")
    if name.startswith("late"):
        assert header.orientation == int(name[-1])


def test_what_is_no_photo_is_refused_by_its_header() -> None:
    for data, words in ((b"", r"the file is empty"), (b"hello", "not a picture"), (encoded("PNG")[:-900], "cut short")):
        with pytest.raises(DataError, match=rf"^x\.jpg: .*{words}"):
            read_photo_header(data, "x.jpg")
    assert read_photo_header(encoded("JPEG")[:-200], "x.jpg").size == (30, 20), "its pixels are not looked at"
