"""Runs that keep checkpoints, runs of several seeds, and checkpoint folders that are not the run's own."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from datasets.manifest import read_manifest, write_manifest
from tests.faults.conftest import training_task
from utils.checkpoints import check_checkpoint

if TYPE_CHECKING:
    from tests.faults.conftest import Event, Task
    from tests.server import Server

KILL = {"do": "kill"}
RENAMES = 6  # events tried around the three renames of a checkpoint
KEEPING = 10  # and while one is kept
KEPT = "checkpoint_epoch_0001"


def killed_at(task: "Task", run: Path, place: int) -> None:
    """Kill a run before one of its events, counted from 0."""
    kinds = sorted({kind for kind, _ in task.events})
    assert task.run(run, {"kinds": kinds, "n": place + 1, "action": KILL}).status == -9


def nth(task: "Task", number: int, wanted: "Event") -> int:
    """Return the place of the n-th event of a kind at a path with an ending, counted from 1."""
    kind, ending = wanted
    places = [place for place, event in enumerate(task.events) if event[0] == kind and event[1].endswith(ending)]
    return places[number - 1]


@pytest.fixture(scope="module")
def keeping(server: "Server", pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> "Task":
    """A run that keeps the checkpoint of each epoch."""
    return training_task(server, pair_tree, tmp_path_factory.mktemp("keeping") / "run", "--run.keep_every", "1")


@pytest.fixture(scope="module")
def two_seeds(server: "Server", pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> "Task":
    """Two runs that one command starts."""
    reference = tmp_path_factory.mktemp("seeds") / "run"
    return training_task(server, pair_tree, reference, "--train.seeds", "0,1", seeds=("seed0", "seed1"))


@pytest.mark.points(RENAMES)
def test_a_kill_between_two_renames(
    training: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    """Of the third checkpoint, the first that finds both of its predecessors."""
    first, last = nth(training, 1, ("rename", "/checkpoint_previous")), nth(training, 3, ("rename", "_last.new"))
    assert last - first == 2, training.events[first : last + 1]
    killed_at(training, tmp_path / "run", first + number)
    training.assert_same_end(tmp_path / "run")
    kind, path = training.events[first + number]
    record_fact("kill", phase="renames", place=f"{kind} {Path(path).name}")


@pytest.mark.points(KEEPING)
def test_a_kill_while_a_checkpoint_is_kept(
    keeping: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    links = [place for place, (kind, _) in enumerate(keeping.events) if kind == "link"]
    start = next(place for place in range(links[0], 0, -1) if keeping.events[place][0] == "mkdir")
    killed_at(keeping, tmp_path / "run", start + number)
    keeping.assert_same_end(tmp_path / "run")
    assert check_checkpoint(tmp_path / "run" / KEPT) is None
    record_fact("kill", phase="kept", place="{} {}".format(*keeping.events[start + number]).rpartition("/")[2])


@pytest.mark.points(4)
def test_the_last_checkpoint_is_damaged_where_it_lies(
    keeping: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    """Its kept copy may have the same bytes on the disk, and is damaged with it."""
    run = tmp_path / "run"
    assert keeping.run(run, {"kinds": ["step"], "n": 4, "action": KILL}).status == -9
    files = sorted(path for path in (run / "checkpoint_last").iterdir() if path.name != "checkpoint.json")
    path = files[number % len(files)]
    with path.open("r+b") as file:
        file.write(b"damage")
    again = keeping.assert_same_end(run)
    assert check_checkpoint(run / KEPT) is None
    said = next(line for line in again.out.splitlines() if "is damaged" in line)
    record_fact("damage", fault=f"{path.name} changed where it lies", message=said.replace(str(run), "RUN"))


@pytest.mark.points(4)
def test_a_kill_in_the_second_seed(
    two_seeds: "Task", tmp_path: Path, record_fact: Callable[..., None], number: int
) -> None:
    places = [place for place, (_, path) in enumerate(two_seeds.events) if "/seed1/" in path]
    place = places[(number + 1) * len(places) // 5]
    killed_at(two_seeds, tmp_path / "run", place)
    assert (tmp_path / "run" / "seed0" / "metrics.json").is_file()
    two_seeds.assert_same_end(tmp_path / "run")
    record_fact("kill", phase="second seed", place=two_seeds.events[place][0])


def test_folders_of_the_user_are_left_alone(training: "Task", tmp_path: Path) -> None:
    run = tmp_path / "run"
    fault: dict[str, Any] = {"kinds": ["step"], "n": 4, "action": {"do": "signal", "number": signal.SIGTERM}}
    assert training.run(run, fault).status == 128 + signal.SIGTERM
    for name in ("checkpoint_mine", "checkpoint_last_good", "checkpoint_epoch_x"):
        (run / name).mkdir()
        (run / name / "checkpoint.json").write_text(json.dumps({"step": 10**9}))
    weights = run / "checkpoint_last" / "model.safetensors"
    weights.write_bytes(b"")
    ended = training.run(run)
    assert ended.status == 0, ended
    for name in ("checkpoint_mine", "checkpoint_last_good", "checkpoint_epoch_x"):
        assert [path.name for path in (run / name).iterdir()] == ["checkpoint.json"]
        shutil.rmtree(run / name)
    training.compare(run)


def test_other_data_before_the_first_checkpoint_are_refused(
    training: "Task", pair_tree: Path, tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    options = ("--data.root", str(tree), "--run.checkpoint_minutes", "1000")
    fault = {"kinds": ["step"], "n": 1, "action": KILL}
    assert training.run(tmp_path / "run", fault, *options).status == -9
    assert not list((tmp_path / "run").glob("checkpoint_*"))
    rows = read_manifest(tree / "manifest.csv")
    gone = next(row for row in rows if row.split == "train")
    left = [row for row in rows if (row.split, row.photo) != ("train", gone.photo)]
    write_manifest(tree / "manifest.csv", left, ["tomato", "spinach", "blueberry"])
    for path in (tree / "train").rglob(f"{Path(gone.photo).stem}.png"):
        path.unlink()
    ended = training.run(tmp_path / "run", None, *options)
    assert ended.status == 2, ended
    assert "changed since" in ended.err
    record_fact("fault", fault="data changed before the first checkpoint", message=ended.err, status=2)
