"""One run of pre-training: what differs from training a classifier."""

from pathlib import Path
from typing import Any

from accelerate import Accelerator

from datasets.changes import describe_photo_change
from datasets.two_views.photos import PhotoIndex, index_photos
from experiments.conduct import conduct
from experiments.pretraining.outcome import write_outcome
from experiments.pretraining.pictures import REGIONS_FOLDER, save_regions
from experiments.pretraining.setup import PretrainSetup, build_setup, data_summary, items_at_once
from experiments.progress import Progress
from experiments.task import Task
from Off_the_shelfs.origin import describe_weights
from R2O.config import R2OConfig
from utils.engine import Meter
from utils.errors import ConfigError, problem_list
from utils.run_directory import RunDirectory
from utils.signals import StopFlag

SCRIPT = "pretrain_R2O.py"


def pretrain(config: R2OConfig, named: Path | None = None) -> dict[str, Any]:
    """Pre-train a backbone on photos without labels and leave a complete run directory.

    Args:
        config: how.
        named: the folder that a command names to continue the run; null where that is ``run.dir``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError, RunError, InterruptedRunError: as ``experiments.conduct.conduct`` says.
    """
    return conduct(Pretrain(), config, named)


class Pretrain(Task[R2OConfig, PhotoIndex, PretrainSetup]):
    """Region-to-object pre-training."""

    script = SCRIPT
    unit = "photo"
    rates = "train.base_lr"
    scored = False

    def load(self, config: R2OConfig) -> PhotoIndex:
        """List the photos."""
        return index_photos(config.data)

    def fingerprints(self, data: PhotoIndex) -> dict[str, str]:
        """Return the hash of the photos."""
        return {"photos": data.fingerprint()}

    def look(self, data: PhotoIndex, config: R2OConfig) -> list[str]:
        """Say how many photos there are and how they are taken."""
        train = config.train
        steps = len(data) // train.batch_size
        return [f"photos: {len(data)} below {data.root}; steps of {train.batch_size} in each epoch: {steps}"]

    def refuse_other_data(
        self, run: RunDirectory, config: R2OConfig, recorded: dict[str, Any], data: PhotoIndex
    ) -> None:
        """Raise a ``ConfigError`` that lists how the photos differ from those recorded."""
        before = (recorded.get("data") or {}).get("photos")
        differences = describe_photo_change(before, data.summary()) if before else []
        if differences:
            raise ConfigError(
                problem_list(
                    f"run.resume: the photos under {config.data.root} changed since {run.path} was started; restore "
                    f"them, or start a new run",
                    differences,
                )
            )

    def build(
        self, config: R2OConfig, data: PhotoIndex, accelerator: Accelerator, *, initialise: bool
    ) -> PretrainSetup:
        """Build everything that pre-training needs."""
        return build_setup(config, data, accelerator, initialise=initialise)

    def settled(self, setup: PretrainSetup) -> R2OConfig:
        """Return the configuration, of which nothing was measured that a number depends on."""
        return setup.config

    def described(self, setup: PretrainSetup) -> dict[str, Any]:
        """Return seed, photos and initial weights."""
        weights = describe_weights({"trunk": setup.model.online.trunk})
        return {"seeds": [setup.config.train.seed], "data": data_summary(setup.photos), "weights": weights}

    def before_training(self, setup: PretrainSetup, config: R2OConfig) -> None:
        """Do nothing."""

    def items_at_once(self, config: R2OConfig, processes: int) -> int:
        """Return the photos that one process takes at once."""
        return items_at_once(config, processes)

    def epoch_row(self, setup: PretrainSetup, means: dict[str, float]) -> dict[str, Any]:
        """Return K, the target's momentum, and the means over the photos of the epoch."""
        steps = setup.schedule.steps_per_epoch
        first = setup.sampler.epoch * steps
        row = {
            "clusters": setup.schedule.clusters(first),
            "target_momentum": setup.schedule.momentum(first + steps - 1),
        }
        return row | {"train": {name: value for name, value in means.items() if name != "top1"}}

    def epoch_line(self, row: dict[str, Any]) -> list[str]:
        """Return K, the regions and the spread of the embeddings."""
        means = row["train"]
        return [
            f"K {'none' if row['clusters'] is None else row['clusters']}",
            f"regions {means['regions']:.1f}",
            f"in both views {means['valid_regions']:.1f}",
            f"spread {means['spread']:.2f}",
        ]

    def before_epoch(self, setup: PretrainSetup, meter: Meter) -> None:
        """Let the monitor begin with what an earlier part of the epoch tallied."""
        setup.monitor.begin(meter)

    def after_interval(self, setup: PretrainSetup, meter: Meter) -> None:
        """Stop where the embeddings have collapsed."""
        step = setup.sampler.epoch * setup.schedule.steps_per_epoch + meter.pairs // setup.config.train.batch_size
        setup.monitor.look(meter, step)

    def after_epoch(self, run: RunDirectory, setup: PretrainSetup, progress: Progress) -> None:
        """Draw photos, superpixels and regions every so often, and after the first and the last epoch."""
        every, epoch = setup.config.train.picture_every, progress.epoch
        if every and (epoch % every == 0 or epoch in (1, setup.config.train.epochs)):
            save_regions(setup, progress.rows[-1]["clusters"], run.path / REGIONS_FOLDER / f"epoch_{epoch:04d}.png")

    def finish(
        self,
        run: RunDirectory,
        config: R2OConfig,
        setup: PretrainSetup,
        progress: Progress,
        stop: StopFlag,  # noqa: ARG002  # what is written here is written at once
    ) -> dict[str, Any]:
        """Write weights, pictures and, last of all, ``metrics.json``."""
        if not setup.training.accelerator.is_main_process:
            return {}
        metrics = write_outcome(run, config, setup, progress)
        run.tidy()
        return metrics
