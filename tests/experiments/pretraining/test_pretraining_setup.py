"""What is trained, what is measured before it, and that neither a trial nor a look leaves anything behind."""

from collections.abc import Callable
from pathlib import Path

from datasets.two_views.photos import index_photos
from experiments.commands import FLAGS, SHORT_NAMES
from experiments.pretraining.setup import build_setup
from experiments.settle import start
from R2O.config import R2OConfig
from tests.experiments.pretraining.options import options_without
from utils.config import parse_config

Pretrain = Callable[..., Path]
NO_PICTURES = ("--train.picture_every", "0")


def test_the_optimiser_has_all_of_the_online_network_and_nothing_of_the_target(
    photo_folder: Path, tmp_path: Path
) -> None:
    options = options_without(photo_folder, tmp_path / "run")
    config, _ = parse_config(R2OConfig, options, program="program", flags=FLAGS, short_names=SHORT_NAMES)
    accelerator, config = start(config)
    setup = build_setup(config, index_photos(config.data), accelerator, initialise=False)
    model = setup.model
    held = [id(weight) for group in setup.training.optimizer.param_groups for weight in group["params"]]
    ours = [id(weight) for part in (model.online, model.predictor) for weight in part.parameters()]
    assert all(weight.requires_grad for part in (model.online, model.predictor) for weight in part.parameters())
    assert len(held) == len(set(held))
    assert set(held) == set(ours)
    assert set(held).isdisjoint(id(weight) for weight in model.target.parameters())
    assert not any(weight.requires_grad for weight in model.target.parameters())


def test_what_is_measured_changes_nothing(pretrained_run: Path, pretrain_tiny: Pretrain, tmp_path: Path) -> None:
    measured = ("--data.workers", "auto", "--data.superpixels.cache", "auto")
    run = pretrain_tiny(tmp_path / "run", *measured, *NO_PICTURES)
    assert (run / "model.safetensors").read_bytes() == (pretrained_run / "model.safetensors").read_bytes()


def test_a_look_leaves_a_picture_alone_and_the_same_command_runs(pretrain_tiny: Pretrain, tmp_path: Path) -> None:
    options = ("--data.superpixels.cache", "always", "--train.epochs", "1", "--train.warmup_epochs", "0.5")
    pretrain_tiny(tmp_path / "run", *options, *NO_PICTURES, "--dry_run")
    assert [path.name for path in tmp_path.rglob("*")] == ["run-dry_run.png"]
    run = pretrain_tiny(tmp_path / "run", *options, *NO_PICTURES)
    assert (run / "metrics.json").exists()
    assert not (run / "superpixels").exists()
