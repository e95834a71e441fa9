"""Processes of the project's scripts that cost little to start, and what is compared after a fault."""

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.server import Ended, Server

# What a killed process may leave and the next one must clear away.
LEFTOVER = re.compile(r"^\..*(\.tmp|\.unfinished|\.replaced|\.partial|\.lock)|\.(new|old)$")
SHORT_FORM = "test_together.py"
Event = tuple[str, str]


def leftovers(folder: Path) -> list[str]:
    """Return the names of unfinished files and folders, in a folder or beside it."""
    names = [str(path.relative_to(folder.parent)) for path in folder.rglob("*")] if folder.exists() else []
    names += [path.name for path in folder.parent.iterdir()]
    return [name for name in names if LEFTOVER.search(Path(name).name)]


def stop_is_reached(pid: int) -> bool:
    """Wait until a process has stopped itself; false where it ended."""
    for _ in range(3000):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "TZ":
            return state == "T"
        time.sleep(0.01)
    return False


@dataclass
class Task:
    """A command that is started, spoiled and started again.

    Attributes:
        server: what starts it.
        argv: the script and its options, for a folder to write.
        result: what must be the same at the end, by name.
        reference: a folder that an undisturbed process wrote.
        events: what happened in that process in the reference's own folder, in order; see ``injected.py``.
        elsewhere: what happened outside of it.
    """

    server: Server
    argv: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, bytes]]
    reference: Path
    events: list[Event] = field(default_factory=list)
    elsewhere: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = str(self.reference.parent)
        trace = self.reference.with_name(f"{self.reference.name}.trace")
        ended = self.run(self.reference, {"folder": "", "trace": str(trace)})
        assert (ended.status, ended.err) == (0, ""), ended
        for kind, name in map(json.loads, trace.read_text().splitlines()):
            if name.startswith(own) or not name:
                self.events.append((kind, name.removeprefix(own)))
            else:
                self.elsewhere.append((kind, name))

    def start(self, folder: Path, fault: dict[str, Any] | None = None, *options: str) -> int:
        """Start the command; paths of events are relative to the folder's own folder."""
        if fault is not None:
            fault = {"folder": str(folder.parent)} | fault
        return self.server.start([*self.argv(folder), *options], fault)

    def run(self, folder: Path, fault: dict[str, Any] | None = None, *options: str) -> Ended:
        """Run the command to its end, whatever that is."""
        return self.server.wait(self.start(folder, fault, *options))

    def assert_same_end(self, folder: Path, *options: str) -> Ended:
        """Run the same command again and compare what it leaves with the undisturbed one."""
        ended = self.run(folder, None, *options)
        assert ended.status == 0, ended.err
        self.compare(folder)
        return ended

    def compare(self, folder: Path) -> None:
        """Check that a folder is what an undisturbed process leaves."""
        assert self.result(folder) == self.result(self.reference)
        assert leftovers(folder) == []
        assert names(folder) == names(self.reference)

    @property
    def passes(self) -> int:
        """How often a process scores while it builds the model."""
        kinds = [kind for kind, _ in self.events]
        return kinds[: kinds.index("step")].count("score")

    def choose(self, number: int, wanted: Callable[[Event], bool]) -> dict[str, Any]:
        """Return a fault without its action, at one of the wanted events; the number is the seed."""
        places = [place for place, event in enumerate(self.events) if wanted(event)]
        place = random.Random(number).choice(places)
        return {"kinds": sorted({kind for kind, _ in self.events}), "n": place + 1}


def names(folder: Path) -> set[str]:
    """Return the names of all files; those for TensorBoard are one per start."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in files if "tensorboard/" not in name}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the marker ``points`` say how many seeds a test gets."""
    marker = metafunc.definition.get_closest_marker("points")
    if marker is not None:
        metafunc.parametrize("number", range(marker.args[0]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave all but one file to the long form."""
    if config.getoption("--soak"):
        return
    left = [item for item in items if item.path.parent == Path(__file__).parent and item.path.name != SHORT_FORM]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


RESULTS = ("metrics.json", "predictions.csv", "model.safetensors")


def training_task(server: Server, tree: Path, reference: Path, *more: str, seeds: tuple[str, ...] = ("",)) -> Task:
    """Return a run of two epochs of three steps, with validation pairs, averaged weights, a checkpoint at every step.

    ``more`` are options; ``seeds`` names the folders of a run of several seeds.
    """
    options = ["--data.root", str(tree), "--data.image_size", "32", "--data.workers", "0"]
    options += ["--data.validation_fraction", "0.3", "--eval.selection", "best", "--eval.resamples", "100"]
    options += ["--model.backbone.name", "test_vit", "--model.backbone.pretrained", "false", "--train.device", "cpu"]
    options += ["--train.batch_size", "16", "--train.epochs", "2", "--train.ema_decay", "0.9", "--train.log_every", "1"]
    options += ["--run.resume", "auto", "--run.checkpoint_minutes", "1e-6", *more]

    def result(run: Path) -> dict[str, bytes]:
        paths = {run / seed / name for seed in seeds for name in RESULTS} | {run / "metrics.json"}
        return {str(path.relative_to(run)): path.read_bytes() for path in sorted(paths)}

    return Task(server, lambda run: ["train_Off-the-shelf.py", *options, "--run.dir", str(run)], result, reference)


@pytest.fixture(scope="session")
def training(server: Server, pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """One run; see ``training_task``."""
    return training_task(server, pair_tree, tmp_path_factory.mktemp("training") / "run")


@pytest.fixture(scope="session")
def evaluation(server: Server, training: Task, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """An evaluation of that run under one change of the pictures."""
    folder = tmp_path_factory.mktemp("evaluation")
    suite = folder / "suite.yaml"
    suite.write_text("seeds: [0]\nconditions:\n  identity: {}\n  blank: {perturbation: blank, views: single}\n")
    options = ["--run", str(training.reference), "--suite", str(suite), "--device", "cpu", "--data.workers", "0"]
    options += ["--resamples", "100", "--baselines", "false", "--overwrite"]

    def result(out: Path) -> dict[str, bytes]:
        document = json.loads((out / "results.json").read_text())
        files = {name: (out / name).read_bytes() for name in names(out) if name.endswith((".csv", ".md"))}
        document["environment"] = None  # has the time
        return files | {"results.json": json.dumps(document).encode()}

    return Task(server, lambda out: ["evaluate.py", *options, "--out", str(out)], result, folder / "out")


@pytest.fixture(scope="session")
def preprocessing(server: Server, pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Pairs of 34 photos, cut in one process."""
    options = ["--src", str(pair_tree.parent / "archive"), "--size", "32", "--workers", "1", "--ambiguous", "tomato"]

    def result(tree: Path) -> dict[str, bytes]:
        return {name: (tree / name).read_bytes() for name in names(tree)}

    folder = tmp_path_factory.mktemp("preprocessing")
    return Task(
        server, lambda tree: ["preprocess_foodseg103.py", *options, "--dst", str(tree)], result, folder / "tree"
    )
