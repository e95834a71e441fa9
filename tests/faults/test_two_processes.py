"""Two processes on the CPU: stopped and killed runs go on to the same bytes as undisturbed ones."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Task
    from tests.server import Ended


def run_two(task: "Task", folder: Path, fault: dict[str, Any] | None = None, *, rank: int = 1) -> "list[Ended]":
    """Start two processes as a launcher does, one of them with a fault, and wait for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    fault = fault and {"folder": str(folder.parent)} | fault
    pids = [
        task.server.start(
            task.argv(folder), fault if one == rank else None, world | {"RANK": str(one), "LOCAL_RANK": str(one)}
        )
        for one in range(2)
    ]
    return [task.server.wait(pid) for pid in (pids[rank], pids[1 - rank])]


@pytest.fixture(scope="module")
def undisturbed(training: "Task", tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What two processes leave that nobody disturbs."""
    run = tmp_path_factory.mktemp("two") / "run"
    assert [(ended.status, ended.err) for ended in run_two(training, run)] == [(0, ""), (0, "")]
    return training.result(run)


@pytest.mark.parametrize(
    "which", ["SIGTERM", "kill", "kill of the main one", "kill at a checkpoint", "kill while it is scored"]
)
def test_two_processes(
    training: "Task", undisturbed: dict[str, bytes], tmp_path: Path, record_fact: Callable[..., None], which: str
) -> None:
    run = tmp_path / "run"
    do = {"do": "signal", "number": signal.SIGTERM} if which == "SIGTERM" else {"do": "kill"}
    fault: dict[str, Any] = {"kinds": ["step"], "n": 5, "action": do}
    if which == "kill at a checkpoint":
        fault = {"kinds": ["rename"], "match": "checkpoint_last[.]new$", "n": 5, "action": do}
    if which == "kill while it is scored":
        fault = {"kinds": ["score"], "n": sum(kind == "score" for kind, _ in training.events) // 2, "action": do}
    rank = int(which in ("SIGTERM", "kill"))
    hit, other = run_two(training, run, fault, rank=rank)
    if which == "SIGTERM":
        assert (hit.status, other.status) == (128 + signal.SIGTERM,) * 2
    else:
        assert hit.status == -9
        assert other.status == 1
        assert f"stopped: process {rank} (pid " in other.err
        assert "Traceback" not in other.err
    assert [(ended.status, ended.err) for ended in run_two(training, run)] == [(0, ""), (0, "")]
    assert training.result(run) == undisturbed
    record_fact("equal", case=f"2 processes, {which}", message=other.err.splitlines()[-1])
