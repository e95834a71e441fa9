"""Data that vanish, a photo that becomes unreadable, a loader process that the system kills: all in mid-run."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Task

LAST_STEP_OF_EPOCH_1 = 3


@pytest.fixture
def tree(pair_tree: Path, tmp_path: Path) -> Path:
    """A tree of pairs to spoil."""
    return Path(shutil.copytree(pair_tree, tmp_path / "tree"))


def at_step(number: int, action: dict[str, Any]) -> dict[str, Any]:
    return {"kinds": ["step"], "n": number, "action": action}


def test_a_folder_that_vanishes_between_epochs(
    training: "Task", tree: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    away = tmp_path / "away"
    fault = at_step(LAST_STEP_OF_EPOCH_1, {"do": "move", "path": str(tree), "to": str(away)})
    ended = training.run(tmp_path / "run", fault, "--data.root", str(tree))
    assert ended.status == 2
    assert re.fullmatch(rf"error: .*{tree}.*\n", ended.err), ended.err
    away.rename(tree)
    training.assert_same_end(tmp_path / "run", "--data.root", str(tree))
    record_fact("fault", fault="the data folder vanishes between two epochs", message=ended.err, status=2)


def test_a_photo_that_becomes_unreadable_in_epoch_2(
    training: "Task", tree: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    photos = sorted((tree / "train").rglob("*.png"))
    sound = {photo: photo.read_bytes() for photo in photos}
    action = {"do": "cut short", "path": str(photos[0]), "size": len(sound[photos[0]]) // 2}
    ended = training.run(tmp_path / "run", at_step(LAST_STEP_OF_EPOCH_1, action), "--data.root", str(tree))
    assert ended.status == 2
    assert re.fullmatch(rf"error: {photos[0]} cannot be decoded .*\n", ended.err), ended.err
    photos[0].write_bytes(sound[photos[0]])
    training.assert_same_end(tmp_path / "run", "--data.root", str(tree))
    record_fact("fault", fault="a photo becomes unreadable in epoch 2", message=ended.err, status=2)


@pytest.mark.parametrize("which", ["2", "4"])
def test_a_loader_process_that_the_system_kills(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None], which: str
) -> None:
    ended = training.run(tmp_path / "run", at_step(int(which), {"do": "kill worker"}), "--data.workers", "2")
    assert ended.status == 1
    assert re.fullmatch(r"stopped: .*\n", ended.err), ended.err
    training.assert_same_end(tmp_path / "run")
    record_fact("fault", fault="a loader process is killed by the system", message=ended.err, status=1)
