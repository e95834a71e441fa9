"""Several processes on one archive: the bytes of one process, whatever happens to any of them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import utils.locks
from datasets import locks, photo_cutter
from datasets.locks import lock_shard
from datasets.shards import Shard
from utils.errors import DataError, InterruptedRunError
from utils.locks import FileLock

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def whole(archive: "ArchiveMaker", tmp_path: Path) -> dict[str, bytes]:
    """The files of a tree that one process made of the small archive: train/a, b.c, d and test/a, e."""
    archive.small().preprocess(tmp_path / "whole")
    return archive.files(tmp_path / "whole")


def start(archive: "ArchiveMaker", root: Path, rank: int, world: int) -> subprocess.Popen[str]:
    """Start a process as torchrun does."""
    variables = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    command = [sys.executable, str(PROJECT / "preprocess_foodseg103.py"), "--src", str(archive.root)]
    return subprocess.Popen(
        [*command, "--dst", str(root), "--size", "96", "--workers", "1"],
        env=os.environ | variables,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)], ids=str)
def test_shards_one_after_the_other(
    archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes], order: tuple[int, ...]
) -> None:
    photos = {1: 2, 2: 2, 3: 1}  # of 5: every third, from the first, second and third on
    for place, number in enumerate(order):
        assert not (tmp_path / "tree").exists()
        lines = archive.preprocess(tmp_path / "tree", shard=Shard(number, 3))
        assert lines[0] == f"shard {number}/3, by --shard (--shard 1/1 would take all photos)"
        if place < 2:
            coming = ("2 shards are", "1 shard is")[place]
            assert lines[-1] == (
                f"shard {number}/3 is done: {photos[number]} photos; {coming} still to come, and the last one puts the "
                f"tree in place"
            )
    assert archive.files(tmp_path / "tree") == whole
    assert "nothing to do" in archive.preprocess(tmp_path / "tree", shard=Shard(2, 3))[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "tree", "whole"]


def test_more_shards_than_photos(archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes]) -> None:
    for number in range(1, 8):
        archive.preprocess(tmp_path / "tree", shard=Shard(number, 7))
    assert archive.files(tmp_path / "tree") == whole


def test_two_processes_at_once(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small().preprocess(tmp_path / "whole", size=96)
    processes = [start(archive, tmp_path / "tree", rank, 2) for rank in range(2)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0][0].startswith("shard 1/2, by RANK and WORLD_SIZE (--shard 1/1 would take all photos)\n")
    assert sum("contact sheet: " in out for out, _ in said) == 1  # one of them put the tree together
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_a_killed_shard_is_run_again(archive: "ArchiveMaker", tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        labels = np.kron(generator.integers(0, 3, (6, 8)), np.ones((40, 40)))
        archive.add("train", f"p{number:02}", labels.astype(np.uint8))
    journal = tmp_path / ".tree.partial" / ".journal.2-of-2.jsonl"
    process = start(archive, tmp_path / "tree", 1, 2)
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    finished = journal.read_bytes().count(b"\n") - 1
    assert 3 <= finished < 30
    lines = archive.preprocess(tmp_path / "tree", size=96, shard=Shard(1, 2))
    assert lines[-1].startswith("shard 1/2 is done: 30 photos; 1 shard is still to come")
    assert not (tmp_path / "tree").exists()
    archive.preprocess(tmp_path / "tree", size=96, shard=Shard(2, 2))
    archive.preprocess(tmp_path / "whole", size=96)
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_a_run_without_shards_goes_on_with_what_they_left(
    archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.preprocess(tmp_path / "tree", shard=Shard(3, 3))
    archive.preprocess(tmp_path / "tree", shard=Shard(1, 3))
    seen: list[tuple[str, str]] = []
    cut_one = photo_cutter.PhotoCutter.__call__

    def watched(self: photo_cutter.PhotoCutter, photo: Any) -> Any:  # noqa: ANN401  # passed on as it is
        seen.append((photo.split, photo.stem))
        return cut_one(self, photo)

    monkeypatch.setattr(photo_cutter.PhotoCutter, "__call__", watched)
    archive.preprocess(tmp_path / "tree")
    # In order the photos are test/a, test/e, train/a, train/b.c, train/d: the second of three takes the 2nd and 5th.
    assert seen == [("test", "e"), ("train", "d")]
    assert archive.files(tmp_path / "tree") == whole


def test_shards_go_on_with_what_a_stopped_run_left(
    archive: "ArchiveMaker",
    tmp_path: Path,
    whole: dict[str, bytes],
    stop_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    with stop_after(2):
        with pytest.raises(InterruptedRunError, match=r"2 of 5 photos are finished"):
            archive.preprocess(tmp_path / "tree")
        with pytest.raises(InterruptedRunError, match=r"interrupted: 2 of 3 photos of shard 1/2 are finished and kept"):
            archive.preprocess(tmp_path / "tree", shard=Shard(1, 2))
    for number in (2, 1):
        archive.preprocess(tmp_path / "tree", shard=Shard(number, 2))
    assert archive.files(tmp_path / "tree") == whole


def test_appending_by_shards(archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes]) -> None:
    more = type(archive)(tmp_path / "sauces", "0 background\n1 ketchup\n")
    for stem in ("s1", "s2", "s3"):
        more.add("train", stem, np.ones((8, 8), np.uint8))
    archive.preprocess(tmp_path / "tree")
    more.preprocess(tmp_path / "whole", append=True)
    for number in (2, 1):
        assert archive.files(tmp_path / "tree") == whole
        more.preprocess(tmp_path / "tree", append=True, shard=Shard(number, 2))
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole") != whole
    assert not (tmp_path / ".tree.partial").exists()


@pytest.mark.parametrize("together", [False, True])
def test_a_shard_lists_its_own_problems_and_the_others_go_on(
    archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes], together: bool
) -> None:
    broken = [archive.photo_path("test", "a.png"), archive.photo_path("test", "e.png")]  # of shard 1 and of shard 2
    kept = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        archive.preprocess(tmp_path / "tree", shard=Shard(1, 2, together=together))
    assert str(caught.value).startswith(f"archive {archive.root}, shard 1/2: {broken[0]}: the file is empty (0 bytes)")
    assert len(str(caught.value).splitlines()) == 1
    broken[1].write_bytes(kept[1])
    assert "1 shard is still to come" in archive.preprocess(tmp_path / "tree", shard=Shard(2, 2))[-1]
    assert not (tmp_path / "tree").exists()
    broken[0].write_bytes(kept[0])
    archive.preprocess(tmp_path / "tree", shard=Shard(1, 2))
    assert archive.files(tmp_path / "tree") == whole


def test_a_broken_shard_waits_where_its_launcher_would_end_the_others(archive: "ArchiveMaker", tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    archive.small().photo_path("test", "a.png").write_bytes(b"")
    (tmp_path / ".tree.partial").mkdir()
    other = FileLock(tmp_path / ".tree.partial" / ".lock")
    assert other.take(shared=True)
    timer = threading.Timer(0.5, other.release)
    started = time.monotonic()
    timer.start()
    with pytest.raises(DataError, match="the file is empty"):
        archive.preprocess(tmp_path / "tree", shard=Shard(1, 2, together=True))
    assert time.monotonic() - started >= 0.5
    timer.join()


def test_one_shard_is_cut_by_one_process(archive: "ArchiveMaker", tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    archive.small()
    (tmp_path / ".tree.partial").mkdir()
    with (
        lock_shard(tmp_path / ".tree.partial", "1-of-2", "1/2"),
        pytest.raises(DataError, match=rf"^shard 1/2 of .*\.tree\.partial is being cut by process {os.getpid()} on .*"),
    ):
        archive.preprocess(tmp_path / "tree", shard=Shard(1, 2))
    archive.preprocess(tmp_path / "tree", shard=Shard(1, 2))


def test_shards_and_whole_runs_keep_out_of_each_others_way(
    archive: "ArchiveMaker", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    archive.small()
    (tmp_path / ".tree.partial").mkdir()
    lock = FileLock(tmp_path / ".tree.partial" / ".lock")
    lock.take(shared=True)
    with pytest.raises(DataError, match=r"^shards of a run are writing to .*; wait until they end .* another --dst$"):
        archive.preprocess(tmp_path / "tree")
    lock.release()
    lock.take()
    with pytest.raises(DataError, match=rf"^another run is writing to .* \(process {os.getpid()} on .*\); wait"):
        archive.preprocess(tmp_path / "tree", shard=Shard(1, 2))
    lock.release()


def test_shards_of_one_run_have_the_same_options(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small().preprocess(tmp_path / "tree", shard=Shard(1, 3))
    with pytest.raises(DataError, match=r"\.tree\.partial holds shards of 3; go on with --shard K/3, or without"):
        archive.preprocess(tmp_path / "tree", shard=Shard(2, 4))
    for options, names in (({"size": 100}, "size"), ({"ambiguous": ("pie",)}, "ambiguous"), ({"format": "png"}, "for")):
        with pytest.raises(DataError, match=rf"is an unfinished run with another {names}.*; give the options of that"):
            archive.preprocess(tmp_path / "tree", shard=Shard(2, 3), **options)
    # Without shards the ambiguous classes may be other ones, as they change no cut-out.
    archive.preprocess(tmp_path / "tree", ambiguous=("pie",))
    archive.preprocess(tmp_path / "whole", ambiguous=("pie",))
    assert archive.files(tmp_path / "tree") == archive.files(tmp_path / "whole")


def test_where_files_cannot_be_locked_the_user_puts_the_tree_together(
    archive: "ArchiveMaker", tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils.locks, "fcntl", None)
    for number in (1, 2):
        lines = archive.preprocess(tmp_path / "tree", shard=Shard(number, 2))
        assert lines[-1].endswith("cannot be locked here: after the last shard run the same command with --shard 1/1")
    archive.preprocess(tmp_path / "tree")
    assert archive.files(tmp_path / "tree") == whole
