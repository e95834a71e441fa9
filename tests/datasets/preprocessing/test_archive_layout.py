"""``--layout archive``: photos and masks made smaller, which read as the archive that they came from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.archive import read_archive
from datasets.doctor.check import check
from datasets.manifest import ManifestRow, read_manifest
from datasets.photo_cutter import PhotoCutter
from datasets.preprocess import PreprocessOptions
from datasets.shards import Shard
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

GROUPS = "split,image,group\ntrain,a,one\ntrain,b.c,one\ntrain,d,two\ntest,a,three\ntest,e,three\n"


def fill(archive: "ArchiveMaker") -> "ArchiveMaker":
    """Add what makes archives difficult: a turned photo, names with dots, an empty mask, lists, unlisted photos."""
    archive.small()
    archive.add("train", "turned", archive.blocks(6), orientation=6, suffix=".JPG")
    archive.add("train", "x.jpg", archive.blocks(7), suffix=".PNG")
    archive.add("train", "empty", np.zeros((24, 32), np.uint8))
    labels = archive.blocks(8, 96, 128)
    labels[0, 0] = 7  # of class soup one pixel, which smaller photos lose
    archive.add("test", "large", labels)
    archive.add("test", "unlisted", labels)
    archive.list_file("test", "a\ne.png\ntest/large.jpg\n")
    return archive


def pair_files(archive: "ArchiveMaker", root: Path) -> dict[str, bytes]:
    return {path: data for path, data in archive.files(root).items() if path.startswith(("train/", "test/"))}


def what_counts(row: ManifestRow) -> tuple[Any, ...]:
    """A row without what is the source's own: path and hashes of photo and mask, and the photo's size."""
    size = row.content_width, row.content_height, row.area_fraction
    return row.key, row.group, size, row.box_left, row.box_top, row.box_width, row.box_height


@pytest.mark.parametrize("size", [0, 30])
def test_its_pairs_are_those_of_the_original(archive: "ArchiveMaker", tmp_path: Path, size: int) -> None:
    fill(archive)
    lines = archive.preprocess(tmp_path / "small", layout="archive", size=size, format="png")
    small = type(archive)(tmp_path / "again", "")
    small.root = tmp_path / "small"
    listing = read_archive(small.root)
    assert listing.notes == ()
    assert [photo.stem for photo in listing.photos] == [photo.stem for photo in read_archive(archive.root).photos]
    small.preprocess(tmp_path / "from_small", size=0, format="png")
    archive.preprocess(tmp_path / "pairs", size=size, format="png")
    assert pair_files(archive, tmp_path / "from_small") == pair_files(archive, tmp_path / "pairs")
    assert len(pair_files(archive, tmp_path / "pairs")) >= 2 * 21
    rows = [read_manifest(tmp_path / tree / "manifest.csv") for tree in ("from_small", "pairs")]
    assert [what_counts(row) for row in rows[0]] == [what_counts(row) for row in rows[1]]
    assert (tmp_path / "from_small" / "classes.yaml").read_text() == (tmp_path / "pairs" / "classes.yaml").read_text()
    assert f"train with --data.source archive --data.root {tmp_path / 'small'}" in lines
    assert "train: 6 photos, 15 pairs, 1 photos without any pair" in lines


def test_its_files(archive: "ArchiveMaker", tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text(GROUPS)
    archive.small().add("train", "d", archive.blocks(6), orientation=6, photo=Image.new("RGB", (24, 32), "red"))
    lines = archive.preprocess(tmp_path / "small", layout="archive", size=16, groups=groups)
    found = archive.files(tmp_path / "small")
    stems = ["test/a", "test/e", "train/a", "train/b.c", "train/d"]
    assert sorted(found) == sorted(
        [f"Images/img_dir/{stem}.jpg" for stem in stems]
        + [f"Images/ann_dir/{stem}.png" for stem in stems]
        + ["ImageSets/test.txt", "ImageSets/train.txt", "category_id.txt", "groups.csv"]
        + ["preprocess.yaml", "contact_sheet.png"]
    )
    assert found["ImageSets/train.txt"] == b"a.jpg\nb.c.jpg\nd.jpg\n"
    assert found["category_id.txt"] == b"0\tbackground\n1\tcandy\n2\tegg tart\n5\tpie\n7\tsoup\n"
    images = tmp_path / "small" / "Images"
    with Image.open(images / "img_dir" / "train" / "d.jpg") as photo:
        assert (photo.format, photo.size, dict(photo.getexif())) == ("JPEG", (16, 12), {})
    with Image.open(images / "ann_dir" / "train" / "d.png") as mask:
        assert mask.mode == "L"
        expected = Image.fromarray(archive.blocks(6)).resize((16, 12), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(mask), np.asarray(expected))
    again = read_archive(tmp_path / "small", tmp_path / "small" / "groups.csv").photos
    assert [photo.group for photo in again] == ["three", "three", "one", "one", "two"]
    assert any(line.endswith(f"--data.archive.groups {tmp_path / 'small' / 'groups.csv'}") for line in lines)
    record = yaml.safe_load(found["preprocess.yaml"])
    assert (record["layout"], record["size"], record["format"], record["quality"]) == ("archive", 16, "jpg", 95)
    assert record["archives"][0]["pairs"] == {"test": 6, "train": 9}
    with Image.open(tmp_path / "small" / "contact_sheet.png") as sheet:
        assert len(sheet.getcolors(1 << 24) or ()) > 20  # of pictures, not of a grey page


def test_ids_above_255_stay(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.class_file("1 candy\n300 pie\n")
    labels = np.array([[0, 300], [1, 300]], np.uint16).repeat(8, axis=0).repeat(8, axis=1)
    archive.add("train", "a", labels)
    archive.preprocess(tmp_path / "small", layout="archive", size=0)
    with Image.open(tmp_path / "small" / "Images" / "ann_dir" / "train" / "a.png") as mask:
        assert np.array_equal(np.asarray(mask), labels)


def test_shards_and_interruptions_change_no_byte(
    archive: "ArchiveMaker", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(archive).preprocess(tmp_path / "whole", layout="archive", size=20)
    real = PhotoCutter.__call__
    done: list[str] = []

    def cut(self: PhotoCutter, photo: Any) -> Any:  # noqa: ANN401  # passed on as it is
        if len(done) == 3:
            raise RuntimeError("power cut")
        done.append(photo.stem)
        return real(self, photo)

    with monkeypatch.context() as patch:
        patch.setattr(PhotoCutter, "__call__", cut)
        with pytest.raises(RuntimeError):
            archive.preprocess(tmp_path / "small", layout="archive", size=20, shard=Shard(1, 2))
    mask = next((tmp_path / ".small.partial" / "Images" / "ann_dir" / "test").iterdir())
    mask.write_bytes(b"cut short")  # its record says another length, so it is written again
    for number in (2, 1):
        archive.preprocess(tmp_path / "small", layout="archive", size=20, shard=Shard(number, 2))
    assert archive.files(tmp_path / "small") == archive.files(tmp_path / "whole")
    with pytest.raises(DataError, match=r"is a tree of another archive or other options .* or delete it$"):
        archive.preprocess(tmp_path / "small", size=20)
    lines = archive.preprocess(tmp_path / "small", layout="archive", size=20)
    assert lines[-1].endswith("it holds this archive with these options; nothing to do")


def test_the_layouts_do_not_share_an_unfinished_run(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small().preprocess(tmp_path / "tree", shard=Shard(1, 2))
    with pytest.raises(DataError, match=r"is an unfinished run with another layout; give the options of that run"):
        archive.preprocess(tmp_path / "tree", layout="archive")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "webp"}, r"^--format webp: the photos of an archive are jpg or png; choose one of them"),
        ({"append": True}, r"^--append adds pairs to a tree of pairs; --layout archive always writes a new archive$"),
        ({"min_area": 0.1}, r"^--min_area changes no photo and no mask; leave it out .* give data\.archive\.min_area"),
        ({"ambiguous": ("pie",)}, r"^--ambiguous changes no photo .* give data\.archive\.ambiguous"),
    ],
)
def test_options_that_an_archive_cannot_have(
    archive: "ArchiveMaker", tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        archive.preprocess(tmp_path / "small", layout="archive", **options)
    assert len(str(caught.value).splitlines()) == 1


def test_an_archive_is_no_tree_of_pairs(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.class_file("1 candy\n2 egg tart\n5 pie\n")
    archive.small().preprocess(tmp_path / "small", layout="archive")
    with pytest.raises(DataError, match=r"^--append adds pairs to a tree of pairs, but --dst .* is an archive"):
        archive.preprocess(tmp_path / "small", append=True)
    with pytest.raises(DataError, match=r"^--dst .* is an archive, not a tree of pairs; check it with --src "):
        check(PreprocessOptions(dst=tmp_path / "small"))
    lines: list[str] = []
    assert check(PreprocessOptions(src=tmp_path / "small", workers=1), lines.append) < 2
    assert lines[-1].endswith(f"(5 photos with masks in {tmp_path / 'small'})")
