"""The command line of pre-training."""

from experiments.commands import FLAGS, SHORT_NAMES
from experiments.pretraining.dry_run import dry_run
from experiments.pretraining.task import SCRIPT, pretrain
from R2O.config import R2OConfig
from utils.config import parse_config


def pretrain_command(argv: list[str]) -> None:
    """Parse the command line of ``pretrain_R2O.py`` and run it."""
    config, flags = parse_config(R2OConfig, argv, program=SCRIPT, flags=FLAGS, short_names=SHORT_NAMES)
    if flags["dry_run"]:
        dry_run(config)
        return
    metrics = pretrain(config)
    if metrics:
        means = metrics["train"]
        print(
            f"{metrics['backbone']} after {metrics['epochs']} epochs of {means['n_photos']} photos: loss "
            f"{means['loss']:.4f}, spread {means['spread']:.2f}, {means['valid_regions']:.1f} regions in both views"
        )
