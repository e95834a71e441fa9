"""The short form of the tests beside this, together with test_nine_faults.py: kills of each kind of process."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Task


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
