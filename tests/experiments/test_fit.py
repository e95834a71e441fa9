"""Whole runs on a small tree, through the functions that the scripts call."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import f1_score

from experiments import confusion, continuation, figures, outcome, training
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF, RVERNET, Kind
from utils import engine
from utils.errors import ConfigError, DataError, InterruptedRunError, RunError

SMALL = ["--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "16"]
TWO_VIEWS = [
    *("--model.roi_backbone.name", "test_efficientnet", "--model.roi_backbone.pretrained", "false"),
    *("--model.extra_roi_backbone.name", "test_resnet", "--model.extra_roi_backbone.pretrained", "false"),
    *("--model.hidden_width", "16", "--model.dropout", "0.2", "--model.roi_backbone.drop_path_rate", "0.2"),
]
ONE_VIEW = ["--model.backbone.name", "test_resnet", "--model.backbone.pretrained", "false"]
RATES = ["--train.backbone_lr", "2e-3", "--train.head_lr", "2e-3", "--train.epochs", "2", "--eval.resamples", "200"]


def train(kind: Kind, root: Path, run: Path, *options: str) -> dict[str, Any]:
    model = TWO_VIEWS if kind is RVERNET else ONE_VIEW
    train_command(kind, ["--data.root", str(root), "--run.dir", str(run), *SMALL, *model, *RATES, *options])
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text()) if (run / "metrics.json").exists() else {}
    return metrics


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("metrics.json", "predictions.csv", "model.safetensors")}


@pytest.fixture(scope="module")
def straight(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs, with its pictures."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "save_curves", figures.save_curves)
        patch.setattr(outcome, "save_confusion", confusion.save_confusion)
        train(RVERNET, pair_tree, run)
    return run


def test_a_run_leaves_everything_that_is_promised(straight: Path) -> None:
    names = {path.name for path in straight.iterdir()}
    assert names >= {
        *("config.yaml", "env.json", "log.jsonl", "tensorboard", "checkpoint_last", "predictions.csv", "logits.npz"),
        *("timing.json", "metrics.json", "curves.png", "confusion.png", "per_class.csv", "model.safetensors"),
        "confusion.csv",
    }
    assert not [name for name in names if name.startswith(".") or "tmp" in name]
    for picture in straight.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200


def test_metrics_agree_with_the_predictions(straight: Path) -> None:
    test = json.loads((straight / "metrics.json").read_text())["test"]
    lines = [line.split(",") for line in (straight / "predictions.csv").read_text().splitlines()]
    truth, predicted = zip(*((row[4], row[5]) for row in lines[1:]), strict=True)
    assert lines[0][:6] == ["split", "class", "stem", "group", "truth", "prediction"]
    assert test["n_pairs"] == len(truth) == 20
    assert test["n_classes"] == 3
    assert test["top1"] == pytest.approx(np.mean(np.array(truth) == np.array(predicted)))
    assert test["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    sauces = ["tomato", "spinach"]
    assert test["ambiguous_f1"] == pytest.approx(f1_score(truth, predicted, labels=sauces, average="macro"))
    low, high = test["top1_ci"]
    assert 0 <= low <= test["top1"] <= high <= 1
    assert test["top5"] is None


def test_times_stay_out_of_the_metrics(straight: Path) -> None:
    text = (straight / "metrics.json").read_text()
    assert not [word for word in ("second", "time", "date") if word in text]
    assert json.loads((straight / "timing.json").read_text())["epoch_seconds"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_same_seed_gives_the_same_bytes(straight: Path, pair_tree: Path, tmp_path: Path, workers: str) -> None:
    train(RVERNET, pair_tree, tmp_path / "again", "--data.workers", workers)
    assert contents(tmp_path / "again") == contents(straight)


def test_another_seed_gives_another_model(straight: Path, pair_tree: Path, tmp_path: Path) -> None:
    train(RVERNET, pair_tree, tmp_path / "other", "--train.seed", "1")
    assert contents(tmp_path / "other")["model.safetensors"] != contents(straight)["model.safetensors"]


def test_resolved_configuration_repeats_the_run(straight: Path, tmp_path: Path) -> None:
    train_command(RVERNET, ["--config", str(straight / "config.yaml"), "--run.dir", str(tmp_path / "again")])
    assert contents(tmp_path / "again") == contents(straight)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_stopped_run_continues_to_the_same_bytes(
    straight: Path, pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Three steps make an epoch; the signal arrives while step ``step`` is computed."""
    run, taken = tmp_path / "stopped", 0
    original = engine.train_one_epoch

    def interrupted(what: Any, batches: Any, *rest: Any) -> tuple[int, bool]:  # noqa: ANN401
        def counted() -> Any:  # noqa: ANN401
            nonlocal taken
            for batch in batches:
                taken += 1
                if taken == step:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        return original(what, counted(), *rest)

    monkeypatch.setattr(training, "train_one_epoch", interrupted)
    with pytest.raises(InterruptedRunError, match=r"signal 15.*--run\.resume auto") as stopped:
        train(RVERNET, pair_tree, run)
    assert stopped.value.signal_number == signal.SIGTERM
    assert not (run / "metrics.json").exists()
    monkeypatch.setattr(training, "train_one_epoch", original)
    train(RVERNET, pair_tree, run, "--run.resume", "auto")
    assert contents(run) == contents(straight)
    assert [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()] == [1, 2]


