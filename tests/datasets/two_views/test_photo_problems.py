"""Folders and lists of photos that cannot be used: one line that says what is wrong and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from datasets.two_views.photos import index_photos
from utils.errors import DataError
from utils.photo_sections import PhotoDataConfig

if TYPE_CHECKING:
    from tests.datasets.two_views.conftest import PhotoFolder


def message_of(data: PhotoDataConfig) -> str:
    with pytest.raises(DataError) as caught:
        index_photos(data)
    return str(caught.value)


def test_a_folder_that_is_not_there(folder: "PhotoFolder", tmp_path: Path) -> None:
    folder.root.mkdir()
    root = tmp_path / "fotos"
    assert message_of(PhotoDataConfig(root=str(root))) == (
        f"the photo folder {root} does not exist; set data.root to a folder with photos, such as "
        f"imagenet/images/train; did you mean 'photos'?"
    )


def test_a_file_or_an_empty_folder(folder: "PhotoFolder") -> None:
    path = folder.add("a.png")
    assert f"{path} is a file; set data.root to a folder" in message_of(PhotoDataConfig(root=str(path)))
    path.rename(path.with_suffix(".xyz"))
    assert message_of(folder.config()) == (
        f"the photo folder {folder.root} holds no photo (1 file of other kinds (.xyz) ignored); set data.root, "
        f"such as imagenet/images/train"
    )


def test_the_folder_of_a_run_is_none_of_photos(folder: "PhotoFolder") -> None:
    folder.add("curves.png")
    for name in ("config.yaml", "env.json"):
        (folder.root / name).write_text("")
    assert message_of(folder.config()) == (
        f"{folder.root} is the folder of a run, whose pictures are curves and tables; set data.root to a folder with "
        f"photos, such as imagenet/images/train"
    )
    with pytest.raises(DataError, match=r"set photos\.root to a folder"):
        index_photos(folder.config(), "photos")


def test_floating_point_pixels_are_told_with_the_other_problems(folder: "PhotoFolder") -> None:
    folder.add("good.png")
    Image.fromarray(np.zeros((40, 40), dtype=np.float32)).save(folder.root / "depth.tif")
    (folder.root / "empty.jpg").write_bytes(b"")
    message = message_of(folder.config())
    assert message.startswith(f"{folder.root} cannot be used: 2 problems")
    assert "depth.tif: pixels are floating-point numbers; save the photo with 8 bits a channel" in message


@pytest.mark.parametrize("root", ["imagenet", "imagenet/images"])
def test_imagenet_is_named_by_its_training_photos(folder: "PhotoFolder", root: str) -> None:
    for split in ("train", "val"):
        folder.add(f"imagenet/images/{split}/n01/a.JPEG")
    images = folder.root / "imagenet" / "images"
    assert message_of(PhotoDataConfig(root=str(folder.root / root))) == (
        f"{images} holds the splits train, val, and those that models are tested on are not learned from; set "
        f"data.root to {images / 'train'}, or name the folders to use in a list (data.subset)"
    )
    assert len(index_photos(PhotoDataConfig(root=str(images / "train")))) == 1


def test_an_archive_and_folder_pairs_hold_more_than_photos(folder: "PhotoFolder", tmp_path: Path) -> None:
    folder.add("Images/img_dir/train/a.jpg")
    assert f"set data.root to its photos, such as {folder.root}/Images/img_dir/train" in message_of(folder.config())
    for view in ("roi", "extra-roi"):
        (tmp_path / "pairs" / "train" / view).mkdir(parents=True)
    assert "holds folder pairs" in message_of(PhotoDataConfig(root=str(tmp_path / "pairs")))


def test_every_unreadable_file_is_named_and_many_are_counted(folder: "PhotoFolder") -> None:
    folder.add("good.png")
    for number in range(25):
        (folder.root / f"bad{number:02}.jpg").write_bytes(b"no picture" if number else b"")
    message = message_of(folder.config())
    assert message.startswith(f"{folder.root} cannot be used: 21 problems")
    assert f"{folder.root / 'bad00.jpg'} is no picture that can be read" in message
    assert message.endswith("21. and 5 more")


def test_a_picture_that_is_too_large_and_a_name_that_cannot_be(folder: "PhotoFolder") -> None:
    folder.add("a.png", size=(101, 100))
    assert "more than data.max_megapixels 0.01 million" in message_of(folder.config(max_megapixels=0.01))
    (folder.root / "a.png").rename(folder.root / "a\nb.png")
    assert "which holds a character that cannot be printed; rename it" in message_of(folder.config())


def test_links_that_lead_out_in_a_circle_or_nowhere(folder: "PhotoFolder", tmp_path: Path) -> None:
    folder.add("a/b/x.png")
    outside = tmp_path / "outside.png"
    outside.write_bytes((folder.root / "a/b/x.png").read_bytes())
    links = {"out.png": outside, "a/b/round": folder.root / "a", "nothing.png": folder.root / "gone.png"}
    for name, target in links.items():
        (folder.root / name).symlink_to(target)
    message = message_of(folder.config())
    assert "out.png is a link that leads out of" in message
    assert f"{folder.root}/a/b/round is a link to a folder that it lies in; remove it" in message
    assert "nothing.png is no file that can be read" in message


def test_entries_of_a_list_that_name_nothing_or_too_much(folder: "PhotoFolder", write_list: Callable[..., str]) -> None:
    for name in ("a/apple.png", "b/apple.png", "b/pear.png", "b/pear.jpg", "b/plum.png"):
        folder.add(name)
    data = folder.config(subset=write_list("plum", "b/plum.png", "apple.png", "pear", "peer.png", "quince"))
    lines = message_of(data).splitlines()
    root = folder.root
    assert lines == [
        f"{data.subset} cannot be used (2 of 6 entries name no photo): 5 problems",
        "  1. line 2: 'b/plum.png' names b/plum.png, as line 1 does; remove one",
        f"  2. line 3: 'apple.png' may be a/apple.png or b/apple.png; write the path below {root}",
        f"  3. line 4: 'pear' may be b/pear.jpg or b/pear.png; write the path below {root}",
        f"  4. line 5: 'peer.png' names no photo below {root}; did you mean 'pear.png'?",
        f"  5. line 6: 'quince' names no photo below {root}",
    ]


def test_a_list_that_is_none(folder: "PhotoFolder", write_list: Callable[..., str], tmp_path: Path) -> None:
    folder.add("a.png")
    assert "names no photo; list one per line" in message_of(folder.config(subset=write_list("", " ")))
    assert "cannot be read (No such file" in message_of(folder.config(subset=str(tmp_path / "gone.txt")))
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\xff")
    assert "is no UTF-8 text" in message_of(folder.config(subset=str(tmp_path / "list.txt")))


def test_a_photo_that_cannot_be_decoded_stops_with_its_name(folder: "PhotoFolder") -> None:
    path = folder.add("cut.jpg", np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    folder.add("good.png")
    path.write_bytes(path.read_bytes()[:-500])  # its header is whole
    dataset = folder.dataset()
    with pytest.raises(DataError, match=r"cut\.jpg: damaged or cut short"):
        dataset.__getitems__([(0, 1), (0, 0)])


def test_a_photo_that_changed_or_went_after_it_was_listed(folder: "PhotoFolder") -> None:
    path = folder.add("a.png")
    dataset = folder.dataset()
    folder.add("a.png", size=(30, 40))
    with pytest.raises(DataError, match=r"a\.png has 30×40 pixels, but had 48×40 when it was listed"):
        dataset[0, 0]
    path.unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read \(No such file"):
        dataset[0, 0]
