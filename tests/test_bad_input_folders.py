"""Mistakes in class folders and in what is asked of them: one line each, with the fix, exit status 2."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import doctor
from datasets.sources import load_index_of
from utils.data_sections import DataConfig, SplitNames
from utils.errors import DataError

Spoil = Callable[[Path], None]


def _save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, split in enumerate(("train", "test")):
        for other, name in enumerate(("candy", "tea")):
            for number in range(2):
                _save(tmp_path / "root" / split / name / f"{number}.png", 100 * place + 10 * other + number)
    return tmp_path / "root"


def read(root: Path, split: str, source: str = "folders") -> None:
    data = DataConfig(source=source, root=str(root))  # type: ignore[arg-type]
    load_index_of(data, split, require_every_class=split == data.splits.train)


def other_class(root: Path) -> None:
    _save(root / "test" / "teas" / "0.png")


def nested(root: Path) -> None:
    _save(root / "train" / "tea" / "green" / "0.png")


def empty_class(root: Path) -> None:
    (root / "train" / "water").mkdir()


def one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "candy")


def two_of_a_stem(root: Path) -> None:
    _save(root / "train" / "tea" / "0.jpg")


def unsafe_class(root: Path) -> None:
    (root / "train" / "tea").rename(root / "train" / "con")


def unsafe_file(root: Path) -> None:
    _save(root / "train" / "tea" / "a\nb.png")


def alike_classes(root: Path) -> None:
    _save(root / "train" / "Tea" / "0.png")


def stray_file(root: Path) -> None:
    (root / "train" / "tea" / "notes.txt").write_text("ours")


def stray_photo(root: Path) -> None:
    _save(root / "train" / "0.png")


def no_bytes(root: Path) -> None:
    (root / "train" / "tea" / "0.png").write_bytes(b"")


def no_picture(root: Path) -> None:
    (root / "train" / "tea" / "0.png").write_text("not a picture")


def link_out(root: Path) -> None:
    _save(root.parent / "elsewhere" / "0.png")
    (root / "train" / "tea" / "9.png").symlink_to(root.parent / "elsewhere" / "0.png")


def no_photo(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train" / "tea").mkdir(parents=True)
    (root / "train" / "candy").mkdir()


def no_class(root: Path) -> None:
    shutil.rmtree(root / "train")
    _save(root / "train" / "0.png")


def no_train(root: Path) -> None:
    (root / "train").rename(root / "training")


def only_val(root: Path) -> None:
    (root / "test").rename(root / "val")


def no_split(root: Path) -> None:
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")


def split_itself(root: Path) -> None:
    shutil.rmtree(root / "test")
    for path in (root / "train").iterdir():
        path.rename(root / path.name)
    (root / "train").rmdir()


@pytest.mark.parametrize(
    ("spoil", "split", "said"),
    [
        (other_class, "test", r"train has no class 'teas' as .*test/teas has; add photos to .*; did you mean 'tea'\?"),
        (nested, "train", r"tea/green is a folder in a class folder; move its photos up"),
        (empty_class, "train", r"train/water holds no photo; add some, remove the folder, .* --data.exclude water"),
        (one_class, "train", r"only one class, 'tea'; a classifier needs at least two"),
        (two_of_a_stem, "train", r"share the stem '0'; rename one"),
        (unsafe_class, "train", r"'con'.* a name that some systems keep for themselves; rename it"),
        (unsafe_file, "train", r"holds a file called 'a\\nb'.*rename it"),
        (alike_classes, "train", r"differ only by blanks, case.*; rename one of them"),
        (stray_file, "train", r"notes.txt is no picture \(.jpg, .*\); remove it"),
        (stray_photo, "train", r"train/0.png is no class folder; remove it, or put it into a class folder"),
        (no_bytes, "train", r"0.png has 0 bytes; copy it again"),
        (no_picture, "train", r"0.png is no picture that can be read; copy it again"),
        (link_out, "train", r"is a link that leads out"),
        (no_photo, "train", r"there is no photo in it; add some"),
        (no_class, "train", r"holds no class folder; put the photos of each class into a folder"),
        (no_train, "train", r"no split 'train', but training; name it with --data.splits.train training"),
        (only_val, "test", r"no split 'test', but val; name it with --data.splits.test val$"),
        (no_split, "train", r"holds no folder; set data.root to the folder that holds <split>/<class>/<photo>"),
        (split_itself, "train", r"hold photos themselves, so they are classes and not splits"),
        (shutil.rmtree, "train", r"does not exist; set data.root"),
    ],
)
def test_a_bad_class_folder_is_refused_in_one_line(root: Path, spoil: Spoil, split: str, said: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=said) as refusal:
        read(root, split)
    assert "\n" not in str(refusal.value)
    assert str(root) in str(refusal.value)


def test_val_is_asked_for_where_only_test_is_there(root: Path) -> None:
    data = DataConfig(source="folders", root=str(root), splits=SplitNames(test="val"))
    with pytest.raises(DataError, match=r"no split 'val', but test; name it with --data.splits.test test$"):
        load_index_of(data, "val")


def test_several_problems_are_said_at_once(root: Path) -> None:
    nested(root)
    stray_file(root)
    with pytest.raises(DataError, match="2 problems"):
        read(root, "train")


@pytest.mark.parametrize("source", ["pairs", "archive"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_who_forgets_the_source_is_told(root: Path, source: str, split: str) -> None:
    with pytest.raises(DataError, match=r"--data.source folders --data.view photo$"):
        read(root, split, source)


def test_who_sets_it_for_pairs_is_told(pair_tree: Path) -> None:
    with pytest.raises(DataError, match=r"holds folder pairs \(train/roi\); set data.source to pairs$"):
        read(pair_tree, "train")


def test_who_sets_it_for_an_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "Images" / "img_dir" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"is an archive .*; set data.source to archive$"):
        read(tmp_path, "train")


def _examined(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as left:
        doctor.main([str(root), "--workers", "1"])
    return left.value.code, capsys.readouterr().out


def test_the_doctor_finds_a_healthy_folder_healthy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = _examined(root, capsys)
    assert (status, said.splitlines()[-1]) == (1, f"0 errors, 1 warning, 2 notes (8 photos without masks in {root})")
    assert "[few-pairs]" in said  # two photos a class


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("val/tea/deep/0.png", r"\[foreign-file\] .*val/tea/deep is a folder in a class folder; move its photos up"),
        ("val/0.png", r"\[foreign-file\] .*val/0.png"),
        ("val/tea/notes", r"\[foreign-file\] .*val/tea/notes"),
        ("extra/x/deep/0.png", r"\[unknown-class\] .*extra/x has"),
    ],
)
def test_the_doctor_finds_the_split_that_training_refuses(
    root: Path, place: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _save(root / "spare.png")
    (root / place).parent.mkdir(parents=True)
    (root / "spare.png").rename(root / place)
    data = DataConfig(source="folders", root=str(root), splits=SplitNames(test=place.split("/")[0]))
    with pytest.raises(DataError):
        load_index_of(data, data.splits.test)
    status, said = _examined(root, capsys)
    assert status == 2
    assert re.search(found, said), said


def test_the_doctor_finds_a_split_without_photos_and_passes_over_other_folders(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "val" / "tea").mkdir(parents=True)
    (root / "papers" / "old").mkdir(parents=True)
    (root / "papers" / "old" / "readme.txt").write_text("ours")
    status, said = _examined(root, capsys)
    assert status == 2
    assert "val: holds no photo in a class folder; add some" in said
    assert "papers" not in said


def test_the_doctor_warns_of_one_photo_in_two_classes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "train" / "tea" / "0.png", root / "train" / "candy" / "7.png")
    shutil.copy(root / "train" / "tea" / "0.png", root / "train" / "tea" / "8.png")  # no other class
    read(root, "train")
    status, said = _examined(root, capsys)
    assert status == 1
    assert re.search(r"warning \[two-classes\] .*train/candy/7.png and train/tea/0.png: are the same photo in", said), (
        said
    )
    assert "same-photo" not in said


def test_the_doctor_finds_what_spoils_scores(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "train" / "tea" / "0.png", root / "test" / "tea" / "5.png")
    big = np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    Image.fromarray(big).save(root / "train" / "candy" / "scene.jpg", quality=95)
    Image.fromarray(big).resize((280, 210)).save(root / "test" / "candy" / "again.jpg", quality=70)
    path = root / "train" / "candy" / "0.png"
    path.write_bytes(path.read_bytes()[:-60])
    (root / "test" / "water").mkdir()
    status, said = _examined(root, capsys)
    assert status == 2
    for code, place in (
        ("same-photo", "train/tea/0.png"),
        ("near-duplicate", "candy/scene.jpg"),
        ("damaged-picture", "train/candy/0.png"),
        ("unknown-class", "test/water"),
    ):
        assert re.search(rf"\[{code}\] .*{place}", said), (code, said)
