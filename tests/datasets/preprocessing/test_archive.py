import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from datasets.archive import read_archive
from datasets.class_file import describe_ids, load_class_file
from utils.errors import DataError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

LABELS = np.ones((4, 6), np.uint8)


def _stems(archive: "ArchiveMaker") -> list[tuple[str, str]]:
    return [(photo.split, photo.stem) for photo in read_archive(archive.root).photos]


def test_the_class_file_as_distributed(archive: "ArchiveMaker") -> None:
    # CRLF, tabs, a gap in the ids, no line end after the last class, blanks around names.
    archive.class_file("0\tbackground\r\n7\t other ingredients \r\n2\tegg tart\r\n1 cheese/butter\r\n3   candy")
    ids = load_class_file(archive.root / "category_id.txt")
    assert list(ids.items()) == [(1, "cheese/butter"), (2, "egg tart"), (3, "candy"), (7, "other ingredients")]
    assert describe_ids(ids) == "0 (background) and 1..3, 7"


def test_the_published_class_file() -> None:
    folder = os.environ.get("RVERNET_DATA")
    if not folder:
        pytest.skip("RVERNET_DATA is not set")
    names = list(load_class_file(Path(folder) / "foodseg103_category_id.txt").values())
    assert (len(names), names[0], names[51], names[102]) == (103, "candy", "sauce", "other ingredients")


def test_photos_without_lists_in_mixed_suffixes(archive: "ArchiveMaker") -> None:
    for stem, suffix in (("a", ".jpg"), ("b.c", ".JPEG"), ("e.jpg", ".PNG"), ("egg", ".Jpg")):
        archive.add("train", stem, LABELS, suffix=suffix)
    archive.add("val", "a", LABELS)
    assert _stems(archive) == [("train", "a"), ("train", "b.c"), ("train", "e.jpg"), ("train", "egg"), ("val", "a")]
    photo = read_archive(archive.root).photos[1]
    assert photo.photo == "Images/img_dir/train/b.c.JPEG"
    assert photo.mask == "Images/ann_dir/train/b.c.png"
    assert photo.group == "train/b.c"


@pytest.mark.parametrize(
    "text",
    ["a\nb.c\n", "a.jpg\r\nb.c.png\r\n", "\ufefftrain/b.c.JPG\n\n ./train/a.png", "img_dir/train/a\ntrain\\b.c\n"],
)
def test_lists_of_every_mirror(archive: "ArchiveMaker", text: str) -> None:
    for stem in ("a", "b.c", "unlisted"):
        archive.add("train", stem, LABELS)
    archive.list_file("train", text)
    assert _stems(archive) == [("train", "a"), ("train", "b.c")]
    assert read_archive(archive.root).notes == (
        f"train: 1 photos are not in {archive.root}/ImageSets/train.txt and are left out",
    )


def test_an_unlisted_photo_needs_no_mask(archive: "ArchiveMaker") -> None:
    archive.add("train", "a", LABELS)
    archive.add("train", "b", LABELS)
    archive.mask_path("train", "b.png").unlink()
    archive.list_file("train", "a\n")
    assert _stems(archive) == [("train", "a")]


def test_hidden_files_are_ignored_and_stray_ones_are_told(archive: "ArchiveMaker") -> None:
    archive.add("train", "a", LABELS)
    for name in (".DS_Store", "._a.jpg", "Thumbs.db"):
        archive.photo_path("train", name).write_bytes(b"x")
    archive.photo_path(".hidden", "b.jpg").write_bytes(b"x")
    assert read_archive(archive.root).notes == ()
    stray = archive.photo_path("train", "notes.txt")
    stray.write_bytes(b"x")
    (note,) = read_archive(archive.root).notes
    assert note == f"1 files or folders are neither photo nor mask and are left aside, the first is {stray}"


