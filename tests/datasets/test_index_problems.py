import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from datasets.index import PairIndex
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


def problem(root: Path, exclude: tuple[str, ...] = (), require_every_class: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        PairIndex.from_tree(root, "train", exclude=exclude, require_every_class=require_every_class)
    return str(caught.value)


def test_a_missing_partner_names_both_paths(made: "TreeMaker") -> None:
    made.path("extra-roi", "rice", "p1").unlink()
    text = problem(made.root)
    assert f"{made.path('roi', 'rice', 'p1')} has no partner {made.path('extra-roi', 'rice', 'p1')}" in text
    assert "\n" not in text


def test_halves_in_different_class_folders_name_both_paths(made: "TreeMaker") -> None:
    shutil.move(made.path("extra-roi", "rice", "p1"), made.path("extra-roi", "apple", "stray"))
    shutil.move(made.path("roi", "rice", "p1"), made.path("roi", "rice", "stray"))
    text = problem(made.root)
    roi, extra_roi = made.path("roi", "rice", "stray"), made.path("extra-roi", "apple", "stray")
    assert f"{roi} and {extra_roi} lie in different class folders" in text


def test_a_class_folder_in_one_view_only_names_both_folders(made: "TreeMaker") -> None:
    shutil.rmtree(made.root / "train/extra-roi/rice")
    text = problem(made.root)
    assert f"{made.root / 'train/roi/rice'} has no partner folder {made.root / 'train/extra-roi/rice'}" in text
    assert text.count("p1") == 0


def test_a_size_mismatch_names_both_paths_and_sizes(made: "TreeMaker") -> None:
    (made.root / "manifest.csv").unlink()
    path = made.path("extra-roi", "rice", "p1")
    Image.new("RGB", (24, 17)).save(path)
    assert f"{made.path('roi', 'rice', 'p1')} is 24×16 pixels but {path} is 24×17" in problem(made.root)


def test_a_damaged_header_names_the_file(made: "TreeMaker") -> None:
    (made.root / "manifest.csv").unlink()
    made.path("roi", "rice", "p1").write_bytes(b"not a picture")
    assert f"{made.path('roi', 'rice', 'p1')} is no picture that can be read" in problem(made.root)


def test_a_file_that_the_manifest_lacks(made: "TreeMaker") -> None:
    for view in ("roi", "extra-roi"):
        shutil.copy(made.path(view, "rice", "p1"), made.path(view, "rice", "new"))
    text = problem(made.root)
    assert f"{made.path('roi', 'rice', 'new')} and {made.path('extra-roi', 'rice', 'new')} have no row in" in text


def test_a_manifest_row_without_files(made: "TreeMaker") -> None:
    for view in ("roi", "extra-roi"):
        made.path(view, "rice", "p1").unlink()
    text = problem(made.root)
    assert f"has a row for {made.root / 'train/roi/rice/p1.*'} and {made.root / 'train/extra-roi/rice/p1.*'}" in text


def test_two_manifest_rows_for_one_key(made: "TreeMaker") -> None:
    made.rows.append(made.rows[0])
    made.write_manifest(NAMES)
    assert "has two rows for (train, rice, p1)" in problem(made.root)


def test_a_manifest_size_that_is_no_number(made: "TreeMaker") -> None:
    path = made.root / "manifest.csv"
    path.write_text(path.read_text().replace("24,16,24,16", "24,16,0,16"))
    assert "the content size of (train, rice, p1) is '0'×'16'" in problem(made.root)


def test_two_suffixes_for_one_stem(made: "TreeMaker") -> None:
    shutil.copy(made.path("roi", "rice", "p1"), made.path("roi", "rice", "p1", suffix=".jpg"))
    text = problem(made.root)
    assert "share the stem 'p1'" in text
    assert str(made.path("roi", "rice", "p1")) in text
    assert str(made.path("roi", "rice", "p1", suffix=".jpg")) in text


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_zero_byte_file_is_reported_once(made: "TreeMaker", with_manifest: bool) -> None:
    made.path("roi", "rice", "p1").write_bytes(b"")
    if not with_manifest:
        (made.root / "manifest.csv").unlink()
    text = problem(made.root)
    assert text.startswith(f"{made.root / 'train'} cannot be used: {made.path('roi', 'rice', 'p1')} has 0 bytes")


def test_a_folder_that_is_no_class_is_named_with_the_nearest_class(made: "TreeMaker") -> None:
    (made.root / "train/roi/ric").mkdir()
    text = problem(made.root)
    assert f"the folder {made.root / 'train/roi/ric'} is not in the class list" in text
    assert "did you mean 'rice'?" in text


def test_a_class_of_the_manifest_that_the_class_file_lacks(made: "TreeMaker") -> None:
    made.write_classes(("rice", "bread"))
    for view in ("roi", "extra-roi"):
        (made.root / "train" / view / "apple").rename(made.root / "train" / view / "bread")
    assert "names the class 'apple', which the class list lacks" in problem(made.root)


def test_a_file_that_is_no_picture(made: "TreeMaker") -> None:
    (made.root / "train/roi/rice/notes.txt").write_bytes(b"x")
    assert f"{made.root / 'train/roi/rice/notes.txt'} is no picture (.jpg, .jpeg, .png, .webp)" in problem(made.root)


def test_all_problems_come_in_one_numbered_list(made: "TreeMaker") -> None:
    made.path("extra-roi", "rice", "p1").unlink()
    made.path("roi", "apple", "p2").write_bytes(b"")
    (made.root / "train/roi/rice/notes.txt").write_text("x")
    text = problem(made.root)
    assert text.startswith(f"{made.root / 'train'} cannot be used: 3 problems\n")
    assert len(text.splitlines()) == 4


def test_an_absent_root_says_how_to_make_one(tmp_path: Path) -> None:
    text = problem(tmp_path / "nowhere")
    assert text.startswith(f"the data folder {tmp_path / 'nowhere'} does not exist")
    assert f"python preprocess_foodseg103.py --src ARCHIVE --dst {tmp_path / 'nowhere'}" in text


def test_an_absent_split_says_what_there_is(made: "TreeMaker") -> None:
    with pytest.raises(DataError, match=r"holds no split 'val', only test, train; name it with data\.splits"):
        PairIndex.from_tree(made.root, "val")


@pytest.mark.parametrize("view", ["roi", "extra-roi"])
def test_an_absent_or_empty_view_folder(made: "TreeMaker", view: str) -> None:
    folder = made.root / "train" / view
    shutil.rmtree(folder)
    assert f"{folder} does not exist" in problem(made.root)
    folder.mkdir()
    assert f"{folder} is empty" in problem(made.root)


def test_class_folders_without_any_file(tree: "TreeMaker") -> None:
    for name in NAMES:
        for view in ("roi", "extra-roi"):
            tree.path(view, name, "p").parent.mkdir(parents=True)
    assert "there is no pair in it" in problem(tree.root)


def test_one_class_only(tree: "TreeMaker") -> None:
    tree.add_random(("rice",), ("p1",))
    assert "there is only one class, 'rice'" in problem(tree.root)


def test_a_class_without_training_pair_is_a_problem_only_where_asked(made: "TreeMaker") -> None:
    made.write_classes((*NAMES, "bread"))
    assert PairIndex.from_tree(made.root, "train").class_counts().tolist() == [2, 2, 0]
    text = problem(made.root, require_every_class=True)
    assert "class 'bread' has no training pair" in text
    assert "data.exclude" in text
    assert len(PairIndex.from_tree(made.root, "train", exclude=["bread"], require_every_class=True)) == 4
