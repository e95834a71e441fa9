import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.classes import ClassMap
from datasets.index import PairIndex
from datasets.scan import ScannedPair
from datasets.transforms import read_rgb
from utils.errors import DataError

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker

NAMES = ("rice", "apple")


@pytest.fixture
def made(tree: "TreeMaker") -> "TreeMaker":
    """Two classes, photos p1 and p2 in both, manifest and class file; classes not in alphabetical order."""
    tree.add_random(NAMES, ("p1", "p2"))
    tree.write_classes(NAMES)
    tree.write_manifest(NAMES)
    return tree


def test_rows_are_in_class_and_stem_order(made: "TreeMaker") -> None:
    index = PairIndex.from_tree(made.root, "train")
    assert [index.key(row) for row in range(4)] == [
        ("train", "rice", "p1"),
        ("train", "rice", "p2"),
        ("train", "apple", "p1"),
        ("train", "apple", "p2"),
    ]
    assert index.label.tolist() == [0, 0, 1, 1]
    assert index.label.dtype == np.int16
    assert index.size.tolist() == [[24, 16]] * 4
    assert index.size.dtype == np.int32
    assert index.notes == []


def test_rows_of_one_photo_share_a_group_but_not_a_key(made: "TreeMaker") -> None:
    index = PairIndex.from_tree(made.root, "train")
    assert index.group_names == ["train/p1", "train/p2"]
    assert index.group.tolist() == [0, 1, 0, 1]
    assert len({index.key(row) for row in range(4)}) == 4


def test_a_pair_joins_its_own_context_although_the_photo_has_other_classes(made: "TreeMaker") -> None:
    index = PairIndex.from_tree(made.root, "train")
    for row in range(4):
        roi, extra_roi = index.paths(row)
        _, name, stem = index.key(row)
        assert roi == made.path("roi", name, stem)
        assert extra_roi == made.path("extra-roi", name, stem)


def test_groups_come_from_the_manifest(tree: "TreeMaker") -> None:
    mask = np.eye(4, dtype=bool)
    photo = np.full((4, 4, 3), 9, dtype=np.uint8)
    for stem, group in (("f1", "video/0"), ("f2", "video/0"), ("f3", "video/1")):
        for name in NAMES:
            tree.add(name, stem, photo, mask, group=group)
    tree.write_manifest(NAMES)
    index = PairIndex.from_tree(tree.root, "train")
    assert index.group_names == ["video/0", "video/1"]
    assert index.group.tolist() == [0, 0, 1, 0, 0, 1]


def test_nothing_is_opened_when_there_is_a_manifest(made: "TreeMaker") -> None:
    for path in made.root.rglob("*.png"):
        path.write_bytes(b"not a picture")
    assert len(PairIndex.from_tree(made.root, "train")) == 4


def test_without_a_manifest_headers_are_enough(made: "TreeMaker") -> None:
    (made.root / "manifest.csv").unlink()
    for path in made.root.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])  # signature, IHDR and the start of the pixels
    index = PairIndex.from_tree(made.root, "train")
    assert index.size.tolist() == [[24, 16]] * 4
    assert index.group_names == ["train/p1", "train/p2"]
    assert any("no manifest.csv" in note for note in index.notes)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_header_size_is_the_size_of_the_decoded_picture(tree: "TreeMaker", suffix: str, orientation: int) -> None:
    for name in NAMES:
        for view in ("roi", "extra-roi"):
            path = tree.path(view, name, "p1", suffix=suffix)
            path.parent.mkdir(parents=True)
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.new("RGB", (30, 20)).save(path, exif=exif)
    index = PairIndex.from_tree(tree.root, "train")
    _, height, width = read_rgb(index.paths(0)[0]).shape
    assert index.size.tolist() == [[width, height]] * 2
    if suffix == ".jpg":
        assert (width, height) == ((20, 30) if orientation == 6 else (30, 20))


def test_class_order_comes_from_the_class_file_and_is_sorted_without_one(made: "TreeMaker") -> None:
    assert PairIndex.from_tree(made.root, "train").classes.names == NAMES
    (made.root / "classes.yaml").unlink()
    index = PairIndex.from_tree(made.root, "train")
    assert index.classes.names == ("apple", "rice")
    assert index.key(0) == ("train", "apple", "p1")
    assert index.notes == [f"{made.root} has no classes.yaml: 2 classes taken from the folder names in sorted order"]


def test_without_a_class_file_both_splits_give_the_same_classes(made: "TreeMaker") -> None:
    (made.root / "classes.yaml").unlink()
    (made.root / "manifest.csv").unlink()
    for view in ("roi", "extra-roi"):
        shutil.rmtree(made.root / "test" / view / "apple")
    assert PairIndex.from_tree(made.root, "train").classes.names == ("apple", "rice")
    test = PairIndex.from_tree(made.root, "test")
    assert test.classes.names == ("apple", "rice")
    assert test.label.tolist() == [1, 1]


def test_a_given_class_list_decides_labels(made: "TreeMaker") -> None:
    index = PairIndex.from_tree(made.root, "train", ClassMap.from_names(["bread", "apple", "rice"]))
    assert index.label.tolist() == [1, 1, 2, 2]
    assert index.class_counts().tolist() == [0, 2, 2]


