"""The short form of the tests beside this, in one file since they share a run: kills, and one fault after the other."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import stop_is_reached
from tests.faults.test_stops import negative

if TYPE_CHECKING:
    from tests.faults.conftest import Task
    from tests.server import Ended


@pytest.fixture
def tree(pair_tree: Path, tmp_path: Path) -> Path:
    """A tree of pairs to spoil."""
    return Path(shutil.copytree(pair_tree, tmp_path / "tree"))


def test_a_run_meets_one_fault_after_the_other(
    training: "Task", tree: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    run, own = tmp_path / "run", ("--data.root", str(tree))

    def spoiled(fault: dict[str, Any], status: int, *words: str, options: tuple[str, ...] = ()) -> "Ended":
        """Go on with the run until a fault ends it, with one line that has these words."""
        ended = training.run(run, fault, *own, *options)
        assert ended.status == status, ended
        assert ended.err.count("\n") == 1, ended.err
        for word in words:
            assert word in ended.err
        return ended

    def at_step(step: int, **action: object) -> dict[str, Any]:
        return {"kinds": ["step"], "n": step, "action": action}

    first = training.start(run, at_step(1, do="signal", number=signal.SIGSTOP), *own, "--data.workers", "2")
    assert stop_is_reached(first)
    spoiled({}, 2, "is being written by another run", f"process {first} ")
    os.kill(first, signal.SIGKILL)  # its loader processes live on for a while, and hold nothing
    spoiled(at_step(1, do="kill worker"), 1, "stopped: ", options=("--data.workers", "2"))
    training.server.wait(first)
    away = tmp_path / "away"
    spoiled(at_step(1, do="move", path=str(tree), to=str(away)), 2, str(tree))
    away.rename(tree)
    photos = {path: path.read_bytes() for path in (tree / "train").rglob("*.png")}
    for path, data in photos.items():
        path.write_bytes(data[: len(data) // 2])
    spoiled({}, 2, "cannot be decoded")
    for path, data in photos.items():
        path.write_bytes(data)
    full = {"kinds": ["fsync"], "match": "checkpoint_last", "n": 2, "action": {"do": "full"}}
    spoiled(full, 2, "No space left on device", "--run.resume auto")
    spoiled({"largest_file": 200_000}, 2, "File too large", "--run.resume auto")
    half = {"kinds": ["score"], "n": training.passes + 5, "action": {"do": "signal", "number": signal.SIGUSR1}}
    spoiled(half, 128 + signal.SIGUSR1, "stopped by signal ")
    weights = run / "checkpoint_last" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    again = training.run(run, {"clock": 5}, *own)  # each reading of the time of day is five seconds before the last
    assert (again.status, again.err) == (0, "")
    training.compare(run)
    assert "is damaged (model.safetensors has " in again.out
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert negative([{key: value for key, value in row.items() if "second" in key} for row in rows]) == []
    record_fact("equal", case="1 process, nine faults in one run", message="")


def test_kills_in_mid_epoch_in_scoring_and_in_a_checkpoint(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    run, kill = tmp_path / "run", {"do": "kill"}
    ended = training.run(run, {"kinds": ["step"], "n": 1, "action": {"do": "signal", "number": signal.SIGTERM}})
    assert ended.status == 128 + signal.SIGTERM
    assert ended.err.startswith(f"stopped by signal {int(signal.SIGTERM)} after ")
    renamed = {"kinds": ["rename"], "match": "checkpoint_last$", "n": 1}
    for fault in ({"kinds": ["step"], "n": 1}, renamed, {"kinds": ["score"], "n": training.passes + 1}):
        assert training.run(run, {"action": kill} | fault).status == -9
    training.assert_same_end(run)
    record_fact(
        "equal", case="1 process, SIGTERM, then killed in mid-epoch, in a checkpoint and in scoring", message=""
    )


@pytest.mark.parametrize("which", ["evaluation", "preprocessing"])
def test_a_kill_half_way(request: pytest.FixtureRequest, tmp_path: Path, which: str) -> None:
    task: Task = request.getfixturevalue(which)
    half = {"kinds": ["open"], "n": sum(kind == "open" for kind, _ in task.events) // 2, "action": {"do": "kill"}}
    assert task.run(tmp_path / "out", half).status == -9
    task.assert_same_end(tmp_path / "out")
