"""Runs that end in the middle, by the clock or by a signal, and go on: to the bytes of a run that did not."""

import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments import continuation, scoring, training
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from utils.checkpoints import check_checkpoint
from utils.engine import compute_logits
from utils.errors import ConfigError, DataError, InterruptedRunError
from utils.run_directory import RunDirectory

OPTIONS = [
    *("--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "12"),
    *("--model.backbone.name", "test_resnet", "--model.backbone.pretrained", "false", "--eval.resamples", "100"),
    *("--train.epochs", "2", "--train.log_every", "1", "--data.validation_fraction", "0.25"),
    *("--eval.selection", "best", "--eval.recalibration_pairs", "24", "--train.ema_decay", "0.5"),
]
PLAIN = ["--train.ema_decay", "null", "--data.validation_fraction", "0", "--eval.selection", "last"]
RESUME = ["--run.resume", "auto"]
README = Path(__file__).parents[2] / "README.md"


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it to tidy up."""


def train(root: Path, run: Path, *options: str) -> None:
    train_command(OFF_THE_SHELF, ["--data.root", str(root), "--run.dir", str(run), *OPTIONS, *options])


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("metrics.json", "predictions.csv", "model.safetensors")}


@pytest.fixture(scope="module")
def straight(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with averaged weights, recalibration and a validation split: two epochs of three steps."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    train(pair_tree, run)
    return run


@pytest.fixture
def killed_run(pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was killed right after its first checkpoint, in mid-epoch; each look at the clock takes 40 seconds."""
    original, seconds = continuation.save, itertools.count(0.0, 40.0)

    def last_act(*arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        original(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "save", last_act)
        patch.setattr(time, "monotonic", lambda: next(seconds))
        with pytest.raises(Killed):
            train(pair_tree, tmp_path / "run", "--run.checkpoint_minutes", "1")
    return tmp_path / "run"


def test_a_checkpoint_by_the_clock_lies_in_mid_epoch_and_continues(
    straight: Path, killed_run: Path, pair_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = json.loads((killed_run / "checkpoint_last" / "checkpoint.json").read_text())
    assert (place["epoch"], place["step"], place["step_in_epoch"]) == (0, 2, 2)
    train(pair_tree, killed_run, *RESUME)
    assert "after optimiser step 2 (0 epochs completed)" in capsys.readouterr().out
    assert [part["step"] for part in json.loads((killed_run / "env.json").read_text())["parts"]] == [0, 2]
    assert contents(killed_run) == contents(straight)
    assert not (killed_run / "checkpoint_previous").exists()
    assert not [path for path in killed_run.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("call", [1, 3, 4])
def test_a_signal_while_scoring_is_not_waited_out(
    straight: Path, pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Scored are: validation after epoch 1 and, not tried here, after epoch 2; test; validation."""
    calls, original = 0, compute_logits

    def signalled(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # passed on as they are
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(*arguments, **options)

    monkeypatch.setattr(scoring, "compute_logits", signalled)
    with pytest.raises(InterruptedRunError, match=r"stopped by signal 10 .*--run\.resume auto") as stopped:
        train(pair_tree, tmp_path / "run")
    assert stopped.value.signal_number == signal.SIGUSR1
    assert calls == call
    train(pair_tree, tmp_path / "run", *RESUME)
    assert contents(tmp_path / "run") == contents(straight)


def test_the_best_weights_come_from_the_checkpoint_that_is_continued(
    straight: Path, killed_run: Path, pair_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.TrainingLoop._train_epoch

    def until_the_last(self: training.TrainingLoop[Any, Any, Any]) -> Any:  # noqa: ANN401  # passed on as it is
        if self.progress.epoch == 1:
            raise Killed
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_train_epoch", until_the_last)
        with pytest.raises(Killed):
            train(pair_tree, killed_run, *RESUME)
    best = killed_run / "checkpoint_best" / "model.safetensors"
    written = best.read_bytes()
    best.unlink()
    best.write_bytes(b"of an epoch that was lost")
    train(pair_tree, killed_run, *RESUME)
    assert contents(killed_run) == contents(straight)
    assert (best.read_bytes() == written) == (json.loads(contents(straight)["metrics.json"])["selected_epoch"] == 1)


def test_every_kth_checkpoint_is_kept(pair_tree: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(pair_tree, run, *PLAIN, "--train.epochs", "4", "--run.keep_every", "2", "--run.checkpoint_every", "3")
    assert sorted(path.name for path in run.glob("checkpoint_*")) == [
        *("checkpoint_epoch_0002", "checkpoint_epoch_0004", "checkpoint_last")
    ]
    assert [check_checkpoint(path) for path in run.glob("checkpoint_*")] == [None] * 3


def test_changed_data_are_told_apart(killed_run: Path, pair_tree: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    (tree / "manifest.csv").unlink()
    stem = next((tree / "train" / "roi" / "tomato").iterdir()).name
    for view in ("roi", "extra-roi"):
        (tree / "train" / view / "tomato" / stem).unlink()
    with pytest.raises(ConfigError, match=r"changed since .* was started; restore them") as caught:
        train(tree, killed_run, *RESUME)
    assert "tomato" in str(caught.value)
    assert check_checkpoint(killed_run / "checkpoint_last") is None


def test_a_run_from_before_an_option_existed_goes_on(killed_run: Path, straight: Path, pair_tree: Path) -> None:
    path = killed_run / "config.yaml"
    recorded = yaml.safe_load(path.read_text())
    del recorded["train"]["deterministic"], recorded["data"]["sampling"], recorded["run"]["keep_every"]
    path.write_text(yaml.safe_dump(recorded))
    with pytest.raises(ConfigError, match=r"data\.sampling was natural and is now balanced"):
        train(pair_tree, killed_run, *RESUME, "--data.sampling", "balanced")
    train(pair_tree, killed_run, *RESUME)
    assert contents(killed_run) == contents(straight)


def test_a_folder_that_another_run_writes_to_is_refused(pair_tree: Path, killed_run: Path, tmp_path: Path) -> None:
    with RunDirectory(killed_run).lock():
        for options in (RESUME, []):
            with pytest.raises(ConfigError, match=rf"is being written by another run \(process {os.getpid()} on .*\)"):
                train(pair_tree, killed_run, *options)
    with RunDirectory(tmp_path / "fresh").lock(), pytest.raises(ConfigError, match="is being written by another run"):
        train(pair_tree, tmp_path / "fresh")
    train(pair_tree, tmp_path / "fresh", *PLAIN, "--train.epochs", "1")  # its folder is there, but empty


def test_messages_in_mid_run_say_how_to_go_on(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Path
) -> None:
    def full(*_: Any) -> None:  # noqa: ANN401
        raise OSError(28, "No space left on device", "model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(continuation, "save_checkpoint", full)
        with pytest.raises(
            DataError, match=r"^a checkpoint of .*No space left on device \(model.safetensors\)"
        ) as caught:
            train(pair_tree, tmp_path / "run")
    assert str(caught.value).endswith(
        f"Continue with the same command and --run.dir {tmp_path / 'run'} --run.resume auto"
    )
    train(pair_tree, tmp_path / "run", *RESUME)
    assert contents(tmp_path / "run") == contents(straight)


def test_a_start_that_fails_leaves_no_folder(pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:  # noqa: ANN401
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunDirectory, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        train(pair_tree, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_readme_states_which_keys_may_differ() -> None:
    text = README.read_text(encoding="utf-8")
    missing = [
        key for key in continuation.HARMLESS if f"`{key}`" not in text and not key.endswith("grad_checkpointing")
    ]
    assert not missing
    assert "each backbone's `grad_checkpointing`" in text


def test_a_trained_run_without_checkpoints_is_not_begun_anew(straight: Path, pair_tree: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(straight, tmp_path / "run"))
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "checkpoint_last")
    with pytest.raises(DataError, match=r"was trained to its end, but its checkpoints are gone; restore one of them"):
        train(pair_tree, run, *RESUME)
    assert (run / "model.safetensors").read_bytes() == contents(straight)["model.safetensors"]


def test_best_weights_that_are_damaged_spoil_one_checkpoint_only(
    pair_tree: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:  # noqa: ANN401
        raise Killed

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("experiments.fit.Fit.finish", killed)
        with pytest.raises(Killed):
            train(pair_tree, run)
    os.truncate(run / "checkpoint_best" / "model.safetensors", 100)
    os.truncate(run / "checkpoint_last" / "best.safetensors", 100)
    train(pair_tree, run, *RESUME)
    assert contents(run) == contents(straight)


def test_folders_of_the_user_are_left_alone(killed_run: Path, pair_tree: Path) -> None:
    (killed_run / "checkpoint_mine").mkdir()
    (killed_run / "checkpoint_mine" / "notes.txt").write_text("mine")
    train(pair_tree, killed_run, *RESUME)
    assert (killed_run / "checkpoint_mine" / "notes.txt").read_text() == "mine"


def test_several_seeds_go_on_with_the_command_that_started_them(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*PLAIN, "--train.seeds", "0,1"]
    train(pair_tree, tmp_path / "straight", *options)
    original, saved = continuation.save, itertools.count(1)

    def full(*arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        if next(saved) == 3:
            raise DataError("no room")
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "save", full)
        with pytest.raises(DataError, match=rf"no room\. Continue .* --run\.dir {tmp_path}/run --run\.resume auto$"):
            train(pair_tree, tmp_path / "run", *options)
    train(pair_tree, tmp_path / "run", *options, *RESUME)
    for seed in ("seed0", "seed1"):
        assert contents(tmp_path / "run" / seed) == contents(tmp_path / "straight" / seed)
