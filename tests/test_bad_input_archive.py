"""Archives with mistakes, through the script that a user runs: one message, and no tree.

The listing, the decoding and ``--check`` have tests of their own in tests/datasets/preprocessing.
"""

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_plates
import preprocess_foodseg103
from datasets import photo_cutter
from tests.conftest import write_archive
from utils.errors import ConfigError, DataError, UserError

PHOTO = Path("Images/img_dir/train/photo_001.png")
MASK = Path("Images/ann_dir/train/photo_001.png")
CLASSES = "0 background\n1 {}\n2 {}\n3 blueberry\n"


def cut(archive: Path, *options: str) -> None:
    """Run the script as a user does, with a tree beside the archive as its target."""
    target = archive.parent / "tree"
    preprocess_foodseg103.main(["--src", str(archive), "--dst", str(target), "--workers", "1", *options])


def refusal(archive: Path, *options: str, error: type[UserError] = DataError) -> str:
    with pytest.raises(error) as caught:
        cut(archive, *options)
    assert not (archive.parent / "tree").exists()
    return str(caught.value)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "archive", {"train": 3, "test": 2})


def empty_folder(archive: Path) -> None:
    for photo in (archive / PHOTO.parent).iterdir():
        photo.unlink()


def empty_archive(archive: Path) -> None:
    shutil.rmtree(archive / "Images")


def listed_photo_absent(archive: Path) -> None:
    (archive / "ImageSets" / "train.txt").write_text("photo_000\nphoto_0O1\n")


def photo_without_mask(archive: Path) -> None:
    (archive / MASK).unlink()


def mask_without_photo(archive: Path) -> None:
    (archive / PHOTO).unlink()
    (archive / "ImageSets" / "train.txt").unlink()


def mask_of_another_size(archive: Path) -> None:
    Image.fromarray(np.zeros((30, 48), np.uint8)).save(archive / MASK)


def unknown_label(archive: Path) -> None:
    Image.fromarray(np.full((36, 48), 9, np.uint8)).save(archive / MASK)


def truncated_jpeg(archive: Path) -> None:
    photo = archive / PHOTO
    jpeg = photo.with_suffix(".jpg")
    Image.open(photo).save(jpeg)
    photo.unlink()
    jpeg.write_bytes(jpeg.read_bytes()[:-200])


def zero_bytes(archive: Path) -> None:
    (archive / PHOTO).write_bytes(b"")


def two_photos_of_one_stem(archive: Path) -> None:
    Image.open(archive / PHOTO).save((archive / PHOTO).with_suffix(".jpg"))


def names_that_differ_by_blanks(archive: Path) -> None:
    (archive / "category_id.txt").write_text(CLASSES.format("egg tart", "egg  tart"))


def names_that_differ_by_case(archive: Path) -> None:
    (archive / "category_id.txt").write_text(CLASSES.format("tomato", "Tomato"))


def names_that_differ_by_a_slash(archive: Path) -> None:
    (archive / "category_id.txt").write_text(CLASSES.format("cheese/butter", "cheese-butter"))


MISTAKES: list[tuple[Callable[[Path], None], str]] = [
    (empty_folder, r"img_dir/train holds no \.jpg/\.jpeg/\.png file; fill it or remove the split"),
    (listed_photo_absent, r"train\.txt, line 2: .*img_dir/train has no photo 'photo_0O1'; copy it there or remove"),
    (
        photo_without_mask,
        r"train/photo_001\.png has no mask .*ann_dir/train/photo_001\.png; add it or remove the photo",
    ),
    (mask_without_photo, r"ann_dir/train/photo_001\.png has no photo .*photo_001\.jpg.*; add it or remove the mask"),
    (mask_of_another_size, r"ann_dir/train/photo_001\.png is 48×30 pixels, but its photo .* is 48×36"),
    (unknown_label, r"photo_001\.png: label id 9 is not in category_id\.txt; .*allowed: 0 \(background\) and 1\.\.3"),
    (truncated_jpeg, r"train/photo_001\.jpg: damaged or cut short \(.*\); copy it again"),
    (zero_bytes, r"img_dir/train/photo_001\.png: the file is empty \(0 bytes\); copy it again"),
    (two_photos_of_one_stem, r"photo_001\.jpg and photo_001\.png share the stem 'photo_001'; keep one or rename"),
    (names_that_differ_by_blanks, r"classes 'egg tart' and 'egg  tart' differ only by blanks, .*rename one of them"),
    (names_that_differ_by_case, r"classes 'tomato' and 'Tomato' differ only by .*case .*rename one of them"),
    (names_that_differ_by_a_slash, r"'cheese/butter' and 'cheese-butter' differ only by .* a slash .*rename one"),
]


