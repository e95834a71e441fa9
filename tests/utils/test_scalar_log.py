import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.run_directory import RunDirectory
from utils.scalar_log import ScalarLog, append_whole

ROWS = [
    {"epoch": n, "lr_head": 0.5 / n, "train": {"loss": 1.0 / n}, "val": {"top1": n / 8, "ambiguous_f1": None}}
    for n in (1, 2, 3)
]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read what TensorBoard would show of a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_tensorboard_reads_every_number_back(tmp_path: Path) -> None:
    for row in ROWS:
        ScalarLog(tmp_path).add(row)
    shown = curves(tmp_path)
    assert shown.keys() == {"epoch", "lr_head", "train/loss", "val/top1"}
    assert shown["val/top1"] == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert shown["train/loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert len(names(tmp_path)) == 1


def test_an_interrupted_run_goes_on_without_a_row_twice(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for row in ROWS[:2]:
        run.log(row)  # the second after the last checkpoint
    again = RunDirectory(tmp_path)
    again.truncate_log(ROWS[:1])
    for row in ROWS[1:]:
        again.log(row)
    assert curves(tmp_path / "tensorboard")["lr_head"] == [(1, 0.5), (2, 0.25), (3, pytest.approx(0.5 / 3))]
    assert len(names(tmp_path / "tensorboard")) == 1
    assert again.read_log() == ROWS


def test_a_file_cut_in_the_middle_is_written_anew(tmp_path: Path) -> None:
    log = ScalarLog(tmp_path)
    log.rewrite(ROWS[:2])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    (tmp_path / ".events.out.tfevents.77.tmp.000001").write_bytes(b"left by a process that was killed")
    log.rewrite(ROWS)
    assert curves(tmp_path)["val/top1"] == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert names(tmp_path) == ["events.out.tfevents.000001"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to make any file longer than that, in the middle of a write, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("more", [0, 30])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path, more: int) -> None:
    log = ScalarLog(tmp_path)
    log.add(ROWS[0])
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    with files_of_at_most(len(before) + more), pytest.raises(OSError, match=rf"'{file}'"):
        log.add(ROWS[1])
    assert file.read_bytes() == before
    log.add(ROWS[1])  # there is room again
    assert curves(tmp_path)["val/top1"] == [(1, 0.125), (2, 0.25)]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    log = ScalarLog(tmp_path)
    log.rewrite(ROWS[:1])
    with files_of_at_most(100), pytest.raises(OSError, match="events"):
        log.rewrite(ROWS)
    assert names(tmp_path) == ["events.out.tfevents.000000"]
    assert curves(tmp_path)["val/top1"] == [(1, 0.125)]


def test_a_row_of_the_log_is_whole_or_absent(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log(ROWS[0])
    with files_of_at_most((tmp_path / "log.jsonl").stat().st_size + 10), pytest.raises(OSError, match=r"log\.jsonl"):
        run.log(ROWS[1])
    assert run.read_log() == ROWS[:1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_what_cannot_be_taken_back_is_still_one_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        append_whole(Path("/dev/full"), b"row")
    append_whole(tmp_path / "new", b"row")
    assert (tmp_path / "new").read_bytes() == b"row"
