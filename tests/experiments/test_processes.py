"""Two processes on the CPU against one."""

import csv
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.experiments import two_processes
from tests.experiments.head_training import HeadRun, assert_same_run
from tests.experiments.two_processes import IN_EPOCH_2, RESUME, evaluate, signal_after, train
from utils.errors import InterruptedRunError

if TYPE_CHECKING:
    from tests.server import Server

ROOT = Path(__file__).parents[2]
SUITE = """seeds: [0, 1]
letterbox: run
conditions:
  identity: {}
  permute: {perturbation: permute_patches, views: single, patch: 56}
  blank: {perturbation: blank, views: single}
"""


@dataclass(frozen=True)
class Launch:
    """What processes left behind: their runs, how they ended, and what each answered and printed to stderr."""

    folder: Path
    ended: dict[str, Any]
    answers: list[dict[str, Any]]
    errors: list[str]


@pytest.fixture(scope="module")
def launch(server: "Server", pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """One process trains; then torchrun's agent starts two, which go through all phases."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tree").symlink_to(pair_tree)
    (folder / "suite.yaml").write_text(SUITE)
    train(folder, "alone")
    train(folder, "copies_alone", "--train.micro_batch", "1", "--train.epochs", "1")
    with pytest.raises(InterruptedRunError), signal_after(IN_EPOCH_2, signal.SIGTERM):
        train(folder, "begun_alone")
    done = server.run([str(two_processes.__file__), str(folder)], seconds=300)
    assert done.status == 0, done.err
    ended = json.loads((folder / "ended.json").read_text())
    answers = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    errors = [next((folder / "logs").rglob(f"{rank}/stderr.log")).read_text() for rank in range(2)]
    return Launch(folder, ended, answers, errors)


def assert_close(one: Any, other: Any, tolerance: float = 1e-5) -> None:  # noqa: ANN401  # what JSON holds
    """Compare numbers inside dicts and lists; everything else must be equal."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        assert_close(list(one.values()), list(other.values()), tolerance)
    elif isinstance(one, list):
        for before, after in zip(one, other, strict=True):
            assert_close(before, after, tolerance)
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=tolerance)
    else:
        assert one == other


def assert_equal_runs(one: Path, other: Path) -> None:
    """Compare weights, logits, logged losses and scores of two runs."""
    weights = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(weights[1][name], tensor, rtol=0, atol=1e-5, err_msg=name)
    logits = [np.load(run / "logits.npz")["test"] for run in (one, other)]
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-5)
    logs = [(run / "log.jsonl").read_text().splitlines() for run in (one, other)]
    before, after = ([json.loads(line)["train"] for line in log] for log in logs)
    assert_close(before, after)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    assert_close(metrics[0]["test"], metrics[1]["test"])
    assert metrics[1]["test"]["n_pairs"] == 20
    assert_close(metrics[0]["measures"], metrics[1]["measures"])
    assert metrics[1]["measures"]["most/top1"]["value"] == pytest.approx(metrics[1]["test"]["top1"])


def test_two_processes_equal_one(launch: Launch) -> None:
    """5 and 4 pairs of a step in micro-batches of 2: parts of 2, 2, 1 and of 2, 1, 1; and 2 and 1 in the last step."""
    assert_equal_runs(launch.folder / "alone", launch.folder / "together")


def test_copies_count_nothing(launch: Launch) -> None:
    assert_equal_runs(launch.folder / "copies_alone", launch.folder / "copies")


def test_evaluation_shares_the_pairs(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    alone, together = (launch.folder / f"evaluated_{how}" for how in ("alone", "together"))
    assert [answer["evaluate"] > 0 for answer in launch.answers] == [True, False]  # one of them writes
    evaluate(launch.folder, "together", "evaluated_alone")
    results = [json.loads((folder / "results.json").read_text()) for folder in (alone, together)]
    assert_close(results[0]["runs"]["together"]["conditions"], results[1]["runs"]["together"]["conditions"], 1e-6)
    assert_close(*(one["runs"]["together"]["measures"] for one in results))
    assert results[1]["baselines"] == results[0]["baselines"]
    files = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (alone, together)]
    assert files[0] == files[1]
    for name in (name for name in files[0] if name.endswith("predictions.csv")):
        before, after = (read_rows(folder / name) for folder in (alone, together))
        assert len(before) in (21, 41)  # one or two seeds
        assert_close(before, after, 2e-6)


