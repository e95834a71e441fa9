"""The kept scan of an archive: what is opened, when, and what happens to it."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.archive import ArchivePhoto
from datasets.archive_index import index_archive
from datasets.archive_scan import PhotoScanner
from datasets.cut_photo import CutRecord
from datasets.index import PairIndex
from datasets.manifest import read_manifest
from utils.data_sections import ArchiveConfig
from utils.errors import DataError, InterruptedRunError
from utils.locks import FileLock

OPENED: list[str] | None = None


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if OPENED is not None and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note_opened)


@contextmanager
def pictures_opened() -> Iterator[list[str]]:
    """The stems of the pictures that this process opens meanwhile, each as often as it is opened."""
    global OPENED  # noqa: PLW0603  # hooks cannot be taken away
    found: list[str] = []
    OPENED = []
    yield found
    found += sorted(Path(name).stem for name in OPENED if "Images/" in name and Path(name).suffix)
    OPENED = None


def load(archive: Path, split: str = "train", **options: object) -> PairIndex:
    config = ArchiveConfig(**({"mask_orientation": "stored"} | options))  # type: ignore[arg-type]
    return index_archive(archive, split, config)


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    return shutil.copytree(archive, tmp_path / "copy")


def scan_note(index: PairIndex) -> str:
    (note,) = [note for note in index.notes if "scanned" in note]
    return note


def test_the_second_start_opens_no_picture(copy: Path, cache: Path) -> None:
    with pictures_opened() as opened:
        first = load(copy)
    stems = ["p1", "p2.x", "p3", "p4", "p5", "p6"]
    assert opened == sorted(stems * 2), "each photo and each mask, once"
    assert scan_note(first).startswith("train: scanned 6 photos in ")
    assert f"; kept in {cache / 'archives'}" in scan_note(first)
    with pictures_opened() as opened:
        second = load(copy)
    assert opened == []
    assert second.notes == []
    assert second.fingerprint() == first.fingerprint()
    assert second.manifest == first.manifest
    assert first.manifest is not None
    assert [row.stem for row in read_manifest(first.manifest)] == first.stems
    assert not list(cache.rglob("*.lock")), "locks go with their holder"


def test_other_options_and_splits_are_kept_apart(copy: Path) -> None:
    for options in ({}, {"size": 32}, {"min_area": 0.2}, {"size": 32, "min_area": 0.2}):
        assert "scanned 6 photos" in scan_note(load(copy, **options))
    assert "scanned 4 photos" in scan_note(load(copy, "test"))
    sizes = [max(load(copy, size=size).size[0]) for size in (0, 32)]
    assert sizes == [61, 32]
    with pictures_opened() as opened:  # neither groups nor the ambiguous classes need the masks
        groups = load(copy, groups=str(copy / "groups.csv"), ambiguous=["soup"])
    assert opened == []
    assert set(groups.group_names) == {"a", "b", "c", "d"}
    assert groups.classes.ambiguous == ("soup",)


def test_only_what_changed_is_opened_again(copy: Path) -> None:
    before = load(copy)
    mask = copy / "Images/ann_dir/train/p1.png"
    Image.fromarray(np.full((40, 61), 2, np.uint8)).save(mask)
    os.utime(copy / "Images/img_dir/train/p3.jpg", ns=(1, 1))
    with pictures_opened() as opened:
        after = load(copy)
    assert opened == ["p1", "p1", "p3", "p3"]
    assert "scanned 2 of 6 photos, the new and changed ones, in " in scan_note(after)
    labels = {before.classes.names[label] for label, stem in zip(after.label, after.stems, strict=True) if stem == "p1"}
    assert labels == {"egg tart"}
    others = [[i.key(row) for row in range(len(i)) if i.stems[row] != "p1"] for i in (before, after)]
    assert others[0] == others[1]
    fresh = copy.parent / "cache"
    shutil.rmtree(fresh)
    assert load(copy).fingerprint() == after.fingerprint(), "as of a scan of everything"


def test_new_photos_are_added_and_removed_ones_vanish(copy: Path) -> None:
    load(copy)
    for kind, end in (("img_dir", "jpg"), ("ann_dir", "png")):
        folder = copy / "Images" / kind / "train"
        shutil.copy(folder / f"p1.{end}", folder / f"p9.{end}")
        (folder / f"p6.{end}").unlink()
    with pictures_opened() as opened:
        after = load(copy)
    assert opened == ["p9", "p9"]
    assert {"p6", "p9"} & set(after.stems) == {"p9"}
    for kind, end in (("img_dir", "jpg"), ("ann_dir", "png")):
        (copy / "Images" / kind / "train" / f"p9.{end}").unlink()
    with pictures_opened() as opened:
        last = load(copy)
    assert opened == []
    assert "p9" not in last.stems
    assert last.manifest is not None
    assert "p9" not in last.manifest.read_text()


def test_another_class_file_is_another_scan(copy: Path) -> None:
    load(copy)
    path = copy / "category_id.txt"
    path.write_text(path.read_text().replace("candy", "sweets"))
    after = load(copy)
    assert "scanned 6 photos" in scan_note(after)
    assert after.classes.names[0] == "sweets"


def test_the_kept_manifest_follows_the_groups(copy: Path) -> None:
    load(copy)
    index = load(copy, groups=str(copy / "groups.csv"))
    assert index.manifest is not None
    assert {row.stem: row.group for row in read_manifest(index.manifest)}["p3"] == "b"


@pytest.mark.parametrize("name", ["scan.json", "manifest.csv"])
@pytest.mark.parametrize("damage", ["cut short", "empty", "gone", "nonsense"])
def test_a_damaged_scan_is_made_again(copy: Path, name: str, damage: str) -> None:
    first = load(copy)
    assert first.manifest is not None
    path = first.manifest.with_name(name)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut short": data[: len(data) // 2], "empty": b"", "nonsense": b'{"format": 1}'}[damage])
    again = load(copy)
    assert again.fingerprint() == first.fingerprint()
    assert path.read_bytes() == data
    text = "\n".join(again.notes)
    assert "train: scanned 6 photos in" in text
    if damage != "gone":
        assert f"the kept scan of {copy} cannot be used" in text
    assert load(copy).notes == []


def test_a_cache_that_cannot_be_written_is_told(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RVERNET_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        index = load(copy)
        assert len(index) > 0
        assert index.manifest is None
        note = scan_note(index)
        assert "not kept, since" in note
        assert "cannot be written (Not a directory), so that every start scans again; set RVERNET_CACHE" in note


def test_where_scans_are_kept(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RVERNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert str(tmp_path / "xdg" / "rvernet") in scan_note(load(copy))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(tmp_path / "home" / ".cache" / "rvernet") in scan_note(load(copy))


def test_what_was_scanned_before_a_signal_is_kept(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: PhotoScanner, photo: ArchivePhoto) -> CutRecord | list[str]:
        if photo.stem == "p3":
            os.kill(os.getpid(), signal.SIGTERM)
        return scan(self, photo)

    scan = PhotoScanner.__call__
    monkeypatch.setattr(PhotoScanner, "__call__", interrupted)
    with pytest.raises(InterruptedRunError, match=r"3 of 6 photos of .*, split train, are scanned; kept in"):
        load(copy)
    monkeypatch.setattr(PhotoScanner, "__call__", scan)
    with pictures_opened() as opened:
        load(copy)
    assert opened == ["p4", "p4", "p5", "p5", "p6", "p6"]


def test_good_photos_are_kept_while_a_bad_one_is_mended(copy: Path) -> None:
    mask = copy / "Images/ann_dir/train/p1.png"
    good = mask.read_bytes()
    mask.write_bytes(good[:40])
    with pytest.raises(DataError, match=r"p1\.png: not a picture"):
        load(copy)
    mask.write_bytes(good)
    with pictures_opened() as opened:
        load(copy)
    assert opened == ["p1", "p1"]


def test_one_process_scans_while_others_wait(copy: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = load(copy)
    assert first.manifest is not None
    scan = first.manifest.parent
    shutil.move(scan, cache / "aside")
    lock = FileLock(scan.parent / ".train.lock")
    assert lock.take()
    found: list[PairIndex] = []
    waiting = threading.Thread(target=lambda: found.append(load(copy)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    shutil.move(cache / "aside", scan)  # what the other process has scanned meanwhile
    held = load(copy)  # what is kept whole is read without the lock
    assert held.notes == []
    lock.release()
    waiting.join(10)
    assert found[0].notes == ["train: waited for another process, which scanned the photos"]
    assert f"waiting for another process that scans {copy}" in capfd.readouterr().err


def test_many_photos_are_scanned_by_several_processes(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = load(copy)
    shutil.rmtree(copy.parent / "cache")
    monkeypatch.setattr("datasets.archive_scan._PHOTOS_PER_WORKER", 3)
    monkeypatch.setattr("datasets.archive_scan.available_cores", lambda: 2)
    with pictures_opened() as opened:
        shared = load(copy)
    assert opened == [], "by other processes"
    assert shared.fingerprint() == alone.fingerprint()
