"""Photos and masks of any kind and any damage: pixels come out, or one line says what is wrong with the file."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from datasets.decode import align_labels, decode_labels, decode_photo, read_photo_header
from datasets.picture_size import PixelLimit
from datasets.scan import read_header_size
from datasets.transforms import read_rgb
from tests.fuzz.conftest import Fuzz, Told
from tests.fuzz.mutations import mutated

MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "CMYK", "YCbCr", "F")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
LIMIT = PixelLimit(1.0, "--max_megapixels")


def encoded(mode: str, kind: str, width: int, height: int, orientation: int, seed: int) -> bytes:
    """Return a picture, saved in a mode that its format takes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image: Image.Image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    if mode == "P" and seed % 2:
        image.info["transparency"] = seed % 256
    exif = Image.Exif()
    exif[0x0112] = orientation
    for picture in (image, image.convert("RGB")):
        buffer = io.BytesIO()
        try:
            picture.save(buffer, kind, exif=exif.tobytes())
        except (OSError, ValueError, KeyError, TypeError):  # not every format takes every mode
            continue
        return buffer.getvalue()
    raise AssertionError(kind)


PICTURES = st.builds(
    encoded,
    st.sampled_from(MODES),
    st.sampled_from(FORMATS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 10),
    st.integers(0, 1000),
)


@pytest.fixture(autouse=True)
def quiet_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    """Keep what the decoders print by themselves."""


def test_photos(fuzz: Fuzz, told: Told) -> None:
    def check(data: bytes) -> bool:
        photo = told(lambda: decode_photo(data, "x.jpg", LIMIT), "x.jpg: ")
        header = told(lambda: read_photo_header(data, "x.jpg", LIMIT), "x.jpg: ")
        if photo is None:
            return False
        assert header is not None
        assert (header.size, header.orientation) == (photo.size, photo.orientation)
        assert photo.image.mode == "RGB"
        assert photo.image.width * photo.image.height <= 1e6
        return True

    fuzz("photo", mutated(PICTURES), check, 150)


def test_masks(fuzz: Fuzz, told: Told) -> None:
    photo = decode_photo(encoded("RGB", "PNG", 8, 6, 1, 0), "p.png")

    def check(data: bytes) -> bool:
        labels = told(lambda: decode_labels(data, "m.png", LIMIT), "m.png: ")
        if labels is None:
            return False
        assert labels.ndim == 2
        assert np.issubdtype(labels.dtype, np.integer)
        assert labels.size <= 1e6
        aligned = told(lambda: align_labels(labels, photo, None, "p.png", "m.png"), "m.png")
        assert aligned is None or aligned.shape == (6, 8)
        return True

    fuzz("mask", mutated(PICTURES), check, 150)


def test_stored_pictures(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "p.png"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        told(lambda: read_header_size(path), path)
        picture = told(lambda: read_rgb(path, PixelLimit(1.0, "data.max_megapixels")), path)
        if picture is None:
            return False
        assert picture.dtype == np.uint8
        assert picture.shape[0] == 3
        assert picture.size <= 3e6
        return True

    fuzz("stored picture", mutated(PICTURES), check, 150)


def test_any_bytes(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    starts = [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"%!PS",
    ]

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = [told(lambda: decode_photo(data, str(path)), path), told(lambda: decode_labels(data, str(path)), path)]
        found += [told(lambda: read_rgb(path), path), told(lambda: read_header_size(path), path)]
        return any(result is not None for result in found)

    fuzz("any bytes", st.builds(bytes.__add__, st.sampled_from(starts), st.binary(max_size=60)), check, 150)
    assert os.listdir(tmp_path) == ["p.jpg"]  # noqa: PTH208
