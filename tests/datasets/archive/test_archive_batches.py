"""Pairs composed from an archive against those of the lossless tree that preprocessing makes of it."""

import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.decode import decode_photo
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.picture_size import PixelLimit
from datasets.readers import open_reader
from datasets.sources import load_index_of, read_pair
from utils.batch import Interpolation, ViewSpec
from utils.data_sections import ArchiveConfig, AugmentConfig, DataConfig
from utils.errors import DataError

STRONG = AugmentConfig(
    min_crop_area=0.3, rotate_degrees=40, color_jitter=0.4, blank_roi=0.2, blank_extra_roi=0.2, policy="randaugment"
)


def config(archive: Path, size: int = 0, augment: AugmentConfig | None = None) -> DataConfig:
    """The options with which ``trees`` were made."""
    options = ArchiveConfig(
        groups=str(archive / "groups.csv"),
        mask_orientation="stored",
        min_area=0.02 if size else 0.0,
        ambiguous=["candy", "soup"],
        size=size,
    )
    return DataConfig(source="archive", root=str(archive), archive=options, augment=augment or AugmentConfig())


def spec(side: int, interpolation: Interpolation = "bicubic") -> ViewSpec:
    return ViewSpec(side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), interpolation)


def both(archive: Path, trees: dict[int, Path], size: int, split: str = "train") -> tuple[PairIndex, PairIndex]:
    return load_index_of(config(archive, size), split), PairIndex.from_tree(trees[size], split)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("size", [0, 48])
def test_index_is_that_of_the_tree(archive: Path, trees: dict[int, Path], size: int, split: str) -> None:
    ours, tree = both(archive, trees, size, split)
    assert [ours.key(row) for row in range(len(ours))] == [tree.key(row) for row in range(len(tree))]
    assert ours.classes == tree.classes
    assert (ours.group.tolist(), ours.group_names) == (tree.group.tolist(), tree.group_names)
    assert ours.size.tolist() == tree.size.tolist()
    assert ours.fingerprint() == tree.fingerprint()
    assert ours.photo_codes().tolist() == tree.photo_codes().tolist()
    parts = [index.subset(np.flatnonzero(index.label != 1)[::-1]).without(["soup"]) for index in (ours, tree)]
    assert parts[0].fingerprint() == parts[1].fingerprint()
    assert parts[0].fingerprint() != ours.fingerprint()
    assert [path.stem for path in parts[0].paths(0)] == [parts[0].stems[0]] * 2


def test_small_and_vanished_classes_are_left_out_as_in_the_tree(archive: Path, trees: dict[int, Path]) -> None:
    whole, _ = both(archive, trees, 0)
    small, tree = both(archive, trees, 48)
    assert 0 < len(small) < len(whole)
    assert len(small) == len(tree)
    soup = small.classes.index("soup")
    assert soup not in small.label
    assert soup in whole.label
    left_out = [note for note in small.notes if "left out" in note]
    assert len(left_out) == 2
    assert "data.archive.min_area" in left_out[0]
    assert "data.archive.size" in left_out[1]


@pytest.mark.parametrize("size", [0, 48])
@pytest.mark.parametrize("augment", [AugmentConfig(), STRONG], ids=["plain", "augmented"])
def test_batches_are_those_of_the_tree(
    archive: Path, trees: dict[int, Path], size: int, augment: AugmentConfig
) -> None:
    """Sides that fit what is stored and sides that do not, in an order that scatters the pairs of a photo."""
    indices = both(archive, trees, size)
    data = config(archive, size, augment)
    specs = {"roi": spec(48), "extra_roi": spec(32, "bilinear")}
    order = np.random.default_rng(0).permutation(len(indices[0])).tolist()
    for views in (specs, specs | {"photo": specs["roi"]}, {"roi": specs["roi"]}):
        for training in (True, False):
            items = [(row % 3, row) for row in order]
            a, b = (PairDataset(i, views, data, training=training, seed=5).__getitems__(items) for i in indices)
            for name in views:
                assert torch.equal(a.views[name], b.views[name]), name
                assert torch.equal(a.content_box[name], b.content_box[name])
                assert torch.equal(a.flip[name], b.flip[name])
            assert torch.equal(a.label, b.label)
            assert torch.equal(a.index, b.index)


