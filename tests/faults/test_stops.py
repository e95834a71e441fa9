"""Signals, a second run in the same folder, a lock whose owner was killed, and a clock that runs backwards."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import stop_is_reached

if TYPE_CHECKING:
    from tests.faults.conftest import Task

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")
MOMENTS = {"mid-epoch": "step", "scoring": "score"}


@pytest.mark.parametrize("which", [f"{name} in {moment}" for name in SIGNALS for moment in MOMENTS])
def test_a_signal_ends_a_run_with_its_number(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None], which: str
) -> None:
    name, _, moment = which.partition(" in ")
    number, kind = signal.Signals[name], MOMENTS[moment]
    place = 4 if kind == "step" else sum(found == "score" for found, _ in training.events) // 2
    fault = {"kinds": [kind], "n": place, "action": {"do": "signal", "number": number}}
    ended = training.run(tmp_path / "run", fault)
    assert ended.status == 128 + number, ended.err
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"stopped by signal {int(number)} after ")
    again = training.assert_same_end(tmp_path / "run")
    if kind == "step":
        assert "after optimiser step 4 " in again.out  # nothing is taken twice
    record_fact("signal", signal=name, moment=moment, message=ended.err.replace(str(tmp_path), "ROOT"))


def stopped(training: "Task", folder: Path, *options: str) -> int:
    """Start a run that stands still after two optimiser steps; return its process id."""
    pid = training.start(
        folder, {"kinds": ["step"], "n": 2, "action": {"do": "signal", "number": signal.SIGSTOP}}, *options
    )
    assert stop_is_reached(pid)
    return pid


def test_a_second_run_in_the_same_folder_is_refused(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    run = tmp_path / "run"
    first = stopped(training, run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    second = training.run(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    os.kill(first, signal.SIGCONT)
    ended = training.server.wait(first)
    assert (second.status, second.out) == (2, "")
    assert second.err.count("\n") == 1
    assert f"process {first} " in second.err
    assert (ended.status, ended.err) == (0, "")
    assert training.result(run) == training.result(training.reference)
    record_fact("fault", fault="two runs started into one directory", message=second.err, status=2)


def test_a_killed_process_leaves_no_lock(training: "Task", tmp_path: Path, record_fact: Callable[..., None]) -> None:
    """Its loader processes may outlive it for some seconds."""
    first = stopped(training, tmp_path / "run", "--data.workers", "2")
    os.kill(first, signal.SIGKILL)
    training.assert_same_end(tmp_path / "run")
    training.server.wait(first)
    record_fact("fault", fault="a run killed while its loader processes live on, started again at once", status=0)


def negative(value: Any) -> list[float]:  # noqa: ANN401  # what JSON holds
    """Return the negative numbers inside dicts and lists."""
    if isinstance(value, dict | list):
        return [number for one in (value.values() if isinstance(value, dict) else value) for number in negative(one)]
    return [value] if isinstance(value, int | float) and value < 0 else []


def test_a_clock_that_runs_backwards(training: "Task", tmp_path: Path, record_fact: Callable[..., None]) -> None:
    """Each reading of the time of day is five seconds before the last one."""
    run = tmp_path / "run"
    ended = training.run(run, {"clock": 5})
    assert (ended.status, ended.err) == (0, "")
    assert training.result(run) == training.result(training.reference)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    times = [{key: value for key, value in row.items() if "second" in key} for row in rows]
    assert negative([times, json.loads((run / "timing.json").read_text())]) == []
    record_fact("fault", fault="the clock goes backwards", status=0)
