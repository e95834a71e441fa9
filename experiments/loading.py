"""The pairs of a run, and how they reach its model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from accelerate import Accelerator

from datasets.index import PairIndex
from datasets.loaders import FEW_PAIRS, PREFETCHED_BATCHES, PairLoader, evaluation_loader, resolve_workers
from datasets.pairs import PairDataset
from datasets.probe import LoaderPlan, plan_loader
from datasets.sampling import StepSampler
from datasets.sources import load_index_of
from datasets.splits import labelled_part, split_by_group
from experiments.kinds import Config
from experiments.micro_batch import pairs_at_once
from utils.batch import ViewSpec
from utils.data_sections import DataConfig
from utils.processes import processes_here
from utils.sections import evaluation_batch_size


@dataclass(frozen=True)
class Splits:
    """The pairs of a run."""

    train: PairIndex
    validation: PairIndex | None
    test: PairIndex

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Hashes that change when a pair is added, lost or altered."""
        return {name: index.fingerprint() for name, index in self._parts.items()}

    @cached_property
    def summary(self) -> dict[str, dict[str, Any]]:
        """What tells how pairs changed, where they did: ``PairIndex.summary`` of each split."""
        return {name: index.summary() for name, index in self._parts.items()}

    @property
    def _parts(self) -> dict[str, PairIndex]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: index for name, index in parts.items() if index is not None}


def load_splits(data: DataConfig, seed: int) -> Splits:
    """Read and check the index of both splits; cut the validation part off train, by group, then take its part."""
    train = load_index_of(data, data.splits.train, require_every_class=True)
    test = load_index_of(data, data.splits.test)
    held_out = None
    if data.validation_fraction:
        train, held_out = split_by_group(train, data.validation_fraction, seed)
    return Splits(labelled_part(train, data.train_fraction, seed), held_out, test)


def plan_training(
    config: Config, dataset: PairDataset, sampler: StepSampler, step_seconds: Callable[[int], float | None]
) -> LoaderPlan:
    """Return how the training pairs are loaded; what is ``auto`` is measured, and changes no number.

    Args:
        config: its micro-batch is settled.
        dataset: the training pairs.
        sampler: says which pairs meet.
        step_seconds: takes a number of pairs and returns the seconds of a training step with them, null where they
            are not known.
    """
    data, pairs = config.data, pairs_at_once(config.train, sampler.world_size)
    measured = data.workers == "auto" and len(sampler.labels) >= FEW_PAIRS
    # The loader of a split that is scored lives beside that of training.
    at_once = (pairs, evaluation_batch_size(config.train, config.eval))
    return plan_loader(
        dataset.__getitems__,
        iter(sampler),
        n_pairs=len(sampler.labels),
        batch_bytes=sum(map(dataset.layout.nbytes, at_once)),
        step_seconds=step_seconds(pairs) if measured else None,
        workers=data.workers,
        prefetch=data.prefetch,
        processes=processes_here(),
    )


def loader_for(
    index: PairIndex,
    specs: dict[str, ViewSpec],
    config: Config,
    accelerator: Accelerator,
    *,
    plan: LoaderPlan | None = None,
    every_process: bool = False,
    augmented: bool = False,
) -> PairLoader:
    """Return this process's share of a split, or all of it in every process; in order, as a rule not augmented.

    ``plan`` is that of training, where there was one: what is ``auto`` follows it.
    """
    dataset = PairDataset(index, specs, config.data, training=augmented, seed=config.train.seed)
    batch_size = evaluation_batch_size(config.train, config.eval)
    return in_order(dataset, config.data, batch_size, accelerator, plan=plan, every_process=every_process)


def in_order(
    dataset: PairDataset,
    data: DataConfig,
    batch_size: int,
    accelerator: Accelerator,
    *,
    plan: LoaderPlan | None = None,
    every_process: bool = False,
) -> PairLoader:
    """Return this process's share of a dataset's pairs, or all of them, loaded as a run's data section says."""
    index, batch_bytes = dataset.index, dataset.layout.nbytes(batch_size)
    workers = resolve_workers(data.workers, len(index), processes_here(), batch_bytes=batch_bytes)
    prefetch = PREFETCHED_BATCHES if data.prefetch == "auto" else data.prefetch
    if plan is not None:
        workers, prefetch = min(workers, plan.workers), plan.prefetch
    return evaluation_loader(
        dataset,
        batch_size=batch_size,
        workers=workers,
        prefetch=prefetch,
        photos=index.photo_codes() if data.group_by_photo else None,
        device_type=accelerator.device.type,
        world_size=1 if every_process else accelerator.num_processes,
        rank=0 if every_process else accelerator.process_index,
    )
