"""The pairs of a run, and how they reach its model."""

import os
from dataclasses import dataclass

from accelerate import Accelerator

from datasets.index import PairIndex
from datasets.loaders import PairLoader, evaluation_loader, resolve_workers
from datasets.pairs import PairDataset
from datasets.sources import load_index_of
from datasets.splits import split_by_group
from experiments.kinds import Config
from utils.batch import ViewSpec
from utils.data_sections import DataConfig
from utils.sections import evaluation_batch_size


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
    train = load_index_of(data, data.splits.train, require_every_class=True)
    test = load_index_of(data, data.splits.test)
    if data.validation_fraction == 0:
        return Splits(train, None, test)
    kept, held_out = split_by_group(train, data.validation_fraction, seed)
    return Splits(kept, held_out, test)


def loader_workers(config: Config, index: PairIndex) -> int:
    """Return the loader processes that serve a split in each of this machine's training processes."""
    return resolve_workers(config.data.workers, len(index), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def loader_for(
    index: PairIndex,
    specs: dict[str, ViewSpec],
    config: Config,
    accelerator: Accelerator,
    *,
    every_process: bool = False,
    augmented: bool = False,
) -> PairLoader:
    """Return this process's share of a split, or all of it in every process; in order, as a rule not augmented."""
    dataset = PairDataset(index, specs, config.data, training=augmented, seed=config.train.seed)
    return evaluation_loader(
        dataset,
        batch_size=evaluation_batch_size(config.train, config.eval),
        workers=loader_workers(config, index),
        device_type=accelerator.device.type,
        world_size=1 if every_process else accelerator.num_processes,
        rank=0 if every_process else accelerator.process_index,
    )