def test_cut_outs_are_those_of_the_tree(archive: Path, trees: dict[int, Path]) -> None:
    ours, tree = both(archive, trees, 48, "test")
    for row in range(len(ours)):
        for mine, stored in zip(read_pair(ours, row), tree.paths(row), strict=True):
            assert np.array_equal(mine.transpose(1, 2, 0), np.asarray(Image.open(stored)))


def test_a_photo_is_decoded_once_in_a_call_and_let_go_when_done(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = load_index_of(config(archive), "train")
    decoded: list[str] = []

    def counted(data: bytes, name: str, limit: PixelLimit) -> object:
        decoded.append(Path(name).stem)
        return decode_photo(data, name, limit)

    monkeypatch.setattr("datasets.archive_reader.decode_photo", counted)
    by_photo = {stem: [row for row in range(len(index)) if index.stems[row] == stem] for stem in set(index.stems)}
    one, other = by_photo["p1"], by_photo["p3"]
    reader = open_reader(index)
    for _ in reader.read([one[0], other[0], one[1], other[1], one[2]]):
        pass
    assert decoded == ["p1", "p3"]
    pairs = reader.read([one[0], other[0], one[1]])
    first = weakref.ref(next(pairs).pictures["roi"])
    second = weakref.ref(next(pairs).pictures["roi"])
    assert first() is not None, "a later row needs it"
    assert second() is None, "no later row needs it"
    assert next(pairs).pictures["roi"] is first()
    assert next(pairs, None) is None
    assert first() is None


def test_black_pixels_lie_outside_as_in_a_stored_pair(archive: Path) -> None:
    index = load_index_of(config(archive), "train")
    row = index.stems.index("p1")
    (stored,) = open_reader(index).read([row])
    black = (stored.pictures["roi"] == 0).all(axis=0)
    assert black.any()
    assert not (stored.mask & black).any()


def changed(archive: Path, tmp_path: Path) -> tuple[PairIndex, int]:
    """A copy of the archive that was listed, and a row of its photo p1."""
    index = load_index_of(config(shutil.copytree(archive, tmp_path / "copy")), "train")
    return index, index.stems.index("p1")


def test_files_that_changed_since_the_scan_are_named(archive: Path, tmp_path: Path) -> None:
    index, row = changed(archive, tmp_path)
    photo, mask = index.paths(row)
    reader = open_reader(index)
    good = photo.read_bytes(), mask.read_bytes()
    Image.fromarray(np.zeros((40, 61), np.uint8)).save(mask)
    with pytest.raises(DataError, match=r"p1\.png no longer shows 'candy': it changed since the archive was scanned"):
        list(reader.read([row]))
    mask.write_bytes(good[1])
    photo.write_bytes(good[0][: len(good[0]) // 2])
    with pytest.raises(DataError, match=r"p1\.jpg: damaged or cut short"):
        list(reader.read([row]))
    Image.new("RGB", (30, 20)).save(photo)
    with pytest.raises(DataError, match=r"p1\.png is 61×40 pixels, but its photo .*p1\.jpg is 30×20"):
        list(reader.read([row]))
    Image.new("RGB", (30, 20)).save(photo)
    Image.fromarray(np.ones((20, 30), np.uint8)).save(mask)
    with pytest.raises(DataError, match=r"p1\.jpg gives pairs of 30×20 pixels, but the index says 61×40"):
        list(reader.read([row]))
    photo.unlink()
    with pytest.raises(DataError, match=r"p1\.jpg cannot be read \(No such file"):
        list(reader.read([row]))


def test_loading_stops_at_a_photo_cut_short(archive: Path, tmp_path: Path) -> None:
    """The scan reads headers alone: what is wrong behind them is found when the pixels are needed, with its name."""
    index, row = changed(archive, tmp_path)
    photo = index.paths(row)[0]
    photo.write_bytes(photo.read_bytes()[:-300])
    root = str(tmp_path / "copy")
    index = load_index_of(replace(config(archive), root=root), "train")
    data = PairDataset(index, {"roi": spec(48)}, DataConfig(), training=False, seed=0)
    with pytest.raises(DataError, match=r"p1\.jpg: damaged or cut short"):
        data[0, row]
