"""Worker processes that decode while the model computes."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from datasets.pairs import Item, PairDataset
from datasets.sampling import OrderedBatches, StepSampler
from datasets.workers import available_cores
from utils.batch import Batch
from utils.errors import ConfigError, DataError

__all__ = ["StepSampler", "evaluation_loader", "make_loader", "resolve_workers", "training_loader"]

MOST_WORKERS = 8
FEW_PAIRS = 256
PREFETCHED_BATCHES = 2


class PairLoader(DataLoader[Batch]):
    """A ``DataLoader`` of batches that serves many epochs and whose workers report a bad file as one line.

    The batch sampler decides what an iteration yields: set its position before each ``iter()``. It runs in the
    main process, so that the workers stay alive from epoch to epoch.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch promises its own iterator class
        """Yield batches; a ``DataError`` of a worker arrives here as it was raised there."""
        return self._raising(super().__iter__())

    def _raising(self, batches: Iterator[Batch | DataError]) -> Iterator[Batch]:
        while (batch := next(batches, None)) is not None:
            if isinstance(batch, DataError):
                # Workers end in good order with the last reference, and the error's traceback would keep these two.
                self._iterator = None
                del batches
                raise batch
            yield batch


def training_loader(
    dataset: PairDataset, sampler: StepSampler, *, workers: int = 0, device_type: str = "cpu"
) -> PairLoader:
    """Build the loader of a training set; ``sampler.set_position`` chooses what each iteration yields."""
    return make_loader(dataset, sampler, workers=workers, device_type=device_type)


def evaluation_loader(
    dataset: PairDataset,
    *,
    batch_size: int,
    workers: int = 0,
    device_type: str = "cpu",
    world_size: int = 1,
    rank: int = 0,
) -> PairLoader:
    """Build the loader of this process's share of a split: rows in order, each exactly once over all processes."""
    batches = OrderedBatches(len(dataset), batch_size, world_size=world_size, rank=rank)
    return make_loader(dataset, batches, workers=workers, device_type=device_type)


def make_loader(
    dataset: PairDataset,
    batches: StepSampler | OrderedBatches | Sequence[Sequence[Item]],
    *,
    workers: int = 0,
    device_type: str = "cpu",
) -> PairLoader:
    """Build the loader of a dataset.

    Args:
        dataset: gives the batch of a list of (epoch, row) items.
        batches: what to load, one list of items per batch.
        workers: number of processes (``resolve_workers``); 0 loads in the main process. It changes no value. Each
            computes with one thread.
        device_type: ``cuda`` puts batches into page-locked memory.
    """
    return PairLoader(
        _Reporting(dataset),
        batch_sampler=batches,  # type: ignore[arg-type]  # torch's stubs want integers as items
        num_workers=workers,
        collate_fn=_identity,
        worker_init_fn=_leave_signals_to_the_main_process,
        pin_memory=device_type == "cuda",
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCHED_BATCHES if workers else None,
        generator=torch.Generator(),  # its own: the loader must not move the model's random state
    )


def resolve_workers(setting: int | Literal["auto"], n_pairs: int | None = None, processes: int = 1) -> int:
    """Turn ``data.workers`` into a number of loader processes for each training process.

    ``auto`` takes the processor cores that this process may use, divided among the training processes of this
    machine, at least 1 and at most 8; below 256 pairs it takes 0, since starting processes would cost more than it
    saves.

    Args:
        setting: ``data.workers``.
        n_pairs: pairs that the loader serves, where known.
        processes: training processes on this machine.

    Raises:
        ConfigError: where the number is negative or above the number of cores, naming both.
    """
    cores = available_cores()
    if setting == "auto":
        return 0 if n_pairs is not None and n_pairs < FEW_PAIRS else max(1, min(MOST_WORKERS, cores // processes))
    if setting < 0:
        raise ConfigError(f"data.workers is {setting}; allowed: 'auto', or 0 to {cores} (this machine's cores)")
    if setting * processes > cores:
        each = f" for each of {processes} processes" if processes > 1 else ""
        raise ConfigError(
            f"data.workers is {setting}{each}, but this machine offers {cores} cores; "
            f"allowed: 'auto', or 0 to {cores // processes}"
        )
    return setting


class _Reporting(Dataset[Any]):
    """Hands a ``DataError`` on as a value: torch would wrap a worker's exception in that worker's traceback."""

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, items: Sequence[Item]) -> Batch | DataError:
        try:
            return self.dataset.__getitems__(items)
        except DataError as error:
            return DataError(str(error))

    def __len__(self) -> int:
        return len(self.dataset)


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Keep on loading when a terminal or a scheduler signals the whole group: the run wants to end in good order."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """Kill the processes that are left when this one exits, as after an error in mid-epoch.

    They ignore the SIGTERM that Python's own exit handler sends before it waits for them, without end.
    """
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report each of them as killed
    for process in left:
        process.kill()


def _identity(batch: Any) -> Any:  # noqa: ANN401  # torch's type of a collate function
    return batch
