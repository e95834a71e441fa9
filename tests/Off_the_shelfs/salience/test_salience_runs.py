"""Whole runs of the salience selector: trained, resumed, scored, and refused, as any other model is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.index import PairIndex
from datasets.loaders import evaluation_loader
from datasets.pairs import PairDataset
from experiments import setup, training
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from experiments.runs import read_runs
from Off_the_shelfs.salience.model import SalienceClassifier
from utils.batch import ViewSpec, prepare_views
from utils.checkpoints import load_weights
from utils.data_sections import AugmentConfig, DataConfig
from utils.errors import ConfigError, DataError

OPTIONS = [
    *("--data.view", "photo", "--data.image_size", "24", "--data.workers", "0", "--data.augment.flip", "0"),
    *("--model.looks_at", "salience", "--model.salience.crop_fraction", "0.75", "--model.salience.grey_side", "15"),
    *("--model.salience.widths", "[4,8]", "--model.backbone.name", "test_resnet", "--model.backbone.pretrained"),
    *("false", "--train.device", "cpu", "--train.batch_size", "16", "--train.epochs", "1", "--eval.resamples", "100"),
]


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it to tidy up."""


def train(pairs: Path, run: Path, *options: str) -> dict[str, object]:
    train_command(OFF_THE_SHELF, [*OPTIONS, "--data.root", str(pairs), "--run.dir", str(run), *options])
    found: dict[str, object] = json.loads((run / "metrics.json").read_text())
    return found


TWO_EPOCHS = [
    *("--train.epochs", "2", "--model.backbone.frozen", "true", "--model.salience.balance", "0.1"),
    *("--train.ema_decay", "0.9", "--eval.recalibration_pairs", "24"),
]


@pytest.fixture(scope="module")
def straight(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on a frozen backbone, with averaged weights and recalibration."""
    run = tmp_path_factory.mktemp("salience") / "straight"
    train(pair_tree, run, *TWO_EPOCHS)
    return run


def rows_of(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_logs_its_views_and_records_its_measures(straight: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    for row, temperature in zip(rows_of(straight), (1.1487, 0.5), strict=True):
        facts = row["model"]
        assert isinstance(facts, dict)
        assert sum(facts["view_shares"]) == pytest.approx(1, abs=1e-3)
        assert facts["temperature"] == pytest.approx(temperature, abs=1e-3)
    measures = metrics["measures"]
    assert list(measures)[:2] == ["view_0/share", "view_1/share"]
    assert sum(measures[f"view_{number}/share"]["value"] for number in range(6)) == pytest.approx(1)
    assert measures["learned/top1"]["value"] == metrics["test"]["top1"]
    assert measures["oracle/top1"]["value"] >= measures["learned/top1"]["value"]
    weights = load_weights(straight / "model.safetensors")
    assert any(name.startswith("selector.") for name in weights)


def test_a_stopped_run_goes_on_to_the_same_end_and_leaves_its_frozen_backbone_as_it_was(
    straight: Path, pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, statistics and averages of the backbone, through training, averaging and recalibration."""
    original, begun = training.TrainingLoop._train_epoch, []

    def first_alone(self: training.TrainingLoop[Any, Any, Any]) -> Any:  # noqa: ANN401  # passed on as it is
        begun.append({name: tensor.clone() for name, tensor in self.setup.model.state_dict().items()})
        if self.progress.epoch:
            raise Killed
        return original(self)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_train_epoch", first_alone)
        with pytest.raises(Killed):
            train(pair_tree, run, *TWO_EPOCHS)
    train(pair_tree, run, *TWO_EPOCHS, "--run.resume", "auto")
    for name in ("model.safetensors", "predictions.csv", "measures.csv", "metrics.json"):
        assert (run / name).read_bytes() == (straight / name).read_bytes(), name
    assert [row["model"] for row in rows_of(run)] == [row["model"] for row in rows_of(straight)]
    scored = load_weights(straight / "model.safetensors")
    backbone = [name for name in scored if name.startswith("backbone.")]
    assert any("running_var" in name for name in backbone)
    assert all(torch.equal(begun[0][name], scored[name]) for name in backbone)
    assert any(not torch.equal(begun[0][name], scored[name]) for name in scored if name.startswith("head."))


def test_photos_that_are_not_square_are_chosen_from_and_classified_as_their_part(
    straight: Path, pair_tree: Path
) -> None:
    (record,) = read_runs([straight])
    model = record.load_model(torch.device("cpu"))
    assert isinstance(model, SalienceClassifier)
    index = PairIndex.from_tree(pair_tree, "test")
    assert (index.size[:, 0] > index.size[:, 1]).all()
    dataset = PairDataset(index, model.view_specs, record.config.data, training=False, seed=0)
    views = prepare_views(dataset.__getitems__([(0, row) for row in range(len(index))]), model.view_specs)
    with torch.no_grad():
        choice = model.look(views["photo"]).choice
        seen = [model.colour_view(views["photo"][row : row + 1], int(view)) for row, view in enumerate(choice)]
        by_hand = model.head(model.backbone(torch.cat(seen)))
        torch.testing.assert_close(model(views), by_hand)
    assert by_hand.numpy() == pytest.approx(np.load(straight / "logits.npz")["test"], abs=1e-4)


def test_always_the_whole_with_a_frozen_backbone_trains_on_stored_features(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model.salience.choose", "whole", "--model.backbone.frozen", "true"]
    train(pair_tree, tmp_path / "bank", *options)
    assert "each split's features are computed once" in capsys.readouterr().out
    monkeypatch.setattr(setup, "banks_for", lambda *_: None)
    train(pair_tree, tmp_path / "pictures", *options)
    logits = [np.load(tmp_path / name / "logits.npz")["test"] for name in ("bank", "pictures")]
    assert logits[0] == pytest.approx(logits[1], abs=1e-5)


def test_pictures_too_small_for_their_crops_are_refused_before_anything_is_written(
    pair_tree: Path, tmp_path: Path
) -> None:
    wanted = r"48 of 48 pictures are too small .* 32×\d+ pixels: the longer side must have 48; .*crop_fraction"
    with pytest.raises(DataError, match=wanted):
        train(pair_tree, tmp_path / "run", "--model.salience.crop_fraction", "0.5")
    assert not (tmp_path / "run").exists()


def test_a_class_map_that_does_not_fit_is_refused_before_anything_is_written(pair_tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("tomato: 3\nspinach: 4\n")
    options = ["--model.salience.class_map", str(path), "--model.backbone.features", "logits"]
    with pytest.raises(ConfigError, match=r"no output for 1 of 3 classes, such as 'blueberry'"):
        train(pair_tree, tmp_path / "run", *options, "--model.backbone.frozen", "true")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_load_the_same_pictures_letterboxed_in_one_size(pair_tree: Path) -> None:
    """Photos of 4 to 3; the views are cut on the device, so a loader yields one picture of each pair."""
    index = PairIndex.from_tree(pair_tree, "test")
    spec = ViewSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), least_side=32)
    dataset = PairDataset(index, {"photo": spec}, DataConfig(augment=AugmentConfig()), training=False, seed=0)
    loaded = [
        torch.cat(
            [batch.views["photo"].clone() for batch in evaluation_loader(dataset, batch_size=8, workers=w, prefetch=p)]
        )
        for w, p in ((0, 2), (1, 1), (1, 2))
    ]
    assert loaded[0].shape == (20, 3, 32, 32)
    assert torch.equal(loaded[0], loaded[1])
    assert torch.equal(loaded[0], loaded[2])
