"""What is said where an archive cannot be used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.classes import ClassMap
from datasets.sources import load_index_of
from utils.data_sections import ArchiveConfig, DataConfig
from utils.errors import ConfigError, DataError


def load(root: Path, split: str = "train", *, classes: ClassMap | None = None, every: bool = False, **options: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
    archive = ArchiveConfig(**({"mask_orientation": "stored"} | options))  # type: ignore[arg-type]
    data = DataConfig(source="archive", root=str(root), archive=archive)
    return load_index_of(data, split, classes=classes, require_every_class=every)


def refusal(root: Path, split: str = "train", **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(root, split, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    return shutil.copytree(archive, tmp_path / "copy")


def test_a_folder_that_is_no_archive(tmp_path: Path, copy: Path, trees: dict[int, Path]) -> None:
    there = r"set data.root to the folder that holds Images/ and category_id.txt"
    assert refusal(tmp_path / "nowhere") == f"the archive {tmp_path / 'nowhere'} does not exist; {there}"
    assert refusal(copy / "groups.csv").startswith(f"the archive {copy / 'groups.csv'} is a file; {there}")
    assert refusal(copy / "Images").endswith(f"{there}; did you mean {copy}?")
    assert refusal(tmp_path / "copi").endswith(f"{there}; did you mean 'copy'?")
    assert refusal(copy / "Images/img_dir/train").endswith(f"did you mean {copy}?")
    assert f"did you mean data.root {copy}?" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    text = refusal(tmp_path / "empty")
    assert "Images/img_dir is missing; an archive holds Images/img_dir/{train,test}" in text
    assert "category_id.txt is missing" in text
    assert refusal(trees[0]) == f"{trees[0]} holds folder pairs and is no archive; set data.source to pairs"


def test_an_archive_given_as_pairs(copy: Path) -> None:
    with pytest.raises(DataError, match=rf"^{copy} is an archive \(it holds Images/img_dir\), not folder pairs"):
        load_index_of(DataConfig(root=str(copy)), "train")


def test_an_unknown_split_names_those_there(copy: Path) -> None:
    text = refusal(copy, "trian")
    assert text.startswith(f"{copy} holds no split 'trian', only test, train; did you mean 'train'?")
    assert "name it with data.splits" in text


def test_every_problem_of_photos_and_masks_at_once(copy: Path) -> None:
    masks = copy / "Images/ann_dir/train"
    Image.fromarray(np.full((40, 61), 9, np.uint8)).save(masks / "p1.png")
    Image.fromarray(np.ones((5, 5), np.uint8)).save(masks / "p4.png")
    (copy / "Images/img_dir/train/p5.png").write_bytes(b"not a picture")
    text = refusal(copy, mask_orientation=None)
    assert text.startswith(f"archive {copy}, split train: 4 problems\n")
    assert "p1.png: label id 9 is not in category_id.txt" in text
    assert "p4.png is 5×5 pixels, but its photo" in text
    assert "p5.png: not a picture that Pillow can read" in text
    assert "p6.png fits before and after; say which with data.archive.mask_orientation stored" in text


def test_problems_of_the_listing(copy: Path) -> None:
    (copy / "Images/ann_dir/train/p1.png").unlink()
    assert "p1.jpg has no mask" in refusal(copy)
    assert "data.archive.groups nowhere.csv does not exist" in refusal(copy, groups="nowhere.csv")
    (copy / "Images/ann_dir/test").rename(copy / "Images/ann_dir/tset")
    assert "img_dir/test has no counterpart" in refusal(copy)


def test_problems_of_the_classes(copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.archive\.ambiguous: no class is called 'cand'; did you mean 'candy'"):
        load(copy, ambiguous=["cand"])
    for mask in (copy / "Images/ann_dir/train").iterdir():
        pixels = np.asarray(Image.open(mask)).copy()
        pixels[pixels == 5] = 0
        Image.fromarray(pixels).save(mask)
    assert len(load(copy).classes) == 4
    text = refusal(copy, every=True)
    assert "class 'pie/cake' has no training pair; add photos that show it, or leave it out with data.exclude" in text
    text = refusal(copy, classes=ClassMap.from_names(["candy", "egg tart", "soap"]))
    assert "category_id.txt names the class 'soup', which the class list lacks; did you mean 'soap'?" in text
    assert "there is no pair in it" in refusal(copy, min_area=0.99)


def test_one_class_is_none(copy: Path) -> None:
    (copy / "category_id.txt").write_text("1 food\n")
    for split in ("train", "test"):
        for mask in (copy / "Images/ann_dir" / split).iterdir():
            Image.fromarray((np.asarray(Image.open(mask)) > 0).astype(np.uint8)).save(mask)
    assert "there is only one class, 'food'; a classifier needs at least two" in refusal(copy)
