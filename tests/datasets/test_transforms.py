from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from datasets.augment import JointAugment, draw_crop
from datasets.policies import build_policy
from datasets.transforms import letterbox_box, paint_bars, read_rgb, resize_pair
from utils.data_sections import POLICIES, AugmentConfig
from utils.errors import DataError

Noise = Callable[[int, int, int], tuple[NDArray[np.uint8], NDArray[np.bool_]]]


@pytest.mark.parametrize(
    ("width", "height", "side", "box"),
    [
        (100, 50, 64, (0, 16, 64, 32)),
        (50, 100, 64, (16, 0, 32, 64)),
        (100, 51, 64, (0, 16, 64, 33)),  # 51·64/100 = 32.64; 31 rows of bars, the odd one on top
        (100, 49, 64, (0, 17, 64, 31)),  # 31.36; 33 rows of bars: 17 above, 16 below
        (224, 168, 224, (0, 28, 224, 168)),
        (64, 64, 64, (0, 0, 64, 64)),
        (30, 40, 64, (8, 0, 48, 64)),  # a small picture grows
        (6000, 1, 224, (0, 112, 224, 1)),  # a strip keeps one pixel; 223 rows of bars: 112 above
        (1, 1, 8, (0, 0, 8, 8)),
    ],
)
def test_letterbox_worked_by_hand(width: int, height: int, side: int, box: tuple[int, int, int, int]) -> None:
    assert letterbox_box(width, height, side) == box


