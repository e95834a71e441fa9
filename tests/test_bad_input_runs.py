"""Mistakes that come up once a run has begun, and the scripts as processes: status 2, one line, and an end."""

import errno
import multiprocessing
import os
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datasets import loaders
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from utils.errors import DataError, run_script

if TYPE_CHECKING:
    from tests.server import Server

ROOT = Path(__file__).parents[1]
SMALL = [
    *("--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "16"),
    *("--train.epochs", "1", "--eval.resamples", "100"),
    *("--model.backbone.name", "test_resnet", "--model.backbone.pretrained", "false"),
]


def arguments(root: Path, run: Path, *options: str) -> list[str]:
    """Return a command line; the last of two equal options counts."""
    return ["--data.root", str(root), "--run.dir", str(run), *SMALL, *options]


def exit_status(root: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the script's whole body in this process, down to its exit."""
    monkeypatch.setattr(sys, "argv", ["train_Off-the-shelf.py", *arguments(root, run)])
    with pytest.raises(SystemExit) as stop:
        run_script(lambda argv: train_command(OFF_THE_SHELF, argv))
    return stop.value.code


def break_a_photo(tree: Path) -> tuple[Path, bytes]:
    """Cut a cut-out short, so that names and headers stay sound; return it and its sound bytes."""
    broken = min((tree / "train" / "roi" / "tomato").iterdir())
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    return broken, data


@pytest.fixture
def tree(pair_tree: Path, tmp_path: Path) -> Path:
    """A tree of pairs to spoil."""
    return Path(shutil.copytree(pair_tree, tmp_path / "tree"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_photo_that_the_loader_cannot_read(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(loaders, "available_cores", lambda: 2)
    run, others = tmp_path / "run", set(multiprocessing.active_children())
    broken, data = break_a_photo(tree)
    with pytest.raises(DataError) as caught:
        train_command(OFF_THE_SHELF, arguments(tree, run, "--data.workers", str(workers), "--data.prefetch", "2"))
    text = str(caught.value)
    advice = rf"Continue with the same command and --run\.dir {run} --run\.resume auto"
    message = rf"{broken} cannot be decoded \([^/]+\); restore the file, or make the pair again\. {advice}"
    assert re.fullmatch(message, text), text
    assert not [*run.glob("checkpoint_*"), *run.glob("metrics.json")]
    assert set(multiprocessing.active_children()) <= others
    if workers == 0:
        broken.write_bytes(data)
        train_command(OFF_THE_SHELF, arguments(tree, run, "--run.resume", "auto"))
        assert (run / "metrics.json").is_file()


def test_a_full_disk_ends_a_run_with_one_line(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small files still find room, weights do not."""
    original = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert exit_status(pair_tree, tmp_path / "run", monkeypatch) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .*No space left on device.*\n", error), error
    assert not [*(tmp_path / "run").rglob("*.safetensors"), *(tmp_path / "run").glob("metrics.json")]


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let the system refuse to write beyond some bytes, also to libraries that are not written in Python."""
    resource = pytest.importorskip("resource", reason="this system has no limit on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [200_000, 2_000_000])  # less than the weights; less than the optimiser's state
def test_a_checkpoint_that_the_system_refuses_ends_a_run_with_one_line(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], n_bytes: int
) -> None:
    with largest_file(n_bytes):
        assert exit_status(pair_tree, tmp_path / "run", monkeypatch) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .*\n", error), error
    assert not list((tmp_path / "run").glob("checkpoint_*"))


README = {
    "train_RveRNet.py": "./RveRNets/train_cfgs/train_config_FoodSeg103.yaml",
    "train_Off-the-shelf.py": "./Off_the_shelfs/train_cfgs/train_config.yaml",
}
NO_DATA = (
    "error: the data folder dataset_root does not exist; set data.root, or make it with: "
    "python preprocess_foodseg103.py --src ARCHIVE --dst dataset_root\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's folder as a newcomer has it: without data."""
    for name in ("RveRNets", "Off_the_shelfs", *README):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_a_command_of_the_readme_without_data_is_one_line_and_status_2(server: "Server", project: Path) -> None:
    script = "train_RveRNet.py"
    done = server.run([script, f"--config={README[script]}"], project)
    assert (done.status, done.out, done.err) == (2, "", NO_DATA)
    assert not (project / "runs").exists()


@pytest.mark.parametrize("script", README)
def test_both_scripts_of_the_readme_without_data(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", [script, f"--config={README[script]}"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(script, run_name="__main__")
    assert (stop.value.code, *capsys.readouterr()) == (2, "", NO_DATA)
    assert not (project / "runs").exists()


FAIL_IN_MID_EPOCH = """
import sys
from pathlib import Path
from datasets.index import PairIndex
from datasets.loaders import evaluation_loader
from datasets.pairs import PairDataset
from utils.batch import ViewSpec
from utils.errors import RunError, run_script
from utils.data_sections import DataConfig

alive = []

def main(argv):
    specs = {"roi": ViewSpec(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")}
    dataset = PairDataset(PairIndex.from_tree(Path(argv[0]), "train"), specs, DataConfig(), training=False, seed=0)
    loader = evaluation_loader(dataset, batch_size=4, workers=2)
    alive.append(loader)
    for _ in loader:
        raise RunError("the loss is not finite")

run_script(main)
"""


def test_an_error_in_mid_epoch_does_not_leave_the_process_waiting_for_its_loaders(
    server: "Server", pair_tree: Path, tmp_path: Path
) -> None:
    """Whatever keeps the loader, as a traceback may, keeps its processes, and these ignore the signal to end."""
    script = tmp_path / "script.py"
    script.write_text(FAIL_IN_MID_EPOCH)
    done = server.run([str(script), str(pair_tree)], seconds=60)
    assert (done.status, done.out, done.err) == (1, "", "stopped: the loss is not finite\n")