@pytest.mark.parametrize(("spoil", "message"), MISTAKES, ids=lambda case: getattr(case, "__name__", ""))
def test_one_mistake_is_one_line(archive: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(archive)
    text = refusal(archive)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"archive {archive}: ")
    assert re.search(message, text), text


def test_an_empty_archive_lists_what_it_should_hold(archive: Path) -> None:
    empty_archive(archive)
    text = refusal(archive)
    assert text.startswith(f"archive {archive}: 2 problems\n")
    assert text.count("an archive holds Images/img_dir/{train,test}, Images/ann_dir/{train,test}, category_id.txt") == 2


def test_a_missing_archive_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").startswith(f"--src {tmp_path / 'nowhere'} is not a folder; give the archive's")


def test_mistakes_in_several_files_are_one_list_and_can_be_mended(archive: Path) -> None:
    before = {path: (archive / path).read_bytes() for path in (PHOTO, MASK)}
    zero_bytes(archive)
    unknown_label(archive)
    text = refusal(archive)
    assert [line[:4] for line in text.splitlines()[1:-1]] == ["  1.", "  2."]
    partial = archive.parent / ".tree.partial"
    assert text.endswith(f"then run the same command again: what is finished is kept in {partial}")
    for path, data in before.items():
        (archive / path).write_bytes(data)
    cut(archive)
    assert (archive.parent / "tree" / "manifest.csv").is_file()
    assert not partial.exists()


def test_a_slash_in_a_class_name_is_a_dash_in_its_folder(archive: Path) -> None:
    (archive / "category_id.txt").write_text(CLASSES.format("cheese/butter", "spinach"))
    cut(archive)
    tree = archive.parent / "tree"
    assert (tree / "train" / "roi" / "cheese-butter").is_dir()
    assert ",cheese/butter," in (tree / "manifest.csv").read_text()


def test_hidden_files_and_folders_are_no_part_of_an_archive(archive: Path) -> None:
    (archive / "Images" / "img_dir" / ".thumbnails").mkdir()
    (archive / PHOTO).with_name("._photo_001.png").write_bytes(b"x")
    cut(archive)
    assert not list((archive.parent / "tree").rglob(".*"))


def test_a_full_disk_leaves_no_tree(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(photo_cutter.PhotoCutter, "_write", full)
        text = refusal(archive)
    assert text.startswith(f"no space is left for {archive.parent / 'tree'} (No space left on device); free some and ")
    assert len(text.splitlines()) == 1
    cut(archive)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"^--dst is missing: the folder of the pairs, as in --src ARCHIVE --dst ROOT$"),
        (["--dst", "tree"], r"^--src is missing: the folder of the archive, as in --src ARCHIVE --dst ROOT$"),
        (["--sizes", "224"], r"^unknown option '--sizes'; did you mean '--size'"),
        (["--size", "big"], r"^argument --size: invalid int value: 'big'"),
        (["--size", "-1"], r"^--size -1: the longer side is 0 \(as the photo\) or 1\.\.16384 pixels$"),
        (["--min_area", "nan"], r"^--min_area nan: a part of the photo, at least 0 and below 1$"),
        (["--format", "gif"], r"^argument --format: invalid choice: 'gif' \(choose from "),
    ],
)
def test_options_of_preprocessing(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        preprocess_foodseg103.main(options)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tree_among_the_photos_would_become_a_part_of_the_archive(archive: Path) -> None:
    target = archive / "Images" / "img_dir" / "tree"
    with pytest.raises(ConfigError, match=r"lies among the archive's photos; name a folder outside of it"):
        preprocess_foodseg103.main(["--src", str(archive), "--dst", str(target)])
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--photos", "4"], r"^--dst is missing: the folder of the archive, absent or empty, as in --dst plates$"),
        (["--dst", "{}", "--phtos", "4"], r"^unknown option '--phtos'; did you mean '--photos'\?$"),
        (["--dst", "{}", "--photos", "four"], r"photos.*expected int"),
        (["--dst", "{}", "--photos", "0"], r"^options of the generated plates: photos is 0, allowed is 2 to 99999999$"),
    ],
)
def test_options_of_generated_plates(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_plates.main([option.format(tmp_path / "plates") for option in options])
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
