import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter, JpegImagePlugin

from datasets.cutouts import (
    FORMATS,
    LOSSLESS_FORMATS,
    PictureFormat,
    content_size,
    cut,
    encode,
    mask_box,
    recover_mask,
    resize_labels,
    resize_photo,
)


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (480, 360, 224, (224, 168)),
        (333, 500, 224, (149, 224)),  # 149.184
        (448, 3, 224, (224, 2)),  # 1.5 rounds up
        (5, 1000, 224, (1, 224)),  # 1.12
        (1, 5000, 64, (1, 64)),  # 0.01: at least one pixel
        (100, 50, 224, (224, 112)),  # smaller photos grow
        (480, 360, 0, (480, 360)),
        (300, 300, 64, (64, 64)),
    ],
)
def test_content_size_by_hand(width: int, height: int, size: int, expected: tuple[int, int]) -> None:
    assert content_size(width, height, size) == expected


@pytest.mark.parametrize(
    ("width", "height", "size"), [(97, 61, 32), (33, 80, 7), (20, 9, 64), (3, 90, 45), (64, 64, 64)]
)
def test_labels_are_resized_as_pillow_does_it(width: int, height: int, size: int) -> None:
    labels = np.random.default_rng(0).integers(0, 104, (height, width), dtype=np.uint8)
    expected = Image.fromarray(labels).resize(content_size(width, height, size), Image.Resampling.NEAREST)
    assert np.array_equal(resize_labels(labels, size), np.asarray(expected))


def test_photo_and_mask_share_their_geometry() -> None:
    mask = np.zeros((301, 403), bool)
    mask[60:190, 110:275] = True
    photo = Image.fromarray(np.repeat(np.where(mask, 255, 0)[..., None], 3, axis=2).astype(np.uint8))
    for size in (64, 101, 224):
        small = np.asarray(resize_photo(photo, size))[..., 0].astype(float)
        nearest = resize_labels(mask, size)
        # The exact area of the shrunken rectangle, and both borders within half a pixel of each other.
        assert small.sum() / 255 == pytest.approx(mask.mean() * small.size, rel=0.01)
        assert np.mean((small > 127) != nearest) < 2 * (nearest.any(0).sum() + nearest.any(1).sum()) / nearest.size
        columns = np.arange(small.shape[1])
        centre = (small.sum(0) * columns).sum() / small.sum(), (nearest.sum(0) * columns).sum() / nearest.sum()
        assert abs(centre[0] - centre[1]) < 0.5


def test_resizing_a_photo_averages_what_lies_between_samples() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = np.asarray(resize_photo(Image.fromarray(stripes), 8))
    assert abs(small[:, 1:-1].astype(int) - 100).max() <= 3


def test_cut_splits_the_photo_exactly() -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    mask = generator.random((13, 17)) < 0.4
    roi, extra_roi = cut(photo, mask)
    assert roi.dtype == extra_roi.dtype == np.uint8
    for row in range(13):
        for column in range(17):
            inside, outside = (roi, extra_roi) if mask[row, column] else (extra_roi, roi)
            assert tuple(inside[row, column]) == tuple(photo[row, column])
            assert tuple(outside[row, column]) == (0, 0, 0)


def _smooth_photo(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)))
    stretched: NDArray[np.uint8] = np.clip(smooth.astype(int) * 2 - 100, 20, 255).astype(np.uint8)
    return stretched


@pytest.mark.parametrize("picture_format", FORMATS)
def test_the_mask_is_recovered_from_the_files(picture_format: PictureFormat) -> None:
    photo, wrong, pixels = _smooth_photo(1), 0, 0
    rows, columns = np.mgrid[:96, :128]
    for radius in (3, 12, 30, 44):
        mask = (rows - 50) ** 2 + (columns - 60) ** 2 < radius**2
        views = [np.asarray(Image.open(io.BytesIO(encode(view, picture_format)))) for view in cut(photo, mask)]
        wrong += int(np.sum(recover_mask(*views) != mask))
        pixels += mask.size
        if picture_format in LOSSLESS_FORMATS:
            assert np.array_equal(views[0] + views[1], photo)
        else:
            assert np.abs(views[0].astype(int) + views[1] - photo).max() < 40
    assert wrong <= (0 if picture_format in LOSSLESS_FORMATS else pixels / 10_000)


def test_black_pixels_of_the_photo_count_as_outside() -> None:
    photo = np.full((1, 3, 3), 9, np.uint8)
    photo[0, 1] = 0
    assert recover_mask(*cut(photo, np.ones((1, 3), bool))).tolist() == [[True, False, True]]


def test_channel_sums_do_not_overflow() -> None:
    bright, dim = np.full((1, 1, 3), 255, np.uint8), np.full((1, 1, 3), 90, np.uint8)
    assert recover_mask(bright, dim).all()
    assert not recover_mask(dim, bright).any()


def test_jpeg_keeps_full_colour_resolution_and_the_asked_quality() -> None:
    image = Image.open(io.BytesIO(encode(_smooth_photo(2), "jpg", 95)))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
    # ITU-T T.81's first luminance step is 16; quality 95 scales it by 10 %.
    assert image.quantization[0][0] == 2


def test_mask_box_by_hand() -> None:
    mask = np.zeros((6, 9), bool)
    mask[2, 3] = mask[4, 7] = True
    assert mask_box(mask) == (3, 2, 5, 3)
    assert mask_box(np.zeros((2, 2), bool)) == (0, 0, 0, 0)
    assert mask_box(np.ones((2, 5), bool)) == (0, 0, 5, 2)
