"""Photos without masks in class folders: what is listed, what is read, and what is the same or another."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from datasets.changes import describe_change
from datasets.decode import decode_photo
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.photo_header import read_photo_files
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.readers import open_reader
from datasets.sources import load_index_of, read_pair
from utils.batch import ViewSpec
from utils.data_sections import DataConfig

ORIENTATION = 0x0112


def _pixels(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _save(path: Path, width: int, height: int, seed: int = 0, orientation: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(_pixels(width, height, seed)).save(path, exif=exif)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, of which the folders stand in no order; stems repeat between classes."""
    for split, first in (("train", 0), ("val", 50)):
        for place, name in enumerate(("tea", "Candy bar")):
            for number in range(3):
                seed = first + 10 * place + number
                _save(tmp_path / "root" / split / name / f"{number}.png", 12 + seed % 10, 9, seed)
    return tmp_path / "root"


def _index(root: Path, split: str = "train", **settings: object) -> PairIndex:
    data = DataConfig(source="folders", root=str(root), **settings)  # type: ignore[arg-type]
    return load_index_of(data, split, require_every_class=split == "train")


def test_labels_are_the_sorted_folders_of_train_in_both_splits(root: Path) -> None:
    shutil.rmtree(root / "val" / "Candy bar")
    train, val = _index(root), _index(root, "val")
    assert train.classes.names == val.classes.names == ("Candy bar", "tea")
    assert [train.key(row) for row in (0, 3)] == [("train", "Candy bar", "0"), ("train", "tea", "0")]
    assert val.label.tolist() == [1, 1, 1]
    assert val.class_counts().tolist() == [0, 3]


def test_photos_of_one_stem_in_two_classes_are_two_photos_and_two_groups(root: Path) -> None:
    index = _index(root)
    assert len(set(index.photo_codes().tolist())) == len(set(index.group.tolist())) == len(index) == 6
    assert index.manifest is None
    assert not index.masked
    assert index.paths(4) == (root / "train" / "tea" / "1.png",)
    assert index.subset([4]).paths(0) == index.paths(4)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 7])
def test_sizes_of_headers_are_those_of_the_decoded_upright_photo(
    tmp_path: Path, suffix: str, orientation: int | None
) -> None:
    path = tmp_path / f"photo{suffix}"
    _save(path, 23, 11, orientation=orientation if suffix not in (".bmp", ".gif") else None)
    (found,) = read_photo_files([path], DATA_LIMIT)
    turned = orientation in (6, 7) and suffix not in (".bmp", ".gif")
    assert found.size == decode_photo(path.read_bytes(), "photo").size == ((11, 23) if turned else (23, 11))  # type: ignore[union-attr]


