"""Recipes so small that a whole study is run in a test, and the study."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from experiments import confusion, figures, model_facts
from experiments.pretraining import curves
from experiments.pretraining.study import longer
from experiments.pretraining.study.command import study_command

BACKBONE = {"name": "test_efficientnet", "pretrained": False}
PRETRAIN = {
    "data": {"image_size": 64, "workers": 0, "superpixels": {"segments": 8, "cache": "never"}},
    "model": {
        "backbone": "test_efficientnet",
        "cluster_stride": 8,
        "projector_width": 8,
        "predictor_width": 8,
        "embedding": 8,
    },
    "train": {
        "epochs": 1,
        "batch_size": 12,
        "base_lr": 0.5,
        "warmup_epochs": 0.5,
        "clusters": {"values": [4, 2]},
        "picture_every": 0,
        "device": "cpu",
    },
}
FINETUNE = {
    "data": {"image_size": 32, "workers": 0},
    "model": {"roi_backbone": BACKBONE, "extra_roi_backbone": BACKBONE, "hidden_width": 8},
    "train": {"epochs": 1, "batch_size": 16, "device": "cpu", "precision": "fp32"},
    "eval": {"resamples": 100, "recalibration_pairs": 32},
}
LONGER = ["--equal_compute", "true", "--equal_compute_fractions", "0.25"]


@pytest.fixture(scope="session")
def study_recipes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name the two recipes."""
    folder = tmp_path_factory.mktemp("study_recipes")
    for name, document in (("pretrain", PRETRAIN), ("finetune", FINETUNE)):
        (folder / f"{name}.yaml").write_text(json.dumps(document))  # which is YAML too
    return [part for name in ("pretrain", "finetune") for part in (f"--{name}.recipe", str(folder / f"{name}.yaml"))]


@pytest.fixture(scope="session")
def study_data(pair_tree: Path) -> list[str]:
    """Options that name the pairs, and the training photos that they were cut from."""
    photos = pair_tree.parent / "archive" / "Images" / "img_dir" / "train"
    return ["--data.root", str(pair_tree), "--photos.root", str(photos)]


@pytest.fixture(scope="session")
def study(
    study_data: list[str], study_recipes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Return folder and command line: two seeds, a quarter of the labels and all of them, 3 steps each."""
    out = tmp_path_factory.mktemp("study") / "out"
    argv = [*study_data, *study_recipes, "--out", str(out), "--seeds", "0,1", "--fractions", "0.25,1"]
    argv += ["--finetune.steps", "3", "--frozen.views", "roi", "--frozen.neighbours", "5", "--resamples", "100"]
    with _quick_runs(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(longer, "training_seconds", lambda _run: 1.0)
        study_command([*argv, *LONGER])
    return out, argv


@contextmanager
def _quick_runs() -> Iterator[None]:
    """Leave out the pictures of each run, which are tested elsewhere; the study's own are drawn."""

    def blank(path: Path, *_: object, **__: object) -> None:
        Image.new("RGB", (2, 2)).save(path)

    with pytest.MonkeyPatch.context() as patch:
        for module in (confusion, figures, model_facts, curves):
            patch.setattr(module, "draw", blank)
        yield


@pytest.fixture(scope="module", autouse=True)
def _seconds_of_pretraining() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longer, "training_seconds", lambda _run: 1.0)
        yield
