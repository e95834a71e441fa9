"""Names and links that would lead out of a folder, in every file that holds names. Preprocessing's own are here too."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.append import read_base
from datasets.archive import read_archive, scan_archive
from datasets.class_file import load_class_file
from datasets.classes import ClassMap
from datasets.cut_photo import CutOptions
from datasets.index import PairIndex
from datasets.manifest import COLUMNS, read_columns, read_manifest
from datasets.mask_source import Annotation
from datasets.photo_cutter import PhotoCutter
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.tree import TreeRecord
from utils.data_sections import SplitNames
from utils.errors import ConfigError, DataError
from utils.names import all_safe, name_problem, path_problem

LEADING_OUT = ["", ".", "..", "../x", "/x", "C:", "C:\\x", "..\\x", "a\\b", "a\0", "a\nb", "a\x1b[2J", "\u202ex"]
UNSAFE = [*LEADING_OUT, " ", "a/b", "con", "NUL", "aux.txt", "LPT1", "COM¹", "lpt³.x", "CONIN$", "x" * 300, "é" * 130]
MAPPED = ("/x", "a/b", "C:")  # as names of classes, whose folders are "-x", "a-b" and "C-"
SAFE = ["french fries", "crème brûlée", "a..b", "photo.v2", "12:30", "寿司", "console", "com", "COM10", "x" * 200]
ROW = ["train", "rice", "p1", "p1", "Images/img_dir/train/p1.jpg", *"8888", "0.5", *"0088", *"ab", "annotation"]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_refused_wherever_they_stand(tmp_path: Path, name: str) -> None:
    assert name_problem(name)
    assert path_problem(f"a/{name}/b") or name == "a/b"
    with pytest.raises(ConfigError, match=r"^data\.splits\.train is "):
        SplitNames(train=name)
    file = tmp_path / "classes.yaml"
    for spoilt in ({"name": "rice", "folder": name}, {"name": name, "folder": "rice"}):
        if spoilt["folder"] == name or name not in MAPPED:
            file.write_text(yaml.safe_dump({"classes": [spoilt, {"name": "b", "folder": "b"}]}))
            with pytest.raises(DataError, match=rf"^{file}: class .* rename it$") as caught:
                ClassMap.load(file)
            assert len(str(caught.value).splitlines()) == 1
    if name.strip() and name not in (*MAPPED, "a\nb"):
        ids = tmp_path / "category_id.txt"
        ids.write_text(f"1 {name}\n2 b\n")
        with pytest.raises(DataError, match=rf"^{ids}: class .* cannot be a folder's name, since it .*; rename it$"):
            load_class_file(ids)


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("column", ["split", "stem", "photo"])
def test_a_manifest_names_nothing_outside(tmp_path: Path, column: str, name: str) -> None:
    file = tmp_path / "manifest.csv"
    row = dict(zip(COLUMNS, ROW, strict=True)) | {column: f"a/{name}" if column == "photo" else name}
    quoted = ",".join('"' + cell + '"' for cell in row.values())
    file.write_text(",".join(COLUMNS) + f"\n{quoted}\n", newline="")
    for read in (read_manifest, lambda path: read_columns(path, ("split", "stem"))):
        with pytest.raises(DataError, match=rf"^{file}, line \d: column '{column}' is .*; write the manifest again"):
            read(file)


@pytest.mark.parametrize("name", SAFE)
def test_names_of_people_are_kept(tmp_path: Path, name: str) -> None:
    assert name_problem(name) is None
    classes = ClassMap.from_names([name, "other"])
    classes.save(tmp_path / "classes.yaml")
    assert ClassMap.load(tmp_path / "classes.yaml") == classes


@pytest.mark.parametrize(
    ("name", "folder"), [("12:30", "12-30"), ("a/b?", "a-b-"), ("etc.", "etc"), ('<x>|"*', "-x----")]
)
def test_folders_of_classes_can_be_held_by_every_system(name: str, folder: str) -> None:
    assert ClassMap.from_names([name, "other"]).folders == (folder, "other")
    with pytest.raises(DataError, match=r"differ only by .* \(or <>:\"\|\?\*\) and would share a folder"):
        ClassMap.from_names([name, folder, "other"])


def test_the_names_of_foodseg103_stay_as_they_are(real_data: Path) -> None:
    names = load_class_file(real_data / "foodseg103_category_id.txt").values()
    assert len(ClassMap.from_names(names).folders) == 103
    assert list(names) == list(ClassMap.from_names(names).folders)


@pytest.mark.parametrize("name", [*UNSAFE, *SAFE])
def test_the_quick_check_of_names_lets_nothing_pass_that_is_refused(name: str) -> None:
    for path in (name, f"a/{name}", f"{name}/b", name.upper(), f"{name}.x", f" {name}"):
        assert not (all_safe(("split", path, "stem")) and path_problem(path))
    assert all_safe(("train", "french fries", "00001", "Images/img_dir/train/00001.jpg"))


def small_archive(root: Path) -> Path:
    (root / "category_id.txt").parent.mkdir(parents=True)
    (root / "category_id.txt").write_text("1 rice\n2 soup\n")
    for split in ("train", "test"):
        for kind in ("img_dir", "ann_dir"):
            (root / "Images" / kind / split).mkdir(parents=True)
        labels = np.array([[1, 2]] * 4, dtype=np.uint8)
        Image.fromarray(labels).save(root / "Images/ann_dir" / split / f"{split}1.png")
        Image.fromarray(np.full((4, 2, 3), 90, np.uint8)).save(root / "Images/img_dir" / split / f"{split}1.png")
    return root


@pytest.mark.parametrize("line", ["../../etc/passwd", "/etc/passwd", "C:\\x", "a\x00b", "train/..", "con"])
def test_lists_and_groups_name_photos_of_the_archive(tmp_path: Path, line: str) -> None:
    root = small_archive(tmp_path / "archive")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text(f"train1\n{line}\n")
    groups = tmp_path / "groups.csv"
    groups.write_text(f"split,image,group\ntrain,train1,1\ntest,test1,2\ntrain,{line},3\n")
    problems = scan_archive(root, groups)[1]
    assert [problem for problem in problems if problem.startswith(f"{root}/ImageSets/train.txt, line 2: ")]
    assert [problem for problem in problems if problem.startswith(f"{groups}, line 4: ")]
    assert not [problem for problem in problems if not problem.isprintable()]


ARCHIVE_LINKS = [
    "Images",
    "Images/img_dir",
    "Images/ann_dir/train",
    "Images/img_dir/train/train1.png",
    "category_id.txt",
]


@pytest.mark.parametrize("place", ARCHIVE_LINKS)
def test_links_out_of_an_archive_are_refused(tmp_path: Path, place: str) -> None:
    root = small_archive(tmp_path / "archive")
    (root / place).rename(tmp_path / "outside")
    (root / place).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=rf"{root / place} is a link that leads out of {root}, to {tmp_path}/outside"):
        read_archive(root)
    (root / place).unlink()
    (tmp_path / "outside").rename(root / "kept inside")
    (root / place).symlink_to(root / "kept inside")
    (tmp_path / "link").symlink_to(root)  # the root itself may be one
    assert len(read_archive(tmp_path / "link").photos) == 2


def tree_of(tmp_path: Path) -> Path:
    options = PreprocessOptions(src=small_archive(tmp_path / "archive"), dst=tmp_path / "tree", format="png", workers=1)
    preprocess(options, say=lambda _line: None)
    return tmp_path / "tree"


@pytest.mark.parametrize("place", ["train", "train/roi", "train/roi/rice", "train/extra-roi/soup/train1.png"])
def test_links_out_of_a_tree_are_refused(tmp_path: Path, place: str) -> None:
    root = tree_of(tmp_path)
    (root / place).rename(tmp_path / "outside")
    (root / place).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=rf"{root / place} is a link that leads out of {root}, to"):
        PairIndex.from_tree(root, "train")
    if not place.endswith(".png"):  # pictures are never written through
        with pytest.raises(DataError, match=rf"{root / place} is a link that leads out of {root}, to"):
            read_base(root)
    (root / place).unlink()
    (tmp_path / "outside").rename(root / ".inside")
    (root / place).symlink_to(root / ".inside")
    assert len(PairIndex.from_tree(root, "train")) == 2


def test_nothing_is_written_through_a_planted_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_of(tmp_path)
    other = shutil.copytree(tmp_path / "archive", tmp_path / "other")
    for old in [*other.rglob("train1.png"), *other.rglob("test1.png")]:
        old.rename(old.with_name(f"new_{old.name}"))
    outside = tmp_path / "outside"
    shutil.copytree(tree / "train/roi/rice", outside)
    shutil.rmtree(tree / "train/roi/rice")
    (tree / "train/roi/rice").symlink_to(outside)
    before = sorted(outside.iterdir())
    with pytest.raises(DataError, match="is a link that leads out of"):
        preprocess(PreprocessOptions(src=other, dst=tree, append=True, workers=1), say=lambda _line: None)
    partial = tmp_path / ".fresh.partial" / "train" / "roi"
    partial.mkdir(parents=True)
    (partial / "rice").symlink_to(outside)
    with pytest.raises(DataError, match="is a link that leads out of"):
        preprocess(PreprocessOptions(src=other, dst=tmp_path / "fresh", workers=1), say=lambda _line: None)
    assert sorted(outside.iterdir()) == before
    archive = read_archive(other)
    (tmp_path / "target/train/roi/rice").mkdir(parents=True)
    (tmp_path / "target/train/roi/rice/new_train1.jpg").symlink_to(outside / "planted.jpg")
    cutter = PhotoCutter(other, tmp_path / "target", Annotation(archive.label_ids), CutOptions())
    photo = next(photo for photo in archive.photos if photo.split == "train")
    with pytest.raises(OSError, match="symbolic link"):
        cutter(photo)
    monkeypatch.delattr("os.O_NOFOLLOW")  # as on Windows
    with pytest.raises(OSError, match="symbolic link"):
        cutter(photo)
    assert not (outside / "planted.jpg").exists()


@pytest.mark.parametrize(
    ("key", "value"), [("format", "../../x"), ("size", 10**9), ("size", "224"), ("layout", "x"), ("quality", 0)]
)
def test_a_record_that_was_tampered_with_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "preprocess.yaml"
    TreeRecord(224, "jpg", 95, []).save(path)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match=rf"^{path} is not a record .*\({key} is '{str(value)[:4]}.*\); restore it"):
        TreeRecord.load(path)