def test_averaged_weights_survive_a_stop(pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--train.ema_decay", "0.9", "--train.optimizer", "adamw")
    train(OFF_THE_SHELF, pair_tree, tmp_path / "straight", *options)
    original = continuation.save

    def killed(*arguments: Any) -> None:  # noqa: ANN401
        original(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(OFF_THE_SHELF, pair_tree, tmp_path / "killed", *options)
    monkeypatch.setattr(training, "save", original)
    train(OFF_THE_SHELF, pair_tree, tmp_path / "killed", *options, "--run.resume", "auto")
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_a_finished_run_is_not_trained_again(
    straight: Path, pair_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(straight)
    train(RVERNET, pair_tree, straight, "--run.resume", "auto")
    assert "finished already" in capsys.readouterr().out
    assert contents(straight) == before


def test_continuing_with_another_configuration_is_refused(pair_tree: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError, match="not finite"):
        train(OFF_THE_SHELF, pair_tree, run, "--train.head_lr", "1e38", "--train.optimizer", "sgd")
    with pytest.raises(ConfigError, match=r"train\.head_lr was 1e\+38 and is now 0\.002"):
        train(OFF_THE_SHELF, pair_tree, run, "--run.resume", "auto", "--train.optimizer", "sgd")


def test_a_finished_run_is_not_taken_for_another(straight: Path, pair_tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.seed was 0 and is now 5"):
        train(RVERNET, pair_tree, straight, "--run.resume", "auto", "--train.seed", "5")
    with pytest.raises(ConfigError, match=r"train\.seeds was None and is now \[0, 1\]"):
        train(RVERNET, pair_tree, straight, "--run.resume", "auto", "--train.seeds", "0,1")


def test_a_pair_alone_in_a_batch_is_refused_before_training(pair_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size 47 .*48 training pairs leaves one pair alone"):
        train(OFF_THE_SHELF, pair_tree, tmp_path / "run", "--train.batch_size", "47")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused_and_left_alone(pair_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        train(RVERNET, pair_tree, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_mistakes_leave_nothing_behind(pair_tree: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cases: list[tuple[list[str], type[Exception], str]] = [
        (["--eval.selection", "best"], ConfigError, r"data\.validation_fraction"),
        (["--data.root", str(tmp_path / "nowhere")], DataError, r"preprocess_foodseg103\.py --src"),
        (["--data.splits.test", "val"], DataError, r"val"),
        (["--data.exclude", "spinash"], DataError, r"did you mean 'spinach'"),
        (["--data.exclude", "spinach,tomato"], DataError, r"class"),
        (["--train.optimizer", "adm"], ConfigError, r"did you mean .*'adam'"),
        (["--model.backbone.name", "test_resnt"], ConfigError, r"did you mean .*'test_resnet"),
        (["--model.backbone.weights", str(tmp_path / "no.pth")], ConfigError, r"no\.pth"),
        (["--data.workers", "4000"], ConfigError, r"4000"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message):
            train(OFF_THE_SHELF, pair_tree, run, *options)
        assert not run.exists(), options


def test_best_epoch_is_chosen_on_validation_pairs_only(pair_tree: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--data.validation_fraction", "0.25", "--eval.selection", "best", "--train.epochs", "3")
    metrics = train(OFF_THE_SHELF, pair_tree, run, *options, "--data.view", "photo")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    values = [row["val"]["macro_f1"] for row in rows]
    assert metrics["selected_epoch"] == 1 + values.index(max(values))
    assert metrics["val"]["macro_f1"] == pytest.approx(max(values))
    assert metrics["val"]["n_pairs"] + metrics["train"]["n_pairs"] == 48
    assert all("test" not in row for row in rows)


def test_several_seeds_are_averaged(pair_tree: Path, tmp_path: Path) -> None:
    metrics = train(OFF_THE_SHELF, pair_tree, tmp_path / "run", "--train.seeds", "3,4", "--train.epochs", "1")
    single = [json.loads((tmp_path / "run" / f"seed{s}" / "metrics.json").read_text())["test"] for s in (3, 4)]
    assert metrics["test"]["top1_by_seed"] == [score["top1"] for score in single]
    assert metrics["test"]["top1"] == pytest.approx(np.mean([score["top1"] for score in single]))


def test_several_seeds_that_cannot_start_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        train(OFF_THE_SHELF, tmp_path / "nowhere", tmp_path / "run", "--train.seeds", "3,4")
    assert not (tmp_path / "run").exists()


def test_excluded_class_is_gone_from_training_and_test(pair_tree: Path, tmp_path: Path) -> None:
    metrics = train(OFF_THE_SHELF, pair_tree, tmp_path / "run", "--data.exclude", "blueberry", "--train.epochs", "1")
    assert metrics["test"]["n_classes"] == 2
    assert "blueberry" not in (tmp_path / "run" / "predictions.csv").read_text()


def test_dry_run_tells_and_draws_but_trains_nothing(
    pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(RVERNET, pair_tree, run, "--dry_run", "--train.warmup", "0.5") == {}
    text = capsys.readouterr().out
    assert "not tied" in text
    assert "3 per epoch, 6 in all, warm-up 3" in text
    assert "LR peak" in text
    assert "2.0000e-03 at step 4 (epoch 2)" in text
    assert "48 pairs of 24 groups in 3 classes" in text
    assert [path.name for path in tmp_path.iterdir()] == ["run-dry_run.png"]


def test_tied_modules_are_said_to_be_tied(pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = ["--model.extra_roi_backbone.name", "test_efficientnet", "--model.extra_roi_backbone.drop_path_rate", "0.2"]
    train(RVERNET, pair_tree, tmp_path / "run", "--dry_run", "--model.tied", "true", *same)
    assert "tied: one backbone serves both roles" in capsys.readouterr().out


def test_one_run_feeds_the_modules_of_another(pair_tree: Path, tmp_path: Path, straight: Path) -> None:
    weights = ["--model.roi_backbone.weights", str(straight), "--model.roi_backbone.frozen", "true"]
    train(RVERNET, pair_tree, tmp_path / "run", *weights, "--train.epochs", "1")
    from safetensors.numpy import load_file

    before, after = load_file(straight / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    taken = [name for name in before if name.startswith("roi_backbone.")]
    assert taken
    assert all(np.array_equal(before[name], after[name]) for name in taken)
    assert not all(
        np.array_equal(before[name], after[name]) for name in before if name.startswith("extra_roi_backbone.")
    )


def test_configuration_is_recorded_with_what_was_decided(straight: Path) -> None:
    recorded = yaml.safe_load((straight / "config.yaml").read_text())
    assert recorded["train"]["device"] == "cpu"
    assert recorded["train"]["precision"] == "fp32"
