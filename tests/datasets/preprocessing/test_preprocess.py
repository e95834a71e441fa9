import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.classes import ClassMap
from datasets.manifest import read_manifest
from datasets.preprocess import PreprocessOptions, preprocess
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

PROJECT = Path(__file__).resolve().parents[3]


def test_a_tree_is_what_the_masks_say(archive: "ArchiveMaker", tmp_path: Path) -> None:
    labels = {
        key: archive.blocks(number) for number, key in enumerate([("train", "a"), ("train", "b.c"), ("test", "a")])
    }
    photos = {key: archive.add(*key, ids) for key, ids in labels.items()}
    root = tmp_path / "made" / "tree"
    archive.preprocess(root, size=0, format="png")
    names = {1: "candy", 2: "egg tart", 5: "pie"}
    rows = {row.key: row for row in read_manifest(root / "manifest.csv")}
    assert set(rows) == {(split, name, stem) for split, stem in labels for name in names.values()}
    for (split, stem), ids in labels.items():
        for label, name in names.items():
            inside = (ids == label)[..., None]
            for view, mask in (("roi", inside), ("extra-roi", ~inside)):
                stored = np.asarray(Image.open(root / split / view / name / f"{stem}.png"))
                assert np.array_equal(stored, photos[split, stem] * mask)
            row = rows[split, name, stem]
            found = np.argwhere(inside[..., 0])
            (top, left), (bottom, right) = found.min(0), found.max(0) + 1
            assert (row.box_left, row.box_top, row.box_width, row.box_height) == (left, top, right - left, bottom - top)
            assert row.area_fraction == pytest.approx(len(found) / ids.size, abs=5e-7)
            assert (row.width, row.height, row.content_width, row.content_height) == (32, 24, 32, 24)
            assert (row.group, row.photo) == (f"{split}/{stem}", f"Images/img_dir/{split}/{stem}.png")
    files = {"classes.yaml", "manifest.csv", "preprocess.yaml", "contact_sheet.png"}
    assert {path.name for path in root.iterdir()} == files | {"train", "test"}
    assert [path.name for path in root.parent.iterdir()] == ["tree"]


def test_photo_and_mask_are_resized_before_they_are_cut(archive: "ArchiveMaker", tmp_path: Path) -> None:
    labels = np.zeros((90, 120), np.uint8)
    labels[20:71, 13:84] = 1
    pixels = archive.add("train", "a", labels)
    archive.preprocess(tmp_path / "tree", size=50, format="webp")
    roi, extra_roi = (
        np.asarray(Image.open(tmp_path / "tree" / "train" / view / "candy" / "a.webp")) for view in ("roi", "extra-roi")
    )
    expected = np.asarray(Image.fromarray(pixels).resize((50, 38), Image.Resampling.BICUBIC))
    assert np.array_equal(roi.astype(int) + extra_roi, expected)
    inside = np.asarray(Image.fromarray(labels).resize((50, 38), Image.Resampling.NEAREST)) == 1
    assert np.array_equal(roi.any(axis=2), inside)
    assert np.array_equal(extra_roi.any(axis=2), ~inside)