def test_hidden_files_are_ignored_and_said(made: "TreeMaker") -> None:
    (made.root / "train/roi/.DS_Store").write_bytes(b"x")
    (made.root / "train/roi/rice/.hidden.png").write_bytes(b"x")
    (made.root / "train/roi/.cache").mkdir()
    for name in ("train/roi/rice/Thumbs.db", "train/extra-roi/desktop.ini", "train/roi/rice/ehThumbs.db"):
        (made.root / name).write_bytes(b"x")
    for name in ("__MACOSX", "train/roi/__MACOSX"):
        (made.root / name).mkdir()
    index = PairIndex.from_tree(made.root, "train")
    assert len(index) == 4
    assert index.notes == [f"{made.root / 'train'}: 7 hidden files or folders ignored"]


@pytest.mark.parametrize("stem", ["egg.jpg", "pig", "x.jpe", "a b", "1.5"])
def test_stems_keep_every_letter_and_dot(tree: "TreeMaker", stem: str) -> None:
    photo = np.full((4, 4, 3), 9, dtype=np.uint8)
    for name in NAMES:
        tree.add(name, stem, photo, np.eye(4, dtype=bool), suffix=".JPG")
    index = PairIndex.from_tree(tree.root, "train")
    assert index.stems == [stem, stem]
    assert all(path.is_file() for row in range(2) for path in index.paths(row))


def test_the_two_files_of_a_pair_may_have_different_suffixes(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    for name in NAMES:
        old = tree.path("extra-roi", name, "p1")
        Image.open(old).save(old.with_suffix(".webp"), lossless=True)
        old.unlink()
    index = PairIndex.from_tree(tree.root, "train")
    assert [path.suffix for path in index.paths(0)] == [".png", ".webp"]


@pytest.mark.parametrize("with_manifest", [True, False])
def test_excluded_classes_close_ranks_and_are_not_looked_into(made: "TreeMaker", with_manifest: bool) -> None:
    names = ("bread", *NAMES)
    made.add_random(("bread",), ("p1",))
    made.write_classes(names)
    made.write_manifest(names)
    if not with_manifest:
        (made.root / "manifest.csv").unlink()
    whole = PairIndex.from_tree(made.root, "train")
    made.path("roi", "bread", "p1").write_bytes(b"")
    index = PairIndex.from_tree(made.root, "train", exclude=["bread"])
    assert index.classes.names == NAMES
    for kept in (index, whole.without(["bread"])):
        assert [kept.key(row) for row in range(len(kept))] == [index.key(row) for row in range(4)]
        assert kept.label.tolist() == [0, 0, 1, 1]
        assert kept.label.dtype == np.int16
    assert index.fingerprint() == whole.without(["bread"]).fingerprint()


def test_an_unknown_excluded_class_is_named(made: "TreeMaker") -> None:
    with pytest.raises(DataError, match=r"^no class is called 'appel'; did you mean 'apple'\?$"):
        PairIndex.from_tree(made.root, "train", exclude=["appel"])


def test_subset_keeps_the_order_given(made: "TreeMaker") -> None:
    index = PairIndex.from_tree(made.root, "train")
    part = index.subset([3, 0])
    assert [part.key(row) for row in range(2)] == [("train", "apple", "p2"), ("train", "rice", "p1")]
    assert part.paths(0) == index.paths(3)
    assert [part.group_names[code] for code in part.group] == ["train/p2", "train/p1"]
    assert part.class_counts().tolist() == [1, 1]


def test_the_fingerprint_follows_keys_sizes_and_sources_but_not_the_place(made: "TreeMaker", tmp_path: Path) -> None:
    index = PairIndex.from_tree(made.root, "train")
    shutil.copytree(made.root, tmp_path / "copy")
    assert PairIndex.from_tree(tmp_path / "copy", "train").fingerprint() == index.fingerprint()
    manifest = made.root / "manifest.csv"
    text = manifest.read_text()
    seen = {index.fingerprint(), index.subset([0, 1, 2]).fingerprint(), index.subset([1, 0, 2, 3]).fingerprint()}
    for changed in (text.replace("mask rice p1", "mask rice px"), text.replace("24,16,24,16", "24,16,24,15")):
        manifest.write_text(changed)
        seen.add(PairIndex.from_tree(made.root, "train").fingerprint())
    assert len(seen) == 5


def test_the_index_takes_less_than_200_bytes_a_pair() -> None:
    count = 20000
    pairs = [
        ScannedPair(i % 103, f"{i // 4:08d}", f"train/{i // 4:08d}", (224, 168), (".jpg", ".jpg"), bytes(16))
        for i in range(count)
    ]
    classes = ClassMap.from_names(f"class {i}" for i in range(103))
    index = PairIndex.from_pairs(Path("tree"), "train", classes, pairs, [])
    assert index.source_digest is not None
    columns: list[NDArray[Any]] = [index.label, index.group, index.size, index.suffix, index.source_digest]
    arrays = sum(column.nbytes for column in columns)
    strings = sum(len(text) + 49 for text in {*index.stems, *index.group_names})
    pointers = 8 * (len(index.stems) + len(index.group_names))
    assert (arrays + strings + pointers) / count < 200
    assert len(pickle.dumps(index)) / count < 200
    assert index.stems[0] is index.stems[1]