def read_rows(path: Path) -> list[list[float | str]]:
    """Read a table in which numbers have a point."""
    with path.open() as file:
        return [[float(cell) if "." in cell else cell for cell in row] for row in csv.reader(file)]


def test_a_process_without_pairs_measures_nothing_and_waits_for_nobody(launch: Launch) -> None:
    assert [answers["measure few"] for answers in launch.answers] == [
        {"pair/label": [7, 5], "pair/square": [49, 25]}
    ] * 2


def test_disagreement_is_told_to_both(launch: Launch) -> None:
    first, second = (answers["disagree"] for answers in launch.answers)
    assert first == second
    assert "train.seed is 0 in process 0 (" in first
    assert " and 1 in process 1 (" in first
    assert not (launch.folder / "disagreeing").exists()


def test_a_run_goes_on_with_more_processes(launch: Launch) -> None:
    assert_equal_runs(launch.folder / "alone", launch.folder / "begun_alone")


def test_a_run_goes_on_with_fewer_processes(launch: Launch) -> None:
    """Process 1 got the signal, both stopped after the same step of an epoch."""
    assert [answers["stop"] for answers in launch.answers] == [signal.SIGTERM] * 2
    assert not (launch.folder / "begun_together" / "metrics.json").exists()
    train(launch.folder, "begun_together", *RESUME)
    assert_equal_runs(launch.folder / "alone", launch.folder / "begun_together")


def test_a_killed_process_stops_the_other_with_its_name(launch: Launch) -> None:
    """torchrun sends the one that is left SIGTERM, which asks for a stop that both would have to agree to."""
    # Whoever ends first is what the launcher sees: the one that was killed, or the other that noticed it.
    assert launch.ended["failed"].items() & {("1", -signal.SIGKILL), ("0", 1)}
    assert launch.ended["seconds_after_last_answer"] < 60
    said = launch.errors[0].splitlines()[-1]
    assert said.startswith("stopped: process 1 (pid ")
    assert "is gone: it ended without a word" in said
    assert "the run cannot go on without all its processes. Continue with " in said
    assert "Traceback" not in launch.errors[0]
    train(launch.folder, "lost", *RESUME)
    assert_equal_runs(launch.folder / "alone", launch.folder / "lost")


def test_a_process_that_hangs_is_ended_when_the_main_one_is_gone(launch: Launch) -> None:
    """Started as SLURM does, without anybody who looks after them; process 0 takes the store with it."""
    pids, statuses = zip(*launch.ended["hanging"], strict=True)
    assert statuses == (-signal.SIGKILL, 1)
    said = (launch.folder / "hanging" / "1").read_text()
    assert f"stopped: process 0 (pid {pids[0]} on " in said
    assert "Traceback" not in said


def test_processes_share_the_work_on_a_bank_and_agree(launch: Launch) -> None:
    """Two processes train as one does; of devices for 3 and 7 pairs, both take 2; of 8 and 0, neither goes on."""
    folder = launch.folder / "heads"
    files = ("run-1-0", "run-2-0", "run-2-1")
    one, *two = (HeadRun(**torch.load(folder / f"{name}.pt", weights_only=False)) for name in files)
    for run in two:
        assert_same_run(one, run)
    assert two[0].seen + two[1].seen == one.seen
    assert two[0].seen["roi"] == two[1].seen["roi"] == 34
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    assert [answers[0] for answers in found] == [2, 2]
    assert "not even 1 pair fits into the memory of the device of process 1, unlike this one's, cpu" in found[0][1]
    assert "not even 1 pair fits into the memory of cpu" in found[1][1]
