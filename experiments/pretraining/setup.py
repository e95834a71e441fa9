"""From a configuration and its photos to a network that is ready to be pre-trained."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from datasets.loaders import MOST_WORKERS, StepSampler, training_loader
from datasets.probe import MARGIN, LoaderPlan, plan_loader
from datasets.two_views.dataset import TwoViewDataset
from datasets.two_views.photos import PhotoIndex
from datasets.workers import available_cores
from experiments.pretraining.collapse import CollapseMonitor
from R2O.config import R2OConfig
from R2O.lars import make_pretrain_optimizer
from R2O.model import R2OModel
from R2O.schedules import PretrainSchedule
from R2O.trunk import build_trunk
from utils.batch import Batch, image_memory_format
from utils.config import to_yaml
from utils.engine import Criterion, Training
from utils.errors import ConfigError
from utils.memory import is_out_of_memory, release
from utils.processes import convert_sync_batchnorm, processes_here
from utils.seeding import seed_everything
from utils.trial import try_step

TRIED_ON_CPU = 8  # photos
WORTH_ON_CPU = 0.05  # part of a step, from which on superpixels are kept: their workers share the model's cores
CACHE_FOLDER = "superpixels"


@dataclass
class PretrainSetup:
    """Photos, network and optimiser of one run, ready to train.

    Attributes:
        config: settled.
        plan: how photos are loaded.
        notes: what a user should know of photos, weights and what was chosen for this machine; each line once.
    """

    config: R2OConfig
    model: R2OModel
    training: Training
    schedule: PretrainSchedule
    sampler: StepSampler
    dataset: TwoViewDataset
    photos: PhotoIndex
    train_batches: DataLoader[Batch]
    plan: LoaderPlan
    notes: list[str]
    monitor: CollapseMonitor
    average: None = field(default=None, init=False)

    @cached_property
    def config_yaml(self) -> str:
        """The configuration as text, which every checkpoint holds."""
        return to_yaml(self.config)

    @property
    def scored_model(self) -> R2OModel:
        """The network whose weights are the result."""
        return self.model

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """What a checkpoint records of the photos."""
        return {"classes": [], "fingerprint": {"photos": self.photos.fingerprint()}, "data": data_summary(self.photos)}


def data_summary(photos: PhotoIndex) -> dict[str, Any]:
    """Return what tells how the photos changed, where they did."""
    return {"photos": photos.summary()}


def build_setup(config: R2OConfig, photos: PhotoIndex, accelerator: Accelerator, *, initialise: bool) -> PretrainSetup:
    """Build everything that pre-training needs; weights depend on ``train.seed`` alone.

    Raises:
        ConfigError: fewer photos than a batch, a batch that cannot be divided among the processes, a backbone that
            gives no such maps.
    """
    train = config.train
    refuse_small_batches(config, photos, accelerator.num_processes)
    seed_everything(train.seed, "weights")
    trunk = build_trunk(config.model, config.data.image_size, initialise=initialise)
    model = R2OModel(trunk, config)
    notes = [*photos.notes, *trunk.notes]
    if train.sync_batchnorm:
        convert_sync_batchnorm(model, accelerator)
    sampler = StepSampler(
        photos.label,
        batch_size=train.batch_size,
        micro_batch=train.micro_batch,
        seed=train.seed,
        drop_last=True,
        world_size=accelerator.num_processes,
        rank=accelerator.process_index,
    )
    if rest := len(photos) % train.batch_size:
        notes.append(
            f"{rest} of {len(photos)} photos, others in each epoch, are left out: they fill no batch of "
            f"{train.batch_size}"
        )
    schedule = PretrainSchedule(sampler.steps_per_epoch, train)
    notes += _unreachable_groups(config, schedule, items_at_once(config, accelerator.num_processes))
    training = _prepare(config, model, schedule, accelerator)
    dataset, plan = _plan_loading(config, photos, sampler, training, model, schedule, notes)
    loader = training_loader(
        dataset, sampler, workers=plan.workers, prefetch=plan.prefetch, device_type=accelerator.device.type
    )
    monitor = CollapseMonitor(train.collapse_spread)
    notes = list(dict.fromkeys(notes))
    return PretrainSetup(config, model, training, schedule, sampler, dataset, photos, loader, plan, notes, monitor)


def refuse_small_batches(config: R2OConfig, photos: PhotoIndex, processes: int) -> None:
    """Raise a ``ConfigError`` where photos fill no batch, or a batch cannot be divided among the processes."""
    batch_size = config.train.batch_size
    if len(photos) < batch_size:
        raise ConfigError(
            f"there are {len(photos)} photos, fewer than one batch (train.batch_size {batch_size}); add photos, or set "
            f"train.batch_size to at most {len(photos)}"
        )
    if batch_size % processes:
        lower = batch_size - batch_size % processes
        raise ConfigError(
            f"train.batch_size is {batch_size} for {processes} processes, whose shares would differ; use a multiple of "
            f"{processes}, such as {lower or processes}"
        )


def items_at_once(config: R2OConfig, processes: int) -> int:
    """Return the photos that one process takes at once."""
    share = config.train.batch_size // processes
    return min(share, config.train.micro_batch or share)


def _unreachable_groups(config: R2OConfig, schedule: PretrainSchedule, photos: int) -> list[str]:
    clusters, superpixels = schedule.clusters(0), config.data.superpixels.segments * photos
    if clusters is None or clusters <= superpixels:
        return []
    return [
        f"train.clusters asks for {clusters} groups, but {photos} photos at once have only about {superpixels} "
        f"superpixels: each is a group of its own then"
    ]


def _prepare(config: R2OConfig, model: R2OModel, schedule: PretrainSchedule, accelerator: Accelerator) -> Training:
    train = config.train
    heads = [model.online.projector, model.predictor]
    optimizer = make_pretrain_optimizer(train, model.online.trunk, heads, config.fidelity)
    model.to(accelerator.device)
    model.to(memory_format=image_memory_format(accelerator.device))
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    return Training(
        model=prepared,
        optimizer=prepared_optimizer,
        accelerator=accelerator,
        schedule=schedule,
        prepare=model.prepare,
        losses=_own_losses,
        clip_norm=train.clip_norm,
        seed=train.seed,
        log_every=train.log_every,
        before_step=lambda step: model.set_step(schedule.clusters(step), schedule.momentum(step)),
    )


def _own_losses(output: Any, _label: torch.Tensor, _criterion: Criterion) -> torch.Tensor:  # noqa: ANN401  # R2OAnswer
    losses: torch.Tensor = output.losses
    return losses


def _plan_loading(
    config: R2OConfig,
    photos: PhotoIndex,
    sampler: StepSampler,
    training: Training,
    model: R2OModel,
    schedule: PretrainSchedule,
    notes: list[str],
) -> tuple[TwoViewDataset, LoaderPlan]:
    """Settle where superpixels are kept and how many workers load: ``auto`` is measured, and changes no number."""
    data, device = config.data, training.accelerator.device
    dataset = plain_dataset(config, photos, model)
    items = next(iter(sampler))
    cached = data.superpixels.cache == "always"
    seconds = None
    if data.superpixels.cache == "auto" or data.workers == "auto":
        model.clusters = schedule.clusters(0)
        seconds = _step_seconds(dataset, training, items)
    if data.superpixels.cache == "auto" and seconds is not None and config.train.epochs > 1:
        slic = dataset.slic_seconds() * len(items)
        workers = max(1, min(MOST_WORKERS, available_cores() // processes_here()))
        cached = slic > WORTH_ON_CPU * seconds if device.type == "cpu" else MARGIN * slic > workers * seconds
        if cached:
            notes.append(
                f"data.superpixels.cache auto: superpixels of {len(items)} photos take {slic:.2f} s of one core beside "
                f"a step of {seconds:.2f} s, so they are kept in {cache_folder(config)}"
            )
    # Measured without what is kept: nothing may be written before the run has its folder.
    plan = plan_loader(
        dataset.__getitems__,
        iter(sampler),
        n_pairs=len(photos),
        batch_bytes=dataset.layout.nbytes(len(items)),
        step_seconds=seconds,
        workers=data.workers,
        prefetch=data.prefetch,
        processes=processes_here(),
    )
    if plan.reason:
        notes.append(f"data.workers and data.prefetch: {plan.reason}")
    if cached:
        dataset = plain_dataset(config, photos, model, cache_folder(config))
    return dataset, plan


def cache_folder(config: R2OConfig) -> Path:
    """Return the folder in which superpixels are kept."""
    kept = config.data.superpixels.cache_dir
    assert config.run.dir is not None
    return Path(kept) if kept is not None else Path(config.run.dir) / CACHE_FOLDER


def plain_dataset(config: R2OConfig, photos: PhotoIndex, model: R2OModel, cache: Path | None = None) -> TwoViewDataset:
    """Return the data set of a run, which keeps superpixels in ``cache``, or nowhere."""
    return TwoViewDataset(
        photos,
        config.data,
        seed=config.train.seed,
        mean=model.spec.mean,
        std=model.spec.std,
        slic_input=config.fidelity.slic_input,
        superpixel_cache=cache,
    )


def _step_seconds(dataset: TwoViewDataset, training: Training, items: list[tuple[int, int]]) -> float | None:
    """Measure a step with real photos, on a CPU a small one, from which that of ``items`` follows.

    Null where memory runs out: a trial takes a little more than training, which may still fit.
    """
    device = training.accelerator.device
    tried = items[:TRIED_ON_CPU] if device.type == "cpu" else items
    try:
        batch = dataset.__getitems__(tried).to(device)
        try_step(training, batch)  # chooses kernels and allocates memory
        seconds = try_step(training, batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        seconds = None
    if seconds is None:
        release(device)
        return None
    return seconds * len(items) / len(tried)
