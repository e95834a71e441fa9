"""Worker processes that decode while the model computes."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from datasets.batches import BatchDataset, Item
from datasets.loader_processes import begin_worker, in_one_line, report_dead_workers
from datasets.pairs import PairDataset
from datasets.sampling import OrderedBatches, StepSampler
from datasets.shared_memory import fitting_workers, require_room, slots_of
from datasets.slots import Delivery, Order, Slots
from datasets.workers import available_cores
from utils.batch import Batch
from utils.errors import ConfigError, DataError, RunError

__all__ = ["StepSampler", "evaluation_loader", "make_loader", "resolve_workers", "training_loader"]

MOST_WORKERS = 8
FEW_PAIRS = 256
PREFETCHED_BATCHES = 2

Batches = StepSampler | OrderedBatches | Sequence[Sequence[Item]]


class PairLoader(DataLoader[Batch]):
    """A ``DataLoader`` of batches that serves many epochs and whose workers report a bad file as one line.

    The batch sampler decides what an iteration yields: set its position before each ``iter()``. It runs in the
    main process, so that the workers stay alive from epoch to epoch. Workers write into shared memory, and the memory
    of a batch is used again once none of its tensors is held.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch promises its own iterator class
        """Yield batches.

        Raises:
            DataError: as it was raised in a worker.
            RunError: where a worker died, with its process id; it may come up wherever the main thread is.
        """
        try:
            batches = super().__iter__()  # workers of an earlier iteration are sent for the first batches here
        except RuntimeError as error:
            self._give_up(error)
        if self.num_workers:
            report_dead_workers()
        return self._raising(batches)

    def _raising(self, batches: Iterator[Batch | Delivery]) -> Iterator[Batch]:
        try:
            while (item := next(batches, None)) is not None:
                yield item.batch() if isinstance(item, Delivery) else item
        except (DataError, RuntimeError, RunError) as error:
            del batches
            self._give_up(error)

    def _give_up(self, error: Exception) -> NoReturn:
        """Raise an error in its plain form, and let the workers end."""
        # They end in good order with the last reference, and the error's traceback would keep this one.
        self._iterator = None
        plain = in_one_line(error)
        raise plain from (error.__cause__ if plain is error else None)


def training_loader(
    dataset: BatchDataset,
    sampler: StepSampler,
    *,
    workers: int = 0,
    prefetch: int = PREFETCHED_BATCHES,
    device_type: str = "cpu",
) -> PairLoader:
    """Build the loader of a training set; ``sampler.set_position`` chooses what each iteration yields."""
    return make_loader(dataset, sampler, workers=workers, prefetch=prefetch, device_type=device_type)


def evaluation_loader(
    dataset: PairDataset,
    *,
    batch_size: int,
    workers: int = 0,
    prefetch: int = PREFETCHED_BATCHES,
    device_type: str = "cpu",
    photos: NDArray[np.integer[Any]] | None = None,
    world_size: int = 1,
    rank: int = 0,
) -> PairLoader:
    """Build the loader of this process's share of a split: each row exactly once over all processes.

    Rows come in order, or with ``photos`` (integers, equal for rows of one photo) photo by photo.
    """
    batches = OrderedBatches(len(dataset), batch_size, photos=photos, world_size=world_size, rank=rank)
    return make_loader(dataset, batches, workers=workers, prefetch=prefetch, device_type=device_type)


