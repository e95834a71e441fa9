"""The recipes of pre-training: each is a configuration, and the published one says what was published."""

import dataclasses
from pathlib import Path

import pytest
import timm
import yaml

from R2O.config import FidelityConfig, R2OConfig
from R2O.schedules import PretrainSchedule
from utils.config import parse_config

FOLDER = Path(__file__).parents[2] / "R2O" / "train_cfgs"
FAITHFUL = FOLDER / "faithful.yaml"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path != FAITHFUL)


def read(*paths: Path) -> R2OConfig:
    return parse_config(R2OConfig, [f"--config={path}" for path in paths], program="pretrain_R2O.py", flags={})[0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_clean_configuration_of_a_known_backbone(path: Path) -> None:
    config = read(path)
    assert config.fidelity == FidelityConfig()
    assert timm.is_model(config.model.backbone)
    assert PretrainSchedule(10, config.train).clusters(0) is not None


def test_the_preset_turns_every_switch_and_nothing_else() -> None:
    assert set(yaml.safe_load(FAITHFUL.read_text(encoding="utf-8"))) == {"fidelity"}
    plain, faithful = read(FOLDER / "imagenet_300.yaml"), read(FOLDER / "imagenet_300.yaml", FAITHFUL)
    switches = dataclasses.asdict(faithful.fidelity)
    assert len(switches) == 7
    assert all(value != getattr(FidelityConfig(), key) for key, value in switches.items())
    assert dataclasses.replace(faithful, fidelity=plain.fidelity) == plain


@pytest.mark.parametrize("name", ["imagenet_300", "imagenet_1_percent"])
def test_the_published_setting(name: str) -> None:
    config = read(FOLDER / f"{name}.yaml")
    steps = 1_281_167 // 4096
    schedule = PretrainSchedule(steps, config.train)
    assert schedule.peak_lr == pytest.approx(4.8)
    assert [schedule.clusters(steps * (epoch - 1)) for epoch in (1, 50, 150, 250, 300)] == [127, 123, 91, 36, 4]
    assert schedule.momentum(0) == pytest.approx(0.99)
    assert (config.model.backbone, config.model.projector_width, config.model.embedding) == ("resnet50", 4096, 256)
    assert (config.train.epochs, config.train.optimizer, config.train.lr_clusters) == (300, "lars", 16)
    assert (config.data.subset is None) == (name == "imagenet_300")
    assert config.data.views.blur_kernel * config.data.image_size == pytest.approx(23)
