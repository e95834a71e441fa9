"""From a configuration and its pairs to a model that is ready to train."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from datasets.loaders import PREFETCHED_BATCHES, StepSampler, training_loader
from datasets.pairs import PairDataset
from datasets.probe import LoaderPlan
from datasets.splits import inverse_class_weights
from experiments.feature_bank import BankedModel, BankLoader, FeatureBanks, HeadAverage, banks_for
from experiments.kinds import Config, Kind, Model
from experiments.loading import Splits, plan_training
from experiments.micro_batch import (
    fewest_pairs,
    largest_micro_batch,
    largest_share,
    micro_batch_note,
    trains_batchnorm,
)
from utils.batch import Batch, image_memory_format
from utils.config import to_yaml
from utils.engine import Training, losses_of_logits
from utils.errors import ConfigError
from utils.memory import is_out_of_memory, release
from utils.optimisers import make_optimizer
from utils.processes import convert_sync_batchnorm
from utils.schedule import make_schedule
from utils.sections import TrainConfig
from utils.seeding import seed_everything
from utils.trial import random_batch, try_step

TRIED_ON_CPU = 8  # pairs
SLOW_STEP = 1.0  # seconds


@dataclass
class Setup:
    """Data, model and optimiser of one run, ready to train.

    Attributes:
        config: with everything that was measured on the way, such as ``train.micro_batch``.
        notes: what a user should know of data, weights and what was chosen for this machine; each line once.
    """

    config: Config
    model: Model
    training: Training
    sampler: StepSampler
    train_loader: DataLoader[Batch]
    plan: LoaderPlan
    average: ModelEmaV3 | None
    splits: Splits
    notes: list[str]
    banks: FeatureBanks | None

    @cached_property
    def config_yaml(self) -> str:
        """The configuration as text, which every checkpoint holds."""
        return to_yaml(self.config)

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """What a checkpoint records of classes and pairs."""
        classes = list(self.splits.train.classes.names)
        return {"classes": classes, "fingerprint": self.splits.fingerprint, "data": self.splits.summary}

    @property
    def train_batches(self) -> DataLoader[Batch] | BankLoader:
        """What training reads: pictures, or the features of a bank."""
        return self.train_loader if self.banks is None else self.banks.loader("train", self.sampler)

    @property
    def scored_model(self) -> nn.Module:
        """The model whose scores count: the averaged weights where there are any."""
        return self.average.module if self.average is not None else self.model


def build_setup(kind: Kind, config: Config, splits: Splits, accelerator: Accelerator, *, initialise: bool) -> Setup:
    """Build everything that training needs; weights depend on ``train.seed`` alone."""
    train = config.train
    if config.eval.selection == "best" and splits.validation is None:
        raise ConfigError(
            "eval.selection is best, but there is no validation split to choose on; set data.validation_fraction "
            "(such as 0.1), or use eval.selection last"
        )
    seed_everything(train.seed, "weights")
    model = kind.build(config, len(splits.train.classes), initialise)
    if initialise:
        model.take_classes(splits.train.classes.names)
    dataset = PairDataset(splits.train, model.view_specs, config.data, training=True, seed=train.seed)
    sampler = StepSampler(
        splits.train.label,
        batch_size=train.batch_size,
        micro_batch=train.micro_batch_limit,
        seed=train.seed,
        sampling=config.data.sampling,
        photos=splits.train.photo_codes() if config.data.group_by_photo else None,
        world_size=accelerator.num_processes,
        rank=accelerator.process_index,
    )
    notes = _notes(splits, model)
    banks = banks_for(config, model, splits, accelerator, notes)
    training, average = _prepare(train, model, splits, sampler, accelerator, banked=banks is not None)
    if train.micro_batch == "auto":
        if banks is None:
            notes.append(_fit_micro_batch(training, model, sampler, len(splits.train.classes)))
        else:
            sampler.micro_batch = largest_share(sampler)  # a head alone is small
        train = dataclasses.replace(train, micro_batch=sampler.micro_batch)
        config = dataclasses.replace(config, train=train)
    _refuse_single_pairs(model, sampler)
    plan = LoaderPlan(0, PREFETCHED_BATCHES)
    if banks is None:
        step_seconds = partial(_step_seconds, training, model, len(splits.train.classes))
        plan = plan_training(config, dataset, sampler, step_seconds)
    if plan.reason:
        notes.append(f"data.workers and data.prefetch: {plan.reason}")
    loader = training_loader(
        dataset, sampler, workers=plan.workers, prefetch=plan.prefetch, device_type=accelerator.device.type
    )
    return Setup(config, model, training, sampler, loader, plan, average, splits, notes, banks)


def _step_seconds(training: Training, model: Model, n_classes: int, pairs: int) -> float | None:
    """Measure a training step; on a CPU a small one, from which that of ``pairs`` follows.

    Null where memory runs out: a trial takes a little more than training, which may still fit.
    """
    accelerator = training.accelerator
    tried = min(pairs, TRIED_ON_CPU) if accelerator.device.type == "cpu" else pairs
    try:
        batch = random_batch(tried, model.view_specs, n_classes, accelerator.device)
        first = try_step(training, batch)
        # The first one also chooses kernels and allocates memory.
        seconds = first if first > SLOW_STEP else try_step(training, batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        seconds = None
    if seconds is None:
        release(accelerator.device)
        return None
    return seconds * pairs / tried


def _fit_micro_batch(training: Training, model: Model, sampler: StepSampler, n_classes: int) -> str:
    """Let the sampler deal out what fits into memory; return what a user should know of it."""
    share, fewest = largest_share(sampler), fewest_pairs(model, sampler)
    pairs = largest_micro_batch(training, model.view_specs, n_classes, share, at_least=fewest)
    sampler.micro_batch = pairs
    return micro_batch_note(pairs, share, at_least=fewest, processes=sampler.world_size)


def _refuse_single_pairs(model: Model, sampler: StepSampler) -> None:
    """Refuse micro-batches of one pair for networks whose BatchNorm would divide by its variance, which is zero."""
    if sampler.smallest_part == 1 and trains_batchnorm(model):
        raise ConfigError(
            f"train.batch_size {sampler.batch_size} (micro_batch {sampler.micro_batch}) with {len(sampler.labels)} "
            f"training pairs leaves one pair alone in a batch, on which BatchNorm cannot train; use another batch size"
        )


def _prepare(
    train: TrainConfig, model: Model, splits: Splits, sampler: StepSampler, accelerator: Accelerator, *, banked: bool
) -> tuple[Training, ModelEmaV3 | None]:
    if train.sync_batchnorm:
        convert_sync_batchnorm(model, accelerator)
    optimizer = make_optimizer(train, unique_modules(model.backbones.values()), model.head_parts)
    model.to(accelerator.device)
    model.to(memory_format=image_memory_format(accelerator.device))
    average = ModelEmaV3(model, decay=train.ema_decay, use_warmup=True) if train.ema_decay is not None else None
    model.compile_backbones()
    trained = BankedModel(model) if banked else model
    prepared, prepared_optimizer = accelerator.prepare(trained, optimizer)
    weights = None
    if train.class_weights == "inverse":
        counts = splits.train.class_counts()
        weights = torch.as_tensor(inverse_class_weights(counts), dtype=torch.float32, device=accelerator.device)
    schedule = make_schedule(train, len(splits.train), sampler.steps_per_epoch)
    training = Training(
        model=prepared,
        optimizer=prepared_optimizer,
        accelerator=accelerator,
        schedule=schedule,
        prepare=trained.prepare,
        losses=losses_of_logits if banked else model.losses,
        class_weights=weights,
        label_smoothing=train.label_smoothing,
        clip_norm=train.clip_norm,
        average=HeadAverage(average) if banked and average is not None else average,
        seed=train.seed,
        log_every=train.log_every,
        before_step=lambda step: model.set_progress(schedule.progress(step)),
    )
    return training, average


def _notes(splits: Splits, model: Model) -> list[str]:
    notes = [*splits.train.notes, *splits.test.notes]
    notes += [note for backbone in model.backbones.values() for note in backbone.notes]
    return list(dict.fromkeys(notes))


def unique_modules(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return modules in order, a shared one once."""
    seen: dict[int, nn.Module] = {}
    for module in modules:
        seen.setdefault(id(module), module)
    return list(seen.values())
