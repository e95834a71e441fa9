"""What is listed of a folder of photos, and how a changed folder is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from datasets.changes import describe_change
from datasets.two_views.names import PackedNames
from datasets.two_views.photos import index_photos
from datasets.two_views.subsets import choose
from utils.photo_sections import PhotoDataConfig

if TYPE_CHECKING:
    from tests.datasets.two_views.conftest import PhotoFolder


def test_photos_of_any_depth_are_listed_in_the_order_of_their_names(folder: "PhotoFolder") -> None:
    names = ["b/x.png", "a/deep/er/y.JPEG", "top.jpg", "a/x.png", "a.b/x.bmp", "a/x.jpg", "Z.webp"]
    for name in names:
        folder.add(name)
    index = index_photos(folder.config())
    assert list(index.names) == sorted(names)  # two of one stem are two photos
    assert [index.path(row).is_file() for row in range(len(index))] == [True] * 7
    assert index.sizes.tolist() == [[48, 40]] * 7
    assert index.notes == []
    assert not index.label.any()


@pytest.mark.parametrize("names", [["p.png", "q.png"], ["only/p.png", "only/q.png"], ["a/p.png", "b/q.png"]])
def test_class_folders_mean_nothing_be_there_none_one_or_several(folder: "PhotoFolder", names: list[str]) -> None:
    for name in names:
        folder.add(name)
    assert list(index_photos(folder.config()).names) == names


def test_what_is_ignored_is_said_and_small_photos_too(folder: "PhotoFolder") -> None:
    folder.add("large.png", size=(32, 33))
    folder.add("wide.png", size=(100, 31))
    folder.add(".trash/old.png")
    folder.add(".hidden.png")
    (folder.root / "notes.txt").write_text("…")
    (folder.root / "Thumbs.db").write_text("…")
    folder.add("runs/first/regions/epoch_1.png")
    for name in ("config.yaml", "env.json"):
        (folder.root / "runs" / "first" / name).write_text("…")
    for name in ("IMG_1.HEIC", "IMG_2.heic", "raw.dng"):
        (folder.root / name).write_bytes(b"\0")
    index = index_photos(folder.config())
    assert list(index.names) == ["large.png", "wide.png"]
    assert index.notes == [
        f"{folder.root}: 3 hidden files or folders ignored",
        f"{folder.root}: 1 folder of runs left out, with the pictures in them",
        f"{folder.root}: 3 photos (.dng, .heic) that cannot be read here left out: convert them to JPEG or PNG",
        f"{folder.root}: 1 file of other kinds (.txt) ignored",
        "1 of 2 photos are smaller than a view of 32×32 pixels, such as wide.png with 100×31: they are enlarged; "
        "data.image_size sets the side",
    ]


def test_a_turned_photo_has_its_upright_size(folder: "PhotoFolder") -> None:
    path = folder.add("turned.jpg", size=(50, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert index_photos(folder.config()).sizes.tolist() == [[20, 50]]
    assert len(folder.dataset()[0, 0]) == 1


def test_links_that_stay_inside_are_followed(folder: "PhotoFolder") -> None:
    folder.add("a/x.png")
    (folder.root / "b").symlink_to(folder.root / "a")
    (folder.root / "y.png").symlink_to(folder.root / "a" / "x.png")
    assert list(index_photos(folder.config()).names) == ["a/x.png", "b/x.png", "y.png"]


def test_each_change_of_the_photos_is_noticed_and_told(folder: "PhotoFolder", tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        folder.add(name)
    before = index_photos(folder.config())
    moved = folder.root.rename(tmp_path / "elsewhere")
    assert index_photos(PhotoDataConfig(root=str(moved))).summary() == before.summary()  # its place means nothing
    moved.rename(folder.root)

    def told() -> str:
        index = index_photos(folder.config())
        assert index.fingerprint() != before.fingerprint()
        (line,) = describe_change({"photos": before.summary()}, {"photos": index.summary()})
        return line

    kept = (folder.root / "a.png").read_bytes()
    folder.add("a.png", np.zeros((40, 48, 3), dtype=np.uint8))
    assert "other content" in told()
    (folder.root / "a.png").write_bytes(kept)
    (folder.root / "a.png").rename(folder.root / "c.png")
    assert "other photos" in told()
    (folder.root / "b.png").unlink()
    assert "had 2" in told()


def test_names_are_packed_and_come_back() -> None:
    names = ["", "a", "Äpfel/1.jpg", "n01440764/n01440764_10183.JPEG"]
    packed = PackedNames(names)
    assert list(packed) == names
    assert packed[-1] == names[-1]
    assert packed[1:3] == names[1:3]
    with pytest.raises(IndexError):
        packed[4]


NAMES = ["n01/n01_1.JPEG", "n01/n01_2.JPEG", "n02/n01_1.JPEG", "n02/n02_7.JPEG", "n02/n02_7.png", "x.jpg", "y/z/w.jpg"]


@pytest.mark.parametrize(
    ("entry", "chosen"),
    [
        ("n01/n01_2.JPEG", ["n01/n01_2.JPEG"]),
        ("./n01/n01_2", ["n01/n01_2.JPEG"]),
        ("n01_2.JPEG", ["n01/n01_2.JPEG"]),
        ("n01_2", ["n01/n01_2.JPEG"]),
        ("n01_1.JPEG", ["n01/n01_1.JPEG"]),  # of two, the one in the folder before the _
        ("n02_7.png", ["n02/n02_7.png"]),
        ("w", ["y/z/w.jpg"]),
        ("x", ["x.jpg"]),
        ("y\\z\\w.jpg", ["y/z/w.jpg"]),
        ("n01", ["n01/n01_1.JPEG", "n01/n01_2.JPEG"]),  # a whole folder
        ("y/", ["y/z/w.jpg"]),
    ],
)
def test_an_entry_of_a_list_names_a_photo(
    entry: str, chosen: list[str], write_list: Callable[..., str], tmp_path: Path
) -> None:
    assert choose(NAMES, Path(write_list("", f"  {entry} ")), tmp_path) == chosen


def test_a_list_takes_its_photos_in_the_order_of_the_folder(
    folder: "PhotoFolder", write_list: Callable[..., str]
) -> None:
    for name in ("b.png", "a.png", "c.png"):
        folder.add(name)
    data = folder.config(subset=write_list("c.png", "a"))
    index = index_photos(data)
    assert list(index.names) == ["a.png", "c.png"]
    assert index.notes == [f"{data.subset} names 2 of the 3 photos below {folder.root}"]


def test_a_list_may_take_both_splits(folder: "PhotoFolder", write_list: Callable[..., str]) -> None:
    for name in ("train/a.png", "val/b.png"):
        folder.add(name)
    assert len(index_photos(folder.config(subset=write_list("train", "val")))) == 2