def test_the_longer_side_is_exact_for_every_size_and_none_vanishes() -> None:
    for long in range(1, 1200, 7):
        for short in {1, min(2, long), max(1, long // 3), long}:
            box = letterbox_box(long, short, 224)
            assert box.width == 224
            assert 1 <= box.height <= 224


def test_bars_are_painted_around_the_picture_and_nowhere_else() -> None:
    canvas = np.full((3, 8, 8), 77, dtype=np.uint8)
    inside = paint_bars(canvas, letterbox_box(8, 3, 8), "grey")
    assert inside.shape == (3, 3, 8)
    assert (inside == 77).all()
    assert (canvas[:, :3] == 125).all()  # 5 rows of bars: 3 above, 2 below
    assert (canvas[:, 6:] == 125).all()
    assert (paint_bars(canvas, letterbox_box(3, 8, 8), "black") == canvas[:, :, 3:6]).all()
    assert canvas[:, :, [0, 1, 2, 6, 7]].sum() == 0


def test_resizing_comes_before_cutting_so_that_the_border_stays_bright() -> None:
    photo = np.full((3, 40, 60), 200, dtype=np.uint8)
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:45] = True
    resized, small = resize_pair(photo, mask, 33, "bicubic")
    assert resized.shape == (3, 22, 33)
    assert small.shape == (22, 33)
    assert set(np.unique(resized * small)) == {0, 200}  # no mixture of black and bright
    assert set(np.unique(resized * ~small)) == {0, 200}
    assert small.mean() == pytest.approx(mask.mean(), abs=0.02)


def test_resized_masks_agree_with_pillow(noise: Noise) -> None:
    _, mask = noise(1, 41, 29)
    _, resized = resize_pair(np.zeros((3, 29, 41), dtype=np.uint8), mask, 24, "bilinear")
    pillow = Image.fromarray(mask.astype(np.uint8)).resize((24, 17), Image.Resampling.NEAREST)
    assert np.array_equal(resized, np.asarray(pillow).astype(bool))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_photos_shrink_as_in_pillow_which_never_aliases(interpolation: str, noise: Noise) -> None:
    photo, mask = noise(2, 64, 48)
    resized, _ = resize_pair(np.ascontiguousarray(np.moveaxis(photo, 2, 0)), mask, 16, interpolation)  # type: ignore[arg-type]  # a parametrised literal
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    pillow = np.moveaxis(np.asarray(Image.fromarray(photo).resize((16, 12), method)), 2, 0).astype(int)
    assert np.abs(resized.astype(int) - pillow).max() <= 1


def test_a_pair_that_fits_is_not_touched(noise: Noise) -> None:
    photo, mask = noise(2, 64, 48)
    planar = np.moveaxis(photo, 2, 0)
    assert resize_pair(planar, mask, 64, "bicubic") == (planar, mask)


def coordinates(width: int, height: int) -> NDArray[np.uint8]:
    """A photo whose first channel is the column and whose second is the row."""
    photo = np.zeros((3, height, width), dtype=np.uint8)
    photo[0], photo[1] = np.arange(width), np.arange(height)[:, None]
    return photo


@pytest.mark.parametrize("key", ["train/a/p1", "train/b/p2", "train/c/p3"])
def test_a_crop_moves_photo_and_mask_together(key: str, noise: Noise) -> None:
    photo = coordinates(60, 40)
    _, mask = noise(4, 60, 40)
    cropped, moved = JointAugment(AugmentConfig(min_crop_area=0.2), seed=0).apply(photo, mask, 3, key)
    left, top = int(cropped[0, 0, 0]), int(cropped[1, 0, 0])
    height, width = moved.shape
    assert height * width < 60 * 40
    assert np.array_equal(cropped, photo[:, top : top + height, left : left + width])
    assert np.array_equal(moved, mask[top : top + height, left : left + width])


def test_a_rotation_turns_photo_and_mask_together_and_leaves_black_corners() -> None:
    mask = np.zeros((60, 80), dtype=bool)
    mask[15:45, 20:60] = True
    photo = np.where(mask, 250, 100).astype(np.uint8)[None].repeat(3, axis=0)
    augment = JointAugment(AugmentConfig(rotate_degrees=40), seed=0)
    seen_angles = set()
    for epoch in range(8):
        turned, moved = augment.apply(photo, mask, epoch, "train/a/p1")
        assert turned.shape == photo.shape
        assert ((turned[0] > 175) == moved).mean() > 0.98  # bilinear against nearest differ on the border only
        seen_angles.add(int(moved.sum(axis=0).argmax()))
        corners = turned[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() == 0 or np.array_equal(turned, photo)
    assert len(seen_angles) > 1


@pytest.mark.parametrize("minimum", [0.05, 0.3, 0.9])
def test_crop_areas_and_shapes_stay_in_their_ranges(minimum: float) -> None:
    generator = np.random.default_rng(0)
    areas = []
    for _ in range(500):
        rows, columns = draw_crop(generator, 900, 300, minimum)
        assert 0 <= rows.start < rows.stop <= 300
        assert 0 <= columns.start < columns.stop <= 900
        height, width = rows.stop - rows.start, columns.stop - columns.start
        areas.append(height * width / (900 * 300))
        assert 0.74 < (width / height) / 3 < 1.35
    assert min(areas) > minimum - 0.01
    assert np.mean(areas) == pytest.approx((1 + minimum) / 2, abs=0.05)


def test_a_crop_never_loses_the_region_of_interest() -> None:
    mask = np.zeros((50, 50), dtype=bool)
    mask[:3, :3] = True
    augment = JointAugment(AugmentConfig(min_crop_area=0.05, rotate_degrees=90), seed=0)
    shapes = set()
    for epoch in range(60):
        _, moved = augment.apply(coordinates(50, 50), mask, epoch, "train/a/p1")
        assert moved.any()
        shapes.add(moved.shape)
    assert len(shapes) > 5


def test_an_empty_mask_is_cropped_all_the_same() -> None:
    empty = np.zeros((50, 50), dtype=bool)
    photo, _ = JointAugment(AugmentConfig(min_crop_area=0.05), seed=0).apply(coordinates(50, 50), empty, 0, "k")
    assert photo.size < 3 * 2500


def edge() -> torch.Tensor:
    """Dark left half, bright right half, the same in every row: moved pixels would show."""
    picture = torch.full((3, 32, 40), 60, dtype=torch.uint8)
    picture[:, :, 20:] = 190
    picture[0] += 20
    return picture


def stays_in_place(picture: torch.Tensor) -> bool:
    """Rows equal, halves flat: all but the two columns on each side of the edge, which sharpening may touch."""
    rows_equal = bool((picture[:, 1:-1] == picture[:, 1:2]).all())
    left, right = picture[:, 1:-1, 1:18], picture[:, 1:-1, 22:-1]
    return rows_equal and bool((left == left[..., :1]).all()) and bool((right == right[..., :1]).all())


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "none"])
def test_policies_change_colours_and_move_nothing(name: str) -> None:
    policy = build_policy(name, 9)
    assert policy is not None
    changed = 0
    torch.manual_seed(0)
    for _ in range(60):
        result = policy(edge())
        assert stays_in_place(result)
        changed += not torch.equal(result, edge())
    assert changed > 10


