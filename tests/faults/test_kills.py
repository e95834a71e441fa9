"""kill -9 at random moments of preprocessing, training, checkpoint writing, scoring and evaluation."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import LEFTOVER

if TYPE_CHECKING:
    from tests.faults.conftest import Event, Task
    from tests.server import Ended

STEPS_IN_EPOCH = 3
PICTURES = (".jpg", ".png")


def phase(event: "Event") -> str:
    """Return what a training process is doing at an event."""
    kind, path = event
    if kind in ("read", "step"):
        return "training"
    if kind == "score":
        return "scoring"
    if "/checkpoint_" in path:
        return "checkpoint"
    return "log" if "/log.jsonl" in path or "tensorboard" in path else "results"


def kill_at(task: "Task", number: int, wanted: Callable[["Event"], bool]) -> dict[str, Any]:
    """Return a fault: the process is killed at an event, every second time with half a file where one was written."""
    fault = task.choose(number, wanted)
    torn = task.events[fault["n"] - 1][0] == "fsync" and number % 2 == 0
    return fault | {"action": {"do": "tear" if torn else "kill"}}


def place(task: "Task", fault: dict[str, Any]) -> str:
    """Return where a fault happens, in words that do not depend on the machine."""
    kind, path = task.events[fault["n"] - 1]
    return f"{kind} {re.sub(r'^[.]|[.][0-9]+[.](tmp|unfinished|replaced)', '', Path(path).name)}".strip()


def steps_lost(trace: Path, again: "Ended") -> int:
    """Return how many optimiser steps the killed process had taken beyond those that the next one started from."""
    done = sum(line.startswith('["step"') for line in trace.read_text().splitlines())
    found = re.search(r"after optimiser step (\d+)", again.out)
    finished = "is finished already" in again.out
    return 0 if finished else done - (int(found[1]) if found else 0)


def sizes(folder: Path, *, pictures: bool = False) -> dict[str, tuple[int, int]]:
    """Return time and size by the name of what a killed process left: half-written files, or finished pictures."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    parts = {path: path.relative_to(folder).parts for path in found}
    wanted = [
        path
        for path in found
        if (path.suffix in PICTURES if pictures else any(LEFTOVER.search(part) for part in parts[path]))
    ]
    return {"/".join(parts[path][1:]): (path.stat().st_mtime_ns, path.stat().st_size) for path in wanted}


def thrown_away(folder: Path) -> int:
    """Return the bytes that a killed process wrote and the next one throws away."""
    return sum(size for _, size in sizes(folder).values())


@pytest.mark.parametrize("which", ["training", "scoring", "checkpoint", "log", "results"])
@pytest.mark.points(8)
def test_training(training: "Task", tmp_path: Path, record_fact: Callable[..., None], which: str, number: int) -> None:
    fault = kill_at(training, number, lambda event: phase(event) == which)
    trace = tmp_path / "trace"
    assert training.run(tmp_path / "run", fault | {"trace": str(trace)}).status == -9
    thrown = thrown_away(tmp_path)
    again = training.assert_same_end(tmp_path / "run")
    lost = steps_lost(trace, again)
    assert 0 <= lost <= 1  # a checkpoint is due at every step
    record_fact("kill", phase=which, place=place(training, fault), steps_lost=lost, bytes_lost=thrown)


@pytest.mark.points(8)
def test_training_with_a_checkpoint_per_epoch(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    fault = training.choose(number, lambda event: event[0] == "step")
    steps = [event for event in training.events[: fault["n"]] if event[0] == "step"]
    fault = {"kinds": ["step"], "n": len(steps), "action": {"do": "kill"}, "trace": str(tmp_path / "trace")}
    options = ("--run.checkpoint_minutes", "1000")
    assert training.run(tmp_path / "run", fault, *options).status == -9
    lost = steps_lost(tmp_path / "trace", training.assert_same_end(tmp_path / "run", *options))
    assert 0 <= lost <= STEPS_IN_EPOCH
    record_fact("kill", phase="training, a checkpoint per epoch", place=f"step {len(steps)}", steps_lost=lost)


@pytest.mark.points(8)
def test_evaluation(evaluation: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int) -> None:
    fault = kill_at(evaluation, number, lambda event: number % 2 == 1 or event[0] not in ("read", "score"))
    assert evaluation.run(tmp_path / "out", fault).status == -9
    thrown = thrown_away(tmp_path)
    evaluation.assert_same_end(tmp_path / "out")
    record_fact("kill", phase="evaluate.py", place=place(evaluation, fault), bytes_lost=thrown)


@pytest.mark.points(8)
def test_preprocessing(preprocessing: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int) -> None:
    fault = kill_at(preprocessing, number, lambda _: True)
    assert preprocessing.run(tmp_path / "tree", fault).status == -9
    before = sizes(tmp_path, pictures=True)
    preprocessing.assert_same_end(tmp_path / "tree")
    after = sizes(tmp_path, pictures=True)
    lost = sum(size for name, (time, size) in before.items() if after.get(name) != (time, size))  # written again
    record_fact("kill", phase="preprocessing", place=place(preprocessing, fault), bytes_lost=lost)


@pytest.mark.points(6)
def test_one_kill_after_the_other(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    """Each start is killed some events further than the last one, until one reaches the end."""
    generator, kills = random.Random(number), 0
    every = {"kinds": training.choose(0, lambda _: True)["kinds"], "action": {"do": "kill"}}
    while training.run(tmp_path / "run", every | {"n": generator.randint(1, len(training.events))}).status == -9:
        kills += 1
        assert kills < 30, "no start gets any further"
    training.assert_same_end(tmp_path / "run")
    record_fact("kill", phase="one after the other", place="", count=kills)
