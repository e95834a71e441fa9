import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from datasets import cut_photo, photo_cutter
from datasets.archive import ArchivePhoto
from datasets.journal import Journal
from utils.errors import DataError, InterruptedRunError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("finished", [0, 1, 4])
def test_a_run_cut_short_is_continued_to_the_same_bytes(
    archive: "ArchiveMaker", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    archive.small()
    archive.preprocess(tmp_path / "whole")
    real = Journal.add
    calls: list[int] = []

    def add(self: Journal, *arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        if len(calls) == finished:
            raise RuntimeError("power cut")
        calls.append(1)
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add)
        with pytest.raises(RuntimeError):
            archive.preprocess(tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    partial = tmp_path / ".cut.partial"
    with (partial / ".journal.jsonl").open("a") as file:
        file.write('{"stamp": [1, 2')  # a line that the power cut left unfinished
    stray = partial / "train" / "roi" / "candy" / "stray.jpg"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x")
    seen: list[str] = []
    cut_one = photo_cutter.PhotoCutter.__call__

    def watched(self: photo_cutter.PhotoCutter, photo: ArchivePhoto) -> cut_photo.CutRecord | list[str]:
        seen.append(photo.stem)
        return cut_one(self, photo)

    monkeypatch.setattr(photo_cutter.PhotoCutter, "__call__", watched)
    archive.preprocess(tmp_path / "cut")
    assert len(seen) == 5 - finished
    assert archive.files(tmp_path / "cut") == archive.files(tmp_path / "whole")
    assert not partial.exists()


def test_a_killed_process_is_continued_to_the_same_bytes(archive: "ArchiveMaker", tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        labels = np.kron(generator.integers(0, 3, (6, 8)), np.ones((50, 50)))
        archive.add("train", f"p{number}", labels.astype(np.uint8))
    command = [sys.executable, str(PROJECT / "preprocess_foodseg103.py"), "--src", str(archive.root), "--size", "96"]
    command += ["--workers", "2", "--dst", str(tmp_path / "tree")]
    journal = tmp_path / ".tree.partial" / ".journal.jsonl"
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 3 < journal.read_bytes().count(b"\n") < 61
    assert not (tmp_path / "tree").exists()
    archive.preprocess(tmp_path / "tree", size=96)
    archive.preprocess(tmp_path / "whole", size=96)
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_signal_leaves_a_run_that_can_go_on(
    archive: "ArchiveMaker", tmp_path: Path, stop_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    archive.small()
    with (
        stop_after(2),
        pytest.raises(InterruptedRunError, match=r"2 of 5 photos are finished .* run the same command again") as stop,
    ):
        archive.preprocess(tmp_path / "tree")
    assert stop.value.signal_number == signal.SIGTERM
    archive.preprocess(tmp_path / "tree")
    archive.preprocess(tmp_path / "whole")
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_unusable_files_are_all_reported_and_mended_later(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    broken = archive.photo_path("train", "a.png")
    photo, mask = broken.read_bytes(), archive.mask_path("test", "e.png").read_bytes()
    broken.write_bytes(photo[: len(photo) // 2])
    archive.photo_path("train", "d.png").write_bytes(b"")
    archive.mask_path("train", "b.c.png").write_bytes(mask)
    Image.fromarray(np.array([[3, 1, 255]], np.uint8)).save(archive.mask_path("test", "a.png"))
    with pytest.raises(DataError) as caught:
        archive.preprocess(tmp_path / "tree")
    message = str(caught.value)
    for words in (
        "then run the same command again: what is finished is kept in",
        "4 problems",
        "train/a.png: damaged or cut short",
        "train/d.png: the file is empty (0 bytes)",
        "ann_dir/test/a.png is 3×1 pixels, but its photo",
        "ann_dir/test/a.png: label ids 3, 255 are not in category_id.txt; add them there or mend the mask; "
        "allowed: 0 (background) and 1..2, 5, 7",
    ):
        assert words in message, words
    assert not (tmp_path / "tree").exists()
    for split, stem, seed in (("train", "a", 1), ("train", "d", 3), ("train", "b.c", 2), ("test", "a", 4)):
        archive.add(split, stem, archive.blocks(seed))
    archive.preprocess(tmp_path / "tree")
    archive.preprocess(tmp_path / "whole")
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_a_photo_changed_between_two_runs_is_cut_again(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    broken = archive.photo_path("test", "e.png")
    kept = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        archive.preprocess(tmp_path / "tree", size=0, format="png")
    broken.write_bytes(kept)
    pixels = archive.add("train", "a", np.full((5, 5), 7, np.uint8))  # was cut in the first run, with other classes
    archive.photo_path("train", "d.png").unlink()
    archive.mask_path("train", "d.png").unlink()
    archive.preprocess(tmp_path / "tree", size=0, format="png")
    files = sorted((tmp_path / "tree" / "train" / "roi").rglob("*.png"))
    assert [path.relative_to(tmp_path / "tree" / "train" / "roi").as_posix() for path in files] == [
        "candy/b.c.png",
        "egg tart/b.c.png",
        "pie/b.c.png",
        "soup/a.png",
    ]
    assert np.array_equal(np.asarray(Image.open(files[-1])), pixels)


def test_an_unfinished_run_of_other_options_is_refused(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    archive.photo_path("train", "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        archive.preprocess(tmp_path / "tree", size=16)
    with pytest.raises(
        DataError, match=r"\.tree\.partial is an unfinished run with another format, size; .* or delete"
    ):
        archive.preprocess(tmp_path / "tree", size=17, format="png")


def test_the_mask_orientation_may_be_added_to_an_unfinished_run(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    archive.add("train", "turned", archive.blocks(9), orientation=3)
    with pytest.raises(DataError, match="--mask_orientation stored"):
        archive.preprocess(tmp_path / "tree")
    archive.preprocess(tmp_path / "tree", mask_orientation="stored")
    archive.preprocess(tmp_path / "whole", mask_orientation="stored")
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_a_full_disk_is_one_line(archive: "ArchiveMaker", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.small()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(photo_cutter.PhotoCutter, "_write", full)
        with pytest.raises(DataError, match=r"^no space is left for .*tree .* run the same command again: .*$"):
            archive.preprocess(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    archive.preprocess(tmp_path / "tree")


def test_two_runs_do_not_write_into_one_folder(archive: "ArchiveMaker", tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    archive.small()
    (tmp_path / ".tree.partial").mkdir()
    lock = str(tmp_path / ".tree.partial" / ".lock")
    holder = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, lock], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(
            DataError, match=r"another run is writing to .*; wait until it ends or choose another --dst"
        ):
            archive.preprocess(tmp_path / "tree")
        process.kill()
