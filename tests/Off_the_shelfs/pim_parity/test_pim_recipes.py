"""What the recipes of the plug-in module promise."""

import math
from pathlib import Path
from typing import cast

import pytest

from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs.config import OffTheShelfConfig
from Off_the_shelfs.pim.module import PimBackbone
from utils.config import parse_config
from utils.schedule import make_schedule

RECIPES = Path(__file__).parents[3] / "Off_the_shelfs" / "train_cfgs"
CUB_PHOTOS = 5994


def read(name: str) -> OffTheShelfConfig:
    config, _ = parse_config(OffTheShelfConfig, ["--config", str(RECIPES / name)], program="test", flags={})
    return config


def test_the_papers_recipe_has_the_published_settings_of_cub() -> None:
    config = read("pim_paper.yaml")
    pim, train = config.model.backbone.pim, config.train
    counts = cast(list[int], pim.counts)
    assert counts == [2048, 512, 128, 32]
    assert (sum(counts) // pim.positions_per_joint, pim.width, config.data.image_size) == (85, 1536, 384)
    assert (pim.taps, pim.upsample, pim.query_channels) == ("merged", "dense", "quarter")
    assert (pim.loss.blocks, pim.loss.selected, pim.loss.dropped, pim.loss.combiner) == (0.5, 0.0, 5.0, 1.0)
    assert (train.batch_size, train.micro_batch, train.epochs, train.weight_decay) == (32, 16, 50, 5e-4)
    assert config.model.dropout == 0.1
    assert config.data.augment.min_crop_area == pytest.approx((384 / 510) ** 2, abs=1e-4)


def test_the_papers_rates_are_the_published_ones_at_each_optimiser_step() -> None:
    """Theirs: 18,750 micro-batches, two to a step; 800 of them warm up, and the last rate is 2.25e-6."""
    train = read("pim_paper.yaml").train
    steps = math.ceil(CUB_PHOTOS / train.batch_size)
    schedule = make_schedule(train, CUB_PHOTOS, steps)
    assert schedule.total_steps == pytest.approx(18_750 / 2, rel=0.01)
    assert schedule.warmup_steps == pytest.approx(400, abs=2)
    assert train.head_lr * schedule.factor(0) == pytest.approx(1e-9, rel=1e-6)
    assert train.backbone_lr * schedule.factor(schedule.warmup_steps) == pytest.approx(5e-4, rel=1e-12)
    assert train.head_lr * schedule.factor(schedule.total_steps - 1) == pytest.approx(2.25e-6, rel=0.01)


def test_the_tiny_recipe_is_small_and_needs_no_network() -> None:
    config = read("pim_tiny_cpu.yaml")
    assert (config.model.backbone.pretrained, config.train.device, config.data.image_size) == (False, "cpu", 64)
    model = OFF_THE_SHELF.build(config, 10, True)
    backbone = cast(PimBackbone, model.backbones["photo"])
    assert [(level.height, level.width) for level in backbone.levels] == [(8, 8), (4, 4), (2, 2)]
    assert backbone.plug_in.counts == [32, 8, 2]
    assert backbone.plug_in.combiner.n_joints == 5
    assert model.parameter_counts()["total"] < 130_000
