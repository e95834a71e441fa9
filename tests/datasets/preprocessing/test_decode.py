import io

import numpy as np
import pytest
from PIL import Image

from datasets.decode import DecodedPhoto, align_labels, decode_labels, decode_photo
from utils.errors import DataError

EXIF_ORIENTATION = 0x0112


def _png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def _turned(orientation: int, size: tuple[int, int] = (3, 2)) -> tuple[bytes, np.ndarray]:
    width, height = size
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return _png(Image.fromarray(pixels), exif=exif), pixels


def test_every_mode_becomes_rgb() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2)
    deep = np.array([[0, 100 * 257], [200 * 257, 65535]], np.uint16)
    palette = Image.fromarray(grey).convert("P")
    for image in (Image.fromarray(grey), Image.fromarray(deep), palette, Image.fromarray(expected)):
        decoded = decode_photo(_png(image), "p").image
        assert decoded.mode == "RGB"
        assert np.array_equal(np.asarray(decoded), expected), image.mode


def test_sixteen_bits_are_rounded() -> None:
    deep = np.array([[128, 129, 385, 386]], np.uint16)  # over 257: 0.498, 0.502, 1.498, 1.502
    assert np.asarray(decode_photo(_png(Image.fromarray(deep)), "p").image)[0, :, 0].tolist() == [0, 1, 1, 2]


def test_cmyk_jpeg_becomes_rgb() -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(buffer, "JPEG", quality=100)
    red, green, blue = np.asarray(decode_photo(buffer.getvalue(), "p").image)[4, 4].astype(int)
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_lie_over_white(mode: str) -> None:
    rgba = np.array([[[60, 60, 60, 255], [60, 60, 60, 0], [0, 0, 0, 51]]], np.uint8)
    image = Image.fromarray(rgba)
    buffer = io.BytesIO()
    (image if mode == "RGBA" else image.convert(mode)).save(buffer, "TIFF" if mode == "PA" else "PNG")
    pixels = np.asarray(decode_photo(buffer.getvalue(), "p").image)
    assert pixels[0, :, 0].tolist() == [60, 255, 204]  # 255 · (1 − 51/255) = 204


def test_palette_transparency_lies_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    pixels = np.asarray(decode_photo(_png(image, transparency=0), "p").image)
    assert pixels.tolist() == [[[255, 255, 255], [40, 50, 60]]]


# Where the stored top-left pixel of a 3×2 photo goes (column, row), by the EXIF 2.3 table of orientations.
CORNERS = {1: (0, 0), 2: (2, 0), 3: (2, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 2), 8: (0, 2)}


@pytest.mark.parametrize(("orientation", "corner"), CORNERS.items())
def test_photos_and_masks_turn_alike(orientation: int, corner: tuple[int, int]) -> None:
    data, pixels = _turned(orientation)
    photo = decode_photo(data, "p")
    assert photo.image.size == ((3, 2) if orientation <= 4 else (2, 3))
    assert photo.stored_size == (3, 2)
    assert photo.image.getpixel(corner) == tuple(pixels[0, 0])
    labels = pixels[..., 0]
    turned = align_labels(labels, photo, "stored", "p", "m")
    assert np.array_equal(turned, np.asarray(photo.image)[..., 0])
    wide = labels.astype(np.int32) + 1000  # ids beyond 8 bits turn the same way
    assert np.array_equal(align_labels(wide, photo, "stored", "p", "m"), turned.astype(np.int32) + 1000)


def test_a_mask_that_fits_one_way_only_needs_no_option() -> None:
    photo = decode_photo(_turned(6)[0], "p")  # stored 3×2, upright 2×3
    upright = np.arange(6, dtype=np.uint8).reshape(3, 2)
    for orientation in (None, "stored", "upright"):
        assert np.array_equal(align_labels(upright, photo, orientation, "p", "m"), upright)
    assert align_labels(np.zeros((2, 3), np.uint8), photo, None, "p", "m").shape == (3, 2)


@pytest.mark.parametrize(("orientation", "size"), [(3, (3, 2)), (2, (3, 2)), (6, (3, 3))])
def test_a_mask_that_fits_both_ways_demands_the_option(orientation: int, size: tuple[int, int]) -> None:
    data, pixels = _turned(orientation, size)
    photo, labels = decode_photo(data, "photo.png"), pixels[..., 0]
    with pytest.raises(DataError, match=r"photo\.png is turned .*mask\.png fits.*--mask_orientation stored"):
        align_labels(labels, photo, None, "photo.png", "mask.png")
    assert np.array_equal(align_labels(labels, photo, "upright", "p", "m"), labels)
    assert not np.array_equal(align_labels(labels, photo, "stored", "p", "m"), labels)


def test_an_upright_photo_asks_nothing() -> None:
    data, pixels = _turned(1, (3, 3))
    assert np.array_equal(align_labels(pixels[..., 0], decode_photo(data, "p"), None, "p", "m"), pixels[..., 0])


def test_another_size_names_both_files_and_sizes() -> None:
    photo = DecodedPhoto(Image.new("RGB", (4, 3)), 1, (4, 3))
    with pytest.raises(DataError, match=r"m\.png is 3×4 pixels, but its photo p\.jpg is 4×3"):
        align_labels(np.zeros((4, 3), np.uint8), photo, None, "p.jpg", "m.png")


def test_masks_of_every_kind_give_the_same_ids() -> None:
    ids = np.array([[0, 1, 5], [5, 5, 1]], np.uint8)
    palette = Image.fromarray(ids).copy()
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9, 8, 8, 8, 77, 77, 77])
    assert palette.mode == "P"
    rgba = np.dstack([ids, ids, ids, np.full_like(ids, 255)])
    for image in (
        Image.fromarray(ids),
        palette,
        Image.fromarray(ids.astype(np.uint16)),
        Image.fromarray(np.dstack([ids] * 3)),
        Image.fromarray(rgba),
        Image.fromarray(np.dstack([ids, rgba[..., 3]])),
    ):
        assert decode_labels(_png(image), "m").tolist() == ids.tolist(), image.mode


def test_sixteen_bit_masks_keep_large_ids() -> None:
    assert decode_labels(_png(Image.fromarray(np.array([[0, 300]], np.uint16))), "m").tolist() == [[0, 300]]


def test_a_colour_mask_is_refused() -> None:
    pixels = np.array([[[1, 1, 2]]], np.uint8)
    with pytest.raises(DataError, match=r"^m\.png: the mask is a colour picture; a mask holds one class id per pixel"):
        decode_labels(_png(Image.fromarray(pixels)), "m.png")


def test_a_mask_with_an_orientation_of_its_own_is_refused() -> None:
    with pytest.raises(DataError, match=r"^m\.png: the mask has an EXIF orientation of its own \(6\)"):
        decode_labels(_turned(6)[0], "m.png")


def test_unreadable_files_say_so() -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    for data, words in (
        (b"", r"the file is empty \(0 bytes\)"),
        (b"hello", "not a picture that Pillow can read"),
        (whole.getvalue()[:-800], "damaged or cut short"),
        (_png(Image.fromarray(noise))[:-3000], "damaged or cut short"),
    ):
        for decode in (decode_photo, decode_labels):
            with pytest.raises(DataError, match=rf"^x\.jpg: {words}"):
                decode(data, "x.jpg")


def test_a_damaged_exif_block_is_told() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")
    decoded = decode_photo(buffer.getvalue(), "p")
    assert decoded.damaged_exif
    assert decoded.orientation == 1
    assert not decode_photo(_turned(1)[0], "p").damaged_exif