def make_loader(
    dataset: BatchDataset,
    batches: Batches,
    *,
    workers: int = 0,
    prefetch: int = PREFETCHED_BATCHES,
    device_type: str = "cpu",
) -> PairLoader:
    """Build the loader of a dataset.

    Args:
        dataset: gives the batch of a list of (epoch, row) items.
        batches: what to load, one list of items per batch.
        workers: number of processes (``resolve_workers``); 0 loads in the main process. It changes no value. Each
            computes with one thread.
        prefetch: batches that each worker holds ready.
        device_type: ``cuda`` puts batches into page-locked memory.

    Raises:
        ConfigError: where shared memory has no room for the workers' batches.
    """
    if not workers:
        return PairLoader(
            dataset,  # type: ignore[arg-type]  # any mapping does
            batch_sampler=batches,  # type: ignore[arg-type]  # torch's stubs want integers as items
            collate_fn=_identity,
            pin_memory=device_type == "cuda",
            generator=torch.Generator(),  # its own: the loader must not move the model's random state
        )
    pairs = _largest(batches)
    require_room(workers, prefetch, dataset.layout.nbytes(pairs))
    slots = Slots(dataset.layout, slots_of(workers, prefetch), pairs)
    return PairLoader(
        _Orders(dataset, slots),
        batch_sampler=_Ordering(batches, slots),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_identity,
        worker_init_fn=begin_worker,
        pin_memory=device_type == "cuda",
        persistent_workers=True,
        prefetch_factor=prefetch,
        generator=torch.Generator(),
    )


def _largest(batches: Batches) -> int:
    """Return the most pairs of a batch; a bound where batches are only planned when they are needed."""
    if isinstance(batches, StepSampler):
        share = math.ceil(min(batches.batch_size, len(batches.labels)) / batches.world_size)
        return min(share, batches.micro_batch or share)
    if isinstance(batches, OrderedBatches):
        return min(batches.batch_size, len(batches.rows))
    return max(map(len, batches), default=0)


def resolve_workers(
    setting: int | Literal["auto"], n_pairs: int | None = None, processes: int = 1, *, batch_bytes: int = 0
) -> int:
    """Turn ``data.workers`` into a number of loader processes for each training process, without measuring.

    ``auto`` takes the processor cores that this process may use, divided among the training processes of this
    machine, at least 1 and at most 8, and no more than shared memory has room for; below 256 pairs it takes 0, since
    starting processes would cost more than it saves. ``datasets.probe`` measures instead.

    Args:
        setting: ``data.workers``.
        n_pairs: pairs that the loader serves, where known.
        processes: training processes on this machine.
        batch_bytes: memory of a batch (``BatchLayout.nbytes``), where known.

    Raises:
        ConfigError: where the number is negative or above the number of cores, naming both.
    """
    cores = available_cores()
    if setting == "auto":
        if n_pairs is not None and n_pairs < FEW_PAIRS:
            return 0
        return fitting_workers(
            max(1, min(MOST_WORKERS, cores // processes)), PREFETCHED_BATCHES, processes * batch_bytes
        )
    if setting < 0:
        raise ConfigError(f"data.workers is {setting}; allowed: 'auto', or 0 to {cores} (this machine's cores)")
    if setting * processes > cores:
        each = f" for each of {processes} processes" if processes > 1 else ""
        raise ConfigError(
            f"data.workers is {setting}{each}, but this machine offers {cores} cores; "
            f"allowed: 'auto', or 0 to {cores // processes}"
        )
    return setting


class _Orders(Dataset[Any]):
    """A worker's side: what is ordered comes back as a delivery.

    It hands a ``DataError`` on as a value: torch would wrap a worker's exception in that worker's traceback.
    """

    def __init__(self, dataset: BatchDataset, slots: Slots) -> None:
        self.dataset, self.slots = dataset, slots

    def __getitems__(self, order: Order) -> Delivery:
        return self.slots.load(self.dataset, order)

    def __len__(self) -> int:
        return len(self.dataset)


class _Ordering:
    """The main process's side: gives each batch of items a slot when a worker is sent for it."""

    def __init__(self, batches: Batches, slots: Slots) -> None:
        self.batches, self.slots = batches, slots

    def __iter__(self) -> Iterator[Order]:
        self.slots.reclaim()  # by now the workers have ended what an earlier iteration had ordered
        for items in self.batches:
            yield self.slots.order(items)

    def __len__(self) -> int:
        return len(self.batches)


def _identity(batch: Any) -> Any:  # noqa: ANN401  # torch's type of a collate function
    return batch
