"""Whole runs of the salience selector: trained, resumed, scored, and refused, as any other model is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.index import PairIndex
from datasets.loaders import evaluation_loader
from datasets.pairs import PairDataset
from experiments import setup
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from utils.batch import ViewSpec
from utils.checkpoints import load_weights
from utils.data_sections import AugmentConfig, DataConfig
from utils.errors import ConfigError, DataError

OPTIONS = [
    *("--data.view", "photo", "--data.image_size", "24", "--data.workers", "0", "--data.augment.flip", "0"),
    *("--model.looks_at", "salience", "--model.salience.crop_fraction", "0.75", "--model.salience.grey_side", "15"),
    *("--model.salience.widths", "[4,8]", "--model.backbone.name", "test_resnet", "--model.backbone.pretrained"),
    *("false", "--train.device", "cpu", "--train.batch_size", "16", "--train.epochs", "1", "--eval.resamples", "100"),
]


def train(pairs: Path, run: Path, *options: str) -> dict[str, object]:
    train_command(OFF_THE_SHELF, [*OPTIONS, "--data.root", str(pairs), "--run.dir", str(run), *options])
    found: dict[str, object] = json.loads((run / "metrics.json").read_text())
    return found


def test_a_run_logs_its_views_and_records_its_measures(pair_tree: Path, tmp_path: Path) -> None:
    metrics = train(pair_tree, tmp_path / "run", "--model.salience.balance", "0.1", "--train.ema_decay", "0.9")
    row = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert sum(row["model"]["view_shares"]) == pytest.approx(1, abs=1e-3)
    assert row["model"]["temperature"] == 0.5
    measures = metrics["measures"]
    assert isinstance(measures, dict)
    assert list(measures)[:2] == ["view_0/share", "view_1/share"]
    assert sum(measures[f"view_{number}/share"]["value"] for number in range(6)) == pytest.approx(1)
    assert measures["learned/top1"]["value"] == metrics["test"]["top1"]  # type: ignore[index]
    assert measures["oracle/top1"]["value"] >= measures["learned/top1"]["value"]
    weights = load_weights(tmp_path / "run" / "model.safetensors")
    assert any(name.startswith("selector.") for name in weights)


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
    wanted = r"68 of 68|48 of 48 pictures are too small .* 32×\d+ pixels: the longer side must have 48; .*crop_fraction"
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
            [batch.views["photo"].clone() for batch in evaluation_loader(dataset, batch_size=8, workers=w, prefetch=2)]
        )
        for w in (0, 1)
    ]
    assert loaded[0].shape == (20, 3, 32, 32)
    assert torch.equal(*loaded)