def test_classes_follow_the_ids_and_know_their_groups(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.class_file("0 background\n9 ketchup\n4 pie\n2 sauce\n")
    archive.add("train", "a", np.array([[2, 4, 9, 0]], np.uint8))
    archive.preprocess(tmp_path / "tree", size=0)
    classes = ClassMap.load(tmp_path / "tree" / "classes.yaml")
    assert classes.names == ("sauce", "pie", "ketchup")
    assert classes.ambiguous == ("ketchup",)
    assert classes.supercategories == {"sauce": "sauce", "pie": "main", "ketchup": "sauce"}


def test_unknown_classes_have_no_supercategories(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.class_file("0 background\n1 pie\n2 spaceship\n")
    archive.add("train", "a", np.array([[1, 2]], np.uint8))
    lines = archive.preprocess(tmp_path / "tree", size=0, ambiguous=("spaceship", "pie"))
    classes = ClassMap.load(tmp_path / "tree" / "classes.yaml")
    assert classes.supercategories == {}
    assert classes.ambiguous == ("pie", "spaceship")
    assert not any("ambiguous" in line for line in lines)


def test_ambiguous_names_must_exist_when_they_are_given(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    with pytest.raises(ConfigError, match=r"--ambiguous: 2 problems\n.*'cand'; did you mean 'candy'\?\n.*'x'"):
        archive.preprocess(tmp_path / "tree", ambiguous=("cand", "x"))
    assert archive.preprocess(tmp_path / "tree")[0] == (
        "ambiguous classes: ketchup and chili-paste not among the classes, left out"
    )


def test_small_and_vanished_regions_are_dropped_and_counted(archive: "ArchiveMaker", tmp_path: Path) -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[:50] = 1
    labels[60:70, 60:70] = 2  # 1 % of the photo
    labels[0, 0] = 5  # lost at 20 pixels: samples are taken at 2, 7, 12, …
    archive.add("train", "a", labels)
    archive.add("train", "empty", np.zeros((10, 10), np.uint8))
    archive.add("test", "full", np.full((10, 10), 7, np.uint8))
    lines = archive.preprocess(tmp_path / "tree", size=20, min_area=0.02)
    assert [row.key for row in read_manifest(tmp_path / "tree" / "manifest.csv")] == [
        ("test", "soup", "full"),
        ("train", "candy", "a"),
    ]
    record = yaml.safe_load((tmp_path / "tree" / "preprocess.yaml").read_text())["archives"][0]
    assert record["pairs"] == {"test": 1, "train": 1}
    assert record["under_min_area"] == {"test": 0, "train": 1}
    assert record["vanished"] == {"test": 0, "train": 1}
    assert record["photos_without_pair"] == {"test": 0, "train": 1}
    assert (
        "train: 2 photos, 1 pairs, 1 dropped under --min_area, 1 dropped because resizing left no pixel, "
        "1 photos without any pair"
    ) in lines
    assert "  1 pairs cover the whole photo, so that their extra-roi is black" in lines
    assert "  classes without a pair in train: 3 (egg tart, pie, soup)" in lines


def test_the_summary_by_hand(archive: "ArchiveMaker", tmp_path: Path) -> None:
    for stem, candy, pie in (("a", 10, 20), ("b", 30, 0), ("c", 50, 0)):
        labels = np.zeros((10, 10), np.uint8)
        labels.flat[:candy] = 1
        labels.flat[99 - pie : 99] = 5
        archive.add("train", stem, labels)
    lines = archive.preprocess(tmp_path / "tree", size=0)
    assert lines[1:4] == [
        "train: 3 photos, 4 pairs",
        "  pairs per class: least 1 (pie), most 3 (candy)",
        "  classes without a pair in train: 2 (egg tart, soup)",
    ]
    assert lines[4] == "  ROI area, quartiles: 17.50 % / 25.00 % / 35.00 % of the photo"  # of 10, 20, 30, 50
    assert lines[-1] == f"contact sheet: {tmp_path / 'tree' / 'contact_sheet.png'}"


def test_bytes_do_not_depend_on_workers(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    archive.preprocess(tmp_path / "one", size=16)
    archive.preprocess(tmp_path / "three", size=16, workers=3)
    assert archive.files(tmp_path / "one") == archive.files(tmp_path / "three")


@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_photos_give_upright_cut_outs(archive: "ArchiveMaker", tmp_path: Path, orientation: int) -> None:
    labels = archive.blocks(1)
    pixels = archive.add("train", "a", labels, orientation=orientation)
    archive.preprocess(tmp_path / "tree", size=0, format="png", mask_orientation="stored")
    turns = {3: 2, 6: -1}[orientation]  # quarter turns to the left
    roi = np.asarray(Image.open(tmp_path / "tree" / "train" / "roi" / "candy" / "a.png"))
    assert np.array_equal(roi, np.rot90(pixels * (labels == 1)[..., None], turns))


def test_a_complete_tree_is_left_alone(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    root = tmp_path / "tree"
    archive.preprocess(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert (
        archive.preprocess(root)[-1] == f"{root} is complete: it holds this archive with these options; nothing to do"
    )
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    with pytest.raises(
        DataError, match=r"is a tree of another archive or other options .* choose another --dst, delete"
    ):
        archive.preprocess(root, size=99)
    archive.add("train", "a", archive.blocks(8))
    with pytest.raises(DataError, match=r"is a tree of another archive or other options"):
        archive.preprocess(root)


def test_a_folder_of_something_else_is_left_alone(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    (tmp_path / "letters").mkdir()
    archive.preprocess(tmp_path / "letters")  # an empty folder may be filled
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"--dst .*full exists and is not empty; choose another --dst or delete it"):
        archive.preprocess(tmp_path / "full")
    assert not (tmp_path / ".full.partial").exists()


def test_masks_of_background_alone(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.add("train", "a", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"gives no pair: its masks hold only background"):
        archive.preprocess(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1}, r"--size -1: the longer side is 0 \(as the photo\) or 1\.\.16384"),
        ({"format": "gif"}, r"--format gif: choose jpg, png, webp"),
        ({"quality": 0}, r"--quality 0: JPEG quality is 1\.\.100"),
        ({"format": "png", "quality": 90}, r"--quality is for jpg; png is written without loss: leave --quality out"),
        ({"min_area": 1.0}, r"--min_area 1\.0: a part of the photo, at least 0 and below 1"),
        ({"min_area": float("nan")}, r"--min_area nan"),
        ({"workers": 0}, r"--workers 0: at least 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PreprocessOptions(**options)


def test_nothing_here_loads_torch() -> None:
    code = "import sys, preprocess_foodseg103; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_real_photos_give_the_known_pairs(tmp_path: Path) -> None:
    folder = os.environ.get("RVERNET_DATA")
    if not folder:
        pytest.skip("RVERNET_DATA is not set")
    source = Path(folder) / "table_photos"
    preprocess(PreprocessOptions(src=source, dst=tmp_path / "tree", size=64, workers=1), lambda _: None)
    # Counted in the masks: 4 test and 7 train photos hold 10 and 15 classes in all.
    assert Counter(row.split for row in read_manifest(tmp_path / "tree" / "manifest.csv")) == {"test": 10, "train": 15}