def test_the_turn_that_a_png_states_behind_its_pixels_counts(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(_pixels(23, 11)).save(buffer, "PNG")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    late = io.BytesIO()
    PngImagePlugin.putchunk(late, b"eXIf", exif.tobytes()[6:])
    data = buffer.getvalue()
    (tmp_path / "late.png").write_bytes(data[:-12] + late.getvalue() + data[-12:])
    (found,) = read_photo_files([tmp_path / "late.png"], DATA_LIMIT)
    assert found.size == decode_photo((tmp_path / "late.png").read_bytes(), "late").size == (11, 23)  # type: ignore[union-attr]


def test_listing_reads_a_little_of_each_file(root: Path) -> None:
    """A file whose pixels are cut off is listed all the same: its damage is found when it is decoded."""
    path = root / "train" / "tea" / "0.jpg"
    path.with_suffix(".png").unlink()
    Image.fromarray(_pixels(400, 300)).save(path, quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert _index(root).size[3].tolist() == [400, 300]


def test_a_photo_is_read_upright_and_whole(root: Path) -> None:
    path = root / "train" / "tea" / "0.png"
    _save(path, 8, 5, seed=3, orientation=6)
    index = _index(root)
    (stored,) = open_reader(index).read([3])
    expected = np.rot90(_pixels(8, 5, 3), -1)
    assert index.size[3].tolist() == [5, 8]
    np.testing.assert_array_equal(stored.pictures["roi"].transpose(1, 2, 0), expected)
    assert stored.pictures["extra_roi"] is stored.pictures["roi"]
    assert stored.mask.shape == (8, 5)
    assert stored.mask.all()
    roi, extra_roi = read_pair(index, 3)
    np.testing.assert_array_equal(roi.transpose(1, 2, 0), expected)
    assert not extra_roi.any()


def test_transparent_and_grey_photos_are_ordinary_photos(root: Path) -> None:
    folder = root / "train" / "tea"
    clear = np.zeros((6, 7, 4), dtype=np.uint8)
    Image.fromarray(clear).save(folder / "0.png")
    Image.fromarray(np.full((6, 7), 77, dtype=np.uint8)).save(folder / "1.png")
    shown = [stored.pictures["roi"] for stored in open_reader(_index(root)).read([3, 4])]
    assert (shown[0] == 255).all()  # over white
    assert (shown[1] == 77).all()
    assert shown[1].shape == (3, 6, 7)


def test_a_batch_of_view_photo_holds_every_pixel(root: Path) -> None:
    index = _index(root)
    spec = ViewSpec(size=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    data = DataConfig(source="folders", root=str(root), bars="grey")
    batch = PairDataset(index, {"photo": spec}, data, training=False, seed=0).__getitems__([(0, 0), (0, 5)])
    left, top, width, height = batch.content_box["photo"][0].tolist()
    content = batch.views["photo"][0, :, top : top + height, left : left + width]
    assert (content.float().std(dim=(1, 2)) > 10).all()
    assert batch.label.tolist() == [0, 1]


def _other_content(root: Path) -> None:
    _save(root / "train" / "tea" / "1.png", *Image.open(root / "train" / "tea" / "1.png").size, 99)


def _other_size(root: Path) -> None:
    _save(root / "train" / "tea" / "1.png", 40, 9, 11)


def _added(root: Path) -> None:
    _save(root / "train" / "tea" / "9.png", 12, 9, 77)


def _renamed(root: Path) -> None:
    (root / "train" / "tea" / "1.png").rename(root / "train" / "tea" / "7.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_content, "photos or masks of other content"),
        (_other_size, "pictures of other sizes"),
        (_added, "class 'tea' had 3 pairs and has 4"),
        (_renamed, "but of other photos"),
    ],
)
def test_what_changed_is_noticed_and_said(root: Path, change: Callable[[Path], None], said: str) -> None:
    before = {"train": _index(root).summary()}
    assert describe_change(before, {"train": _index(root).summary()}) == []
    change(root)
    assert said in "; ".join(describe_change(before, {"train": _index(root).summary()}))


def test_a_copy_elsewhere_of_another_age_is_the_same(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, (1, 1))
    assert _index(tmp_path / "copy").fingerprint() == _index(root).fingerprint()


def test_one_changed_byte_anywhere_in_a_bmp_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "photo.bmp"
    Image.fromarray(_pixels(120, 90)).save(path)
    (before,) = read_photo_files([path], DATA_LIMIT)
    data = bytearray(path.read_bytes())
    data[10_000] ^= 255
    path.write_bytes(data)
    (after,) = read_photo_files([path], DATA_LIMIT)
    assert before.size == after.size  # type: ignore[union-attr]
    assert before.digest != after.digest  # type: ignore[union-attr]


def test_an_excluded_class_is_not_looked_into(root: Path) -> None:
    for split in ("train", "val"):
        _save(root / split / "water" / "0.png", 9, 9)
    (root / "train" / "water" / "notes.txt").write_text("ours")
    index = _index(root, exclude=["water"])
    assert index.classes.names == ("Candy bar", "tea")


def test_hidden_files_are_ignored_and_counted(root: Path) -> None:
    (root / "train" / "tea" / ".DS_Store").write_bytes(b"x")
    (root / "train" / "Thumbs.db").write_bytes(b"x")
    index = _index(root)
    assert len(index) == 6
    assert any("2 hidden files" in note for note in index.notes)


def test_a_larger_photo_than_allowed_is_named(root: Path) -> None:
    (one,) = read_photo_files([root / "train" / "tea" / "0.png"], PixelLimit(0.0001))
    assert "0.png: the picture has 12×9 pixels" in str(one)
