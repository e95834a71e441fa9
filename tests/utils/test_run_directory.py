from pathlib import Path

import pytest

from utils.errors import ConfigError
from utils.run_directory import RunDirectory


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.refuse_unless_empty()
    run.path.mkdir()
    run.refuse_unless_empty()
    (run.path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"run\.dir .* is not empty; choose another --run\.dir.*--run\.resume auto"):
        run.refuse_unless_empty()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        RunDirectory(tmp_path / "run").refuse_unless_empty()


def test_log_is_one_line_per_epoch_and_tensorboard_beside_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    rows = [{"epoch": epoch, "train": {"loss": 1 / epoch}, "val": {"ambiguous_f1": None}} for epoch in (1, 2)]
    for row in rows:
        run.log(row)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 2
    assert run.read_log() == rows
    assert list((tmp_path / "tensorboard").iterdir())
    run.truncate_log(rows[:1])
    assert run.read_log() == rows[:1]


def test_finished_means_metrics_are_there(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert not run.finished
    run.write_json("metrics.json", {"test": {"top1": 0.5}})
    assert run.finished
    assert run.read_metrics() == {"test": {"top1": 0.5}}


def test_numbers_that_are_not_finite_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunDirectory(tmp_path).write_json("metrics.json", {"top1": float("nan")})
    assert not list(tmp_path.iterdir())
