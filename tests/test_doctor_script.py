import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import doctor
from datasets.preprocess import PreprocessOptions, preprocess
from utils.errors import ConfigError

NAMES = "1\tcandy\n2\ttea\n"


def _add(root: Path, split: str, stem: str, ids: list[int], seed: int, *, orientation: int | None = None) -> None:
    """Write a photo of noise in blocks, and a mask with one column for each id."""
    blocks = np.random.default_rng(seed).integers(30, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    labels = np.repeat(np.array(ids, np.uint8), 48 // len(ids))[None].repeat(32, axis=0)
    for kind, name in (("img_dir", f"{stem}.jpg"), ("ann_dir", f"{stem}.png")):
        (root / "Images" / kind / split).mkdir(parents=True, exist_ok=True)
        if kind == "img_dir":
            Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(root / "Images" / kind / split / name, exif=exif)
        else:
            Image.fromarray(labels).save(root / "Images" / kind / split / name)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for number in range(5):
        _add(root, "train", f"a{number}", [0, 1, 2], number)
        _add(root, "test", f"b{number}", [0, 1, 2], 100 + number)
    (root / "category_id.txt").write_text(NAMES)
    return root


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as left:
        doctor.main([*map(str, arguments), "--workers", "1"])
    code = left.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().out.splitlines()


def test_a_healthy_archive_and_its_tree(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preprocess(PreprocessOptions(src=archive, dst=tmp_path / "tree", workers=1), lambda _line: None)
    status, lines = _run(capsys, archive, tmp_path / "tree")
    assert (status, lines[-1]) == (
        0,
        f"0 errors, 0 warnings, 4 notes (10 photos with masks in {archive}; 20 pairs in {tmp_path / 'tree'})",
    )
    kinds = [
        json.loads((tmp_path / f"{name}.doctor.json").read_text())["checked"][0]["kind"] for name in ("archive", "tree")
    ]
    assert kinds == ["archive", "pairs"]


def test_a_spoiled_archive(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = archive / "Images" / "img_dir", archive / "Images" / "ann_dir"
    shutil.copy(images / "train" / "a0.jpg", images / "test" / "b0.jpg")  # the same photo
    with Image.open(images / "train" / "a1.jpg") as photo:
        photo.save(images / "test" / "b1.jpg", quality=60)  # a near-duplicate
    (masks / "train" / "a2.png").rename(masks / "train" / "A2.png")  # case
    _add(archive, "train", "c0", [0, 0, 0], 50)  # nothing marked
    _add(archive, "train", "c1", [2, 2, 2], 51)  # all of one class
    tiny = np.zeros((32, 48), np.uint8)
    tiny[0, :2] = 1
    _add(archive, "train", "c2", [0, 0, 0], 52)
    Image.fromarray(tiny).save(masks / "train" / "c2.png")
    _add(archive, "train", "c3", [0, 1, 2], 53, orientation=6)  # the mask lies as the photo is stored
    (archive / "Images" / ".ipynb_checkpoints").mkdir()
    (archive / "category_id.txt").write_bytes(NAMES.replace("\n", "\r\n").encode())
    status, lines = _run(capsys, archive)
    codes = [line.partition("[")[2].partition("]")[0] for line in lines if "[class-support]" not in line][:-1]
    assert status == 2
    assert codes == [
        "same-photo",
        *["name-blanks-or-case"] * 2,  # the photo without its mask, and the mask without its photo
        "near-duplicate",
        "empty-mask",
        "whole-image-mask",
        "tiny-roi",
        "exif-size",
        "crlf",
        "hidden-folder",
    ]
    assert "train/a2.jpg: has no mask" in lines[2]
    assert lines[2].endswith("; 'A2.png' is there; spell both alike")
    assert "test/b1.jpg and Images/img_dir/train/a1.jpg: look the same" in lines[3]
    status, lines = _run(capsys, archive, "--accept", "same-photo,name-blanks-or-case", "--near_duplicates", 0)
    assert status == 1
    assert not any("near-duplicate" in line for line in lines)


@pytest.mark.parametrize(
    ("move", "severity", "text"),
    [
        (1, "error", "one too high; subtract 1 from"),
        (-1, "warning", "the masks show every class but the last, 'tea', or their ids are one too low"),
    ],
)
def test_ids_that_are_all_one_off(
    archive: Path, capsys: pytest.CaptureFixture[str], move: int, severity: str, text: str
) -> None:
    for path in (archive / "Images" / "ann_dir").glob("*/*.png"):
        labels = np.asarray(Image.open(path)).astype(int)
        shown = labels if move > 0 else np.where(labels == 0, 1, labels)  # too low: there is no background
        Image.fromarray((shown + move).astype(np.uint8)).save(path)
    status, lines = _run(capsys, archive)
    (line,) = [line for line in lines if "[off-by-one-ids]" in line]
    assert status == 2
    assert line.startswith(severity)
    assert text in line


def test_class_folders_that_one_system_takes_for_one_are_an_error(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree"
    preprocess(PreprocessOptions(src=archive, dst=tree, workers=1), lambda _line: None)
    for name in ("classes.yaml", "manifest.csv", "preprocess.yaml", "contact_sheet.png"):
        (tree / name).unlink()
    for view in ("roi", "extra-roi"):
        (tree / "test" / view / "tea").rename(tree / "test" / view / "Tea")
    status, lines = _run(capsys, tree)
    assert status == 2
    assert "[name-blanks-or-case]" in lines[0]
    assert lines[-1] == f"1 error, 0 warnings, 0 notes (no pair, since its classes cannot be made out, in {tree})"
    (archive / "category_id.txt").write_text("1\ttea\n2\tTEA\n")
    status, lines = _run(capsys, archive)
    assert status == 2
    assert lines[0].startswith("error [name-blanks-or-case]")


def test_a_shared_photo_of_a_tree_is_named_by_files_that_are_there(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, tree = archive / "Images" / "img_dir", tmp_path / "tree"
    shutil.copy(images / "train" / "a0.jpg", images / "test" / "b0.jpg")
    preprocess(PreprocessOptions(src=archive, dst=tree, workers=1), lambda _line: None)
    _, lines = _run(capsys, tree)
    (line,) = [line for line in lines if "[same-photo]" in line]
    first, second = line.removeprefix("error [same-photo] ").partition(": are the same")[0].split(" and train/")
    for name in (first, f"{tree}/train/{second}"):
        assert Path(name.partition(" (and 1 more pair of it)")[0]).is_file()
    for path in tree.glob("test/*/*/b0.jpg"):
        path.unlink()
    _, lines = _run(capsys, tree)
    assert not [line for line in lines if "[same-photo]" in line]


def test_the_split_of_training_can_have_another_name(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("img_dir", "ann_dir"):
        (archive / "Images" / kind / "train").rename(archive / "Images" / kind / "fit")
    (archive / "category_id.txt").write_text(NAMES + "3\tpie\n")
    _, lines = _run(capsys, archive)
    assert any("has no split 'train', only fit, test: classes were not compared" in line for line in lines)
    _, lines = _run(capsys, archive, "--train_split", "fit")
    assert any("[untrained-class]" in line and "class 'pie': has no pair in fit" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"^no folder is named; give an archive"),
        (["none"], r"^none is not a folder"),
        (["."], r"^\. is no archive .*, no tree of pairs .* and no run"),
        ([".", "--acept", "x"], r"^unknown option '--acept'; did you mean '--accept'"),
        ([".", "--accept", "same-foto"], r"^--accept: no finding has the code 'same-foto'"),
        (["plates", "--groups", "g.csv"], r"^--groups is for archives, and none of the folders is one"),
        (["plates", "--mask_orientation", "stored"], r"^--mask_orientation is for archives, and none"),
        ([".", "--near_duplicates", "99"], r"^--near_duplicates is 99; it must be 0"),
        ([".", "--max_megapixels", "0"], r"^--max_megapixels 0\.0: million pixels, more than 0"),
        ([".", "--workers", "0"], r"^--workers 0: at least 1"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plates" / "train" / "roi").mkdir(parents=True)
    with pytest.raises(ConfigError, match=message) as caught:
        doctor.main(arguments)
    assert len(str(caught.value).splitlines()) == 1
