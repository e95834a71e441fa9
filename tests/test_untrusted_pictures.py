"""Stored pictures that mean harm: two headers, another format under a known name, headers without an end."""

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.decode import decode_labels, decode_photo, read_photo_header
from datasets.picture_size import PixelLimit, check_picture
from datasets.transforms import read_rgb
from utils.errors import DataError

LIMIT = PixelLimit(1.0, "x")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def animated(kind: str, frames: int = 3, side: int = 8) -> bytes:
    """Return a picture of several frames, of which the first is red."""
    pictures = [Image.new("RGB", (side, side), colour) for colour in ["red", *["blue", "green"] * frames][:frames]]
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return buffer.getvalue()


def test_a_second_header_of_a_png_does_not_pass_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    pixels = chunk(b"IDAT", zlib.compress(bytes(4000 * (1 + 3 * 4000)))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header(1, 1) + header(4000, 4000) + pixels)
    for read in (
        lambda: read_rgb(path, LIMIT),
        lambda: decode_photo(path.read_bytes(), str(path), LIMIT),
        lambda: decode_labels(path.read_bytes(), str(path), LIMIT),
    ):
        tracemalloc.start()
        with pytest.raises(DataError, match=rf"^{path}: the picture has 4000×4000 pixels, more than x 1 million"):
            read()
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.webp"])
@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
def test_a_stored_picture_of_another_format_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(animated("GIF") if kind == "GIF" else animated(kind, 1))
    with pytest.raises(DataError) as caught:
        read_rgb(path)
    assert str(caught.value) == (
        f"{path} cannot be decoded (its first bytes are not those of a JPEG, PNG or WebP file); "
        f"restore the file, or make the pair again"
    )


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_of_several_frames_the_first_is_the_photo(kind: str) -> None:
    data = animated(kind, 40, 100)  # 0.4 million pixels, of which a frame has a fortieth
    limit = PixelLimit(0.02)
    photo = decode_photo(data, "p", limit)
    assert photo.size == read_photo_header(data, "p", limit).size == (100, 100)
    assert photo.image.getpixel((50, 50)) == pytest.approx((255, 0, 0), abs=2)


def test_a_tile_of_a_photo_is_within_the_limit() -> None:
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16_000, 323: 16_000, 324: 200, 325: 20}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(20)
    with pytest.raises(DataError, match="the picture has 16000×16000 pixels, more than --max_megapixels 180"):
        decode_photo(data, "p")


@pytest.mark.parametrize("repeated", [b"\xff\x00\x01", b"\xff", b"\xff\xfe\x00\x02", b"\xff\x01", b"\x00\xff\x00"])
def test_a_header_without_an_end_takes_no_time(repeated: bytes) -> None:
    data = np.frombuffer(b"\xff\xd8\xff\x00" + repeated * (4_000_000 // len(repeated)), dtype=np.uint8)
    started = time.process_time()
    with pytest.raises(DataError, match=r"^p cannot be decoded \(more than 65,536 markers before its size\)"):
        check_picture(data, LIMIT, "p")
    assert time.process_time() - started < 1


def test_long_blocks_before_the_size_of_a_jpeg_are_passed_over() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 1000)).save(buffer, "JPEG", quality=1)
    block = b"\xff\xe2\xff\xff" + bytes(65_533)
    data = np.frombuffer(b"\xff\xd8" + block * 50 + b"stray" + buffer.getvalue()[2:], dtype=np.uint8)
    with pytest.raises(DataError, match="2000×1000"):
        check_picture(data, LIMIT, "p")