def test_every_problem_of_the_listing_at_once(archive: "ArchiveMaker") -> None:
    archive.class_file("0 background\n1 candy\n2 Candy\n3 a/b\n4 a-b\n3 pie\nfive\n6 .soup\n")
    for stem in ("a", "b", "twice", "lonely"):
        archive.add("train", stem, LABELS)
    archive.photo_path("train", "twice.JPG").write_bytes(b"x")
    archive.mask_path("train", "a.png").unlink()
    archive.photo_path("train", "lonely.png").unlink()
    archive.list_file("train", "a\nb\ntwice\nmissing.jpg\ntest/x.jpg\n")
    archive.photo_path("test", ".keep").write_bytes(b"")
    archive.mask_path("test", "x.png").write_bytes(b"x")
    archive.photo_path("extra", "x.jpg").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        read_archive(archive.root)
    lines = str(caught.value).splitlines()
    wanted = [
        r"line 6: id 3 is 'a/b' and 'pie'; give each its own id",
        r"line 7: 'five' is not 'id name', such as '7 pudding'",
        r"classes 'candy' and 'Candy' differ only by blanks, case or a slash",
        r"classes 'a/b' and 'a-b' differ only by blanks, case or a slash",
        r"class '\.soup' cannot be a folder's name",
        r"img_dir/extra has no counterpart .*ann_dir/extra; add it or remove the split",
        r"img_dir/test holds no \.jpg/\.jpeg/\.png file; fill it or remove the split",
        r"twice\.JPG and twice\.png share the stem 'twice'; keep one or rename",
        r"train\.txt, line 4: .* has no photo 'missing'; copy it there or remove the line",
        r"train\.txt, line 5: 'test/x\.jpg' is of another split; remove the line",
        r"ann_dir/train/lonely\.png has no photo",
        r"img_dir/train/a\.png has no mask .*ann_dir/train/a\.png",
    ]
    assert lines[0] == f"archive {archive.root}: {len(wanted)} problems"
    for pattern in wanted:
        assert sum(bool(re.search(pattern, line)) for line in lines[1:]) == 1, pattern


def test_missing_folders_say_what_an_archive_holds(tmp_path: Path, archive: "ArchiveMaker") -> None:
    with pytest.raises(
        DataError, match=r"--src .*nowhere is not a folder; give the archive's folder, which holds Images"
    ):
        read_archive(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"2 problems\n.*img_dir is missing; an archive holds .*\n.*ann_dir is missing"):
        read_archive(archive.root)
    archive.add("train", "a", LABELS)
    with pytest.raises(DataError, match=rf"img_dir is missing; did you mean --src {re.escape(str(archive.root))}\?"):
        read_archive(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"category_id\.txt names no class; add lines such as '1 candy'"),
        ("0 background\n", r"category_id\.txt names no class"),
        ("1 \n", r"line 1: '1' is not 'id name'"),
    ],
)
def test_class_files_without_a_class(archive: "ArchiveMaker", text: str, message: str) -> None:
    archive.add("train", "a", LABELS)
    archive.class_file(text)
    with pytest.raises(DataError, match=message):
        read_archive(archive.root)


def test_id_0_is_the_background_whatever_its_name(archive: "ArchiveMaker") -> None:
    archive.add("train", "a", LABELS)
    archive.class_file("0 candy\n1 pie\n")
    listing = read_archive(archive.root)
    assert listing.class_names == ("pie",)
    assert listing.notes == ("id 0 ('candy') is taken as the background of the masks and makes no class",)


def test_lists_that_list_nothing(archive: "ArchiveMaker") -> None:
    archive.add("train", "a", LABELS)
    archive.list_file("train", "\r\n")
    with pytest.raises(DataError, match=r"train\.txt lists no photo; fill it, or delete it to take every photo"):
        read_archive(archive.root)


def test_groups_are_read_with_and_without_suffix(archive: "ArchiveMaker", tmp_path: Path) -> None:
    for stem in ("a", "b.c"):
        archive.add("train", stem, LABELS)
    groups = tmp_path / "groups.csv"
    groups.write_text("group,image,split\nrun 1,a.jpg,train\nrun 1,b.c,train\nrun 2,gone,train\n")
    listing = read_archive(archive.root, groups)
    assert [photo.group for photo in listing.photos] == ["run 1", "run 1"]
    assert listing.notes == (f"{groups}: 1 rows name no photo in use, the first is train/gone",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"--groups .* does not exist; give a CSV file with the columns split,image,group"),
        ("split,image\n", r"needs the columns split,image,group, but has 'split,image'"),
        ("split,image,group\n", r"has no row; give split,image,group for every photo"),
        ("split,image,group\ntrain,a,1\n", r"has no row for train/b; add it"),
        (
            "split,image,group\ntrain,a,1\ntrain,b,1\ntrain,a.jpg,2\n",
            r"line 4: train/a\.jpg has two groups, '1' and '2'",
        ),
        ("split,image,group\ntrain,a,1\ntrain,b,\n", r"line 3: the group of train/b is empty; name it"),
    ],
)
def test_groups_that_cannot_be_used(archive: "ArchiveMaker", tmp_path: Path, text: str | None, message: str) -> None:
    for stem in ("a", "b"):
        archive.add("train", stem, LABELS)
    groups = tmp_path / "groups.csv"
    if text is not None:
        groups.write_text(text)
    with pytest.raises(DataError, match=message):
        read_archive(archive.root, groups)
