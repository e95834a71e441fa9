"""From a configuration to data, model and loaders."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from datasets.index import PairIndex
from datasets.loaders import StepSampler, evaluation_loader, resolve_workers, training_loader
from datasets.pairs import PairDataset
from datasets.splits import inverse_class_weights, split_by_group
from experiments.kinds import Config, Kind, Model
from utils.batch import Batch, ViewSpec, image_memory_format
from utils.data_sections import DataConfig
from utils.engine import Training
from utils.errors import ConfigError
from utils.optimisers import make_optimizer
from utils.schedule import make_schedule
from utils.sections import TrainConfig, evaluation_batch_size
from utils.seeding import seed_everything


@dataclass(frozen=True)
class Splits:
    """The pairs of a run."""

    train: PairIndex
    validation: PairIndex | None
    test: PairIndex

    @property
    def fingerprint(self) -> dict[str, str]:
        """Hashes that change when a pair is added, lost or altered."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: index.fingerprint() for name, index in parts.items() if index is not None}


def load_splits(data: DataConfig, seed: int) -> Splits:
    """Read and check the index of both splits; cut the validation part off train, by group."""
    root = Path(data.root)
    train = PairIndex.from_tree(root, data.splits.train, exclude=data.exclude, require_every_class=True)
    test = PairIndex.from_tree(root, data.splits.test, exclude=data.exclude)
    if data.validation_fraction == 0:
        return Splits(train, None, test)
    kept, held_out = split_by_group(train, data.validation_fraction, seed)
    return Splits(kept, held_out, test)


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
    average: ModelEmaV3 | None
    splits: Splits
    notes: list[str]

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
    _refuse_single_pairs(model, sampler)
    loader = training_loader(
        dataset, sampler, workers=loader_workers(config, splits.train), device_type=accelerator.device.type
    )
    training, average = _prepare(train, model, splits, sampler, accelerator)
    return Setup(config, model, training, sampler, loader, average, splits, _notes(splits, model))


def _refuse_single_pairs(model: nn.Module, sampler: StepSampler) -> None:
    """Refuse micro-batches of one pair for networks whose BatchNorm would divide by its variance, which is zero."""
    smallest = min(math.ceil(pairs / sampler.world_size) for step in sampler.plan_sizes() for pairs in step)
    if smallest == 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise ConfigError(
            f"train.batch_size {sampler.batch_size} (micro_batch {sampler.micro_batch}) with {len(sampler.labels)} "
            f"training pairs leaves one pair alone in a batch, on which BatchNorm cannot train; use another batch size"
        )


def _prepare(
    train: TrainConfig, model: Model, splits: Splits, sampler: StepSampler, accelerator: Accelerator
) -> tuple[Training, ModelEmaV3 | None]:
    optimizer = make_optimizer(train, unique_modules(model.backbones.values()), model.head)
    model.to(accelerator.device)
    model.to(memory_format=image_memory_format(accelerator.device))
    average = ModelEmaV3(model, decay=train.ema_decay, use_warmup=True) if train.ema_decay is not None else None
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    weights = None
    if train.class_weights == "inverse":
        counts = splits.train.class_counts()
        weights = torch.as_tensor(inverse_class_weights(counts), dtype=torch.float32, device=accelerator.device)
    training = Training(
        model=prepared,
        optimizer=prepared_optimizer,
        accelerator=accelerator,
        schedule=make_schedule(train, len(splits.train), sampler.steps_per_epoch),
        prepare=model.prepare,
        class_weights=weights,
        label_smoothing=train.label_smoothing,
        clip_norm=train.clip_norm,
        average=average,
        seed=train.seed,
        log_every=train.log_every,
    )
    return training, average


def loader_workers(config: Config, index: PairIndex) -> int:
    """Return the loader processes that serve a split in each of this machine's training processes."""
    return resolve_workers(config.data.workers, len(index), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


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


def loader_for(
    index: PairIndex,
    specs: dict[str, ViewSpec],
    config: Config,
    accelerator: Accelerator,
    *,
    every_process: bool = False,
) -> DataLoader[Batch]:
    """Return this process's share of a split, or all of it in every process; in order, without augmentation."""
    dataset = PairDataset(index, specs, config.data, training=False, seed=config.train.seed)
    return evaluation_loader(
        dataset,
        batch_size=evaluation_batch_size(config.train, config.eval),
        workers=loader_workers(config, index),
        device_type=accelerator.device.type,
        world_size=1 if every_process else accelerator.num_processes,
        rank=0 if every_process else accelerator.process_index,
    )
