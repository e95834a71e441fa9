"""Checkpoints that are cut short or changed after they were written."""

import json
import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from utils.checkpoints import check_checkpoint

if TYPE_CHECKING:
    from tests.faults.conftest import Task

LAST, PREVIOUS = "checkpoint_last", "checkpoint_previous"
KILOBYTE = 1024


@pytest.fixture(scope="module")
def unfinished(training: "Task", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 4, with two checkpoints."""
    run = tmp_path_factory.mktemp("unfinished") / "run"
    fault = {"kinds": ["step"], "n": 4, "action": {"do": "signal", "number": signal.SIGTERM}}
    assert training.run(run, fault).status == 128 + signal.SIGTERM
    assert all(check_checkpoint(run / name) is None for name in (LAST, PREVIOUS))
    return run


def damage(path: Path, generator: random.Random) -> str:
    """Cut a file short at a random place, or flip one bit; return what was done, in words."""
    data = bytearray(path.read_bytes())
    place = generator.randrange(len(data))
    if generator.random() < 0.7:
        path.write_bytes(data[:place])
        return f"{path.name} cut short"
    data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    return f"one bit of {path.name} flipped"


@pytest.mark.points(20)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    training: "Task", unfinished: Path, tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    run = Path(shutil.copytree(unfinished, tmp_path / "run"))
    generator = random.Random(number)
    what = damage(generator.choice(sorted((run / LAST).iterdir())), generator)
    again = training.assert_same_end(run)
    said = next(line for line in again.out.splitlines() if "is damaged" in line)
    assert f"{run / LAST} is damaged (" in said
    assert f"going on from {PREVIOUS}" in said
    step = json.loads((unfinished / PREVIOUS / "checkpoint.json").read_text())["step"]
    assert f"after optimiser step {step} " in again.out
    record_fact("damage", fault=what, message=said.replace(str(run), "RUN"))


def test_no_whole_checkpoint_is_an_error(
    training: "Task", unfinished: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    run = Path(shutil.copytree(unfinished, tmp_path / "run"))
    for name in (LAST, PREVIOUS):
        shutil.copy(run / name / "state.pt", tmp_path / name)
        (run / name / "state.pt").write_bytes(b"")
    ended = training.run(run)
    assert ended.status == 2
    assert re.fullmatch(rf"error: run\.resume: no checkpoint of {run} is whole \(.*\n", ended.err), ended.err
    shutil.copy(tmp_path / LAST, run / LAST / "state.pt")
    training.assert_same_end(run)
    record_fact("damage", fault="every checkpoint damaged", message=ended.err.replace(str(run), "RUN"))


def test_every_place_at_which_a_checkpoint_is_cut_short_is_noticed(
    unfinished: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    """Cut at every kilobyte."""
    folder = Path(shutil.copytree(unfinished / LAST, tmp_path / LAST))
    tried = 0
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for size in range(0, len(data), KILOBYTE):
            path.write_bytes(data[:size])
            assert check_checkpoint(folder) is not None, f"{path.name} at {size} bytes"
            tried += 1
        path.write_bytes(data)
        assert check_checkpoint(folder) is None
    record_fact("cut short", places=tried)