def test_the_check_above_would_notice_torchvisions_own_policy() -> None:
    torch.manual_seed(0)
    assert not all(stays_in_place(v2.RandAugment()(edge())) for _ in range(20))


@pytest.mark.parametrize("config", [AugmentConfig(color_jitter=0.4), AugmentConfig(policy="autoaugment")])
def test_colour_changes_leave_the_mask_and_depend_on_seed_epoch_and_key(config: AugmentConfig, noise: Noise) -> None:
    photo, mask = noise(6, 30, 20)
    planar = np.ascontiguousarray(np.moveaxis(photo, 2, 0))
    results = []
    for seed, epoch, key in [(0, 0, "k"), (0, 0, "k"), (1, 0, "k"), (0, 1, "k"), (0, 0, "l"), (0, 2, "k"), (0, 3, "k")]:
        changed, same = JointAugment(config, seed).apply(planar, mask, epoch, key)
        assert np.array_equal(same, mask)
        results.append(changed.tobytes())
    assert results[0] == results[1]
    assert len(set(results)) >= 4


def test_colour_does_not_change_where_the_crop_lies(noise: Noise) -> None:
    _, mask = noise(6, 30, 20)
    plain = JointAugment(AugmentConfig(min_crop_area=0.3), 0).apply(coordinates(30, 20), mask, 0, "k")
    colour = JointAugment(AugmentConfig(min_crop_area=0.3, color_jitter=0.5), 0).apply(
        coordinates(30, 20), mask, 0, "k"
    )
    assert np.array_equal(plain[1], colour[1])


def save(path: Path, picture: Image.Image, **options: Any) -> Path:  # noqa: ANN401  # Pillow has no narrower type
    picture.save(path, **options)
    return path


def test_every_mode_becomes_three_channels(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    expected = np.repeat(np.asarray(grey)[None], 3, axis=0)
    opaque = Image.merge("RGBA", [grey, grey, grey, Image.new("L", (4, 3), 255)])
    for name, picture in {"l": grey, "rgb": grey.convert("RGB"), "la": opaque.convert("LA"), "rgba": opaque}.items():
        assert np.array_equal(read_rgb(save(tmp_path / f"{name}.png", picture)), expected), name
    for colours in (256, 12):  # 8 and 4 bits a pixel
        assert np.array_equal(read_rgb(save(tmp_path / "p.png", grey.convert("RGB").quantize(colours))), expected)
    assert np.array_equal(read_rgb(save(tmp_path / "x.webp", opaque, lossless=True)), expected)
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert np.array_equal(read_rgb(save(tmp_path / "16.png", sixteen)), expected)
    for mode in ("L", "CMYK"):
        decoded = read_rgb(save(tmp_path / f"{mode}.jpg", grey.convert("RGB").convert(mode), quality=100)).astype(int)
        assert np.abs(decoded - expected).max() <= 3


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first column, read from below, is the first row
    photo = np.zeros((16, 32, 3), dtype=np.uint8)
    photo[:, :16] = 255
    read = read_rgb(save(tmp_path / "x.jpg", Image.fromarray(photo), exif=exif, quality=95))
    assert read.shape == (3, 32, 16)
    assert read[:, :14].min() > 240
    assert read[:, 18:].max() < 15


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_refused_with_its_path(tmp_path: Path, suffix: str, kept: float, noise: Noise) -> None:
    path = save(tmp_path / f"photo{suffix}", Image.fromarray(noise(0, 64, 64)[0]))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(f"{path} cannot be decoded (")
    assert len(str(caught.value).splitlines()) == 1


def test_missing_empty_foreign_and_transparent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jpg cannot be read \(No such file or directory\)"):
        read_rgb(tmp_path / "absent.jpg")
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_text("not a picture")
    with pytest.raises(DataError, match=r"empty\.jpg has 0 bytes"):
        read_rgb(empty)
    with pytest.raises(DataError, match=r"text\.jpg cannot be decoded"):
        read_rgb(text)
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    keyed = Image.new("P", (4, 4))
    for path in (
        save(tmp_path / "clear.png", clear),
        save(tmp_path / "clear.webp", clear, lossless=True, exact=True),
        save(tmp_path / "clear.PNG", keyed, transparency=0),
    ):
        with pytest.raises(DataError, match=r"clear\.\w+ has transparent pixels; save it without an alpha channel"):
            read_rgb(path)
