"""What a pre-training would do, before it does it."""

from pathlib import Path

from datasets.two_views.photos import index_photos
from experiments.pretraining.outcome import parameter_counts
from experiments.pretraining.pictures import save_views
from experiments.pretraining.setup import PretrainSetup, build_setup, plain_dataset
from experiments.pretraining.task import Pretrain
from experiments.settle import start
from R2O.config import R2OConfig
from utils.errors import ConfigError
from utils.processes import refuse_several


def dry_run(config: R2OConfig) -> None:
    """Print photos, parameters, steps, groups and rates, and draw the views of the first batch.

    The picture goes to ``<run.dir>-dry_run.png``, or ``dry_run.png`` where no run directory is named. Nothing else is
    written and no optimiser step is taken.
    """
    refuse_several("--dry_run")
    picture = Path(f"{config.run.dir}-dry_run.png" if config.run.dir else "dry_run.png")
    accelerator, config = start(config)
    photos = index_photos(config.data)
    print("\n".join(Pretrain().look(photos, config)))
    setup = build_setup(config, photos, accelerator, initialise=True)
    setup.dataset = plain_dataset(config, photos, setup.model)  # keeps no superpixels
    for note in setup.notes:
        print(f"note: {note}")
    print(f"device      {config.train.device}, {config.train.precision}")
    for name, count in parameter_counts(setup).items():
        print(f"{name:<12}{count / 1e6:.3f} M parameters")
    trunk = setup.model.online.trunk
    print(
        f"maps        regions of {trunk.cells}×{trunk.cells} cells with {trunk.channels} channels; clusters by "
        f"{trunk.cluster_channels} channels at stride {config.model.cluster_stride}"
    )
    print("\n".join(_step_lines(setup)))
    try:
        save_views(setup, picture)
    except OSError as error:
        raise ConfigError(f"cannot write {picture}: {error.strerror}; choose another --run.dir") from None
    print(f"views of the first batch: {picture}")


def _step_lines(setup: PretrainSetup) -> list[str]:
    schedule, train = setup.schedule, setup.config.train
    last = schedule.steps_per_epoch * train.epochs - 1
    lines = [
        f"steps       {schedule.steps_per_epoch} per epoch, {last + 1} in all, warm-up {schedule.warmup_steps}; peak "
        f"rate {schedule.peak_lr:.4g} before the factor of K"
    ]
    for name, step in (("first", 0), ("peak", schedule.peak_step()), ("last", last)):
        clusters = schedule.clusters(step)
        rate = schedule.factor(step) * schedule.peak_lr
        lines.append(
            f"at {name:<9}K {'none' if clusters is None else clusters}, rate {rate:.4g}, target momentum "
            f"{schedule.momentum(step):.5f} at step {step + 1}"
        )
    return lines
