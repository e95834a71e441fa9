"""How many loader workers a model needs, by loading a few batches. It changes no number: loading draws nothing."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch

from datasets.batches import Item
from datasets.loaders import FEW_PAIRS, MOST_WORKERS, PREFETCHED_BATCHES, resolve_workers
from datasets.shared_memory import FOLDER, fitting_workers, require_room
from datasets.workers import available_cores

MARGIN = 1.25  # loading is that much faster than the model, so that it keeps ahead
BATCHES, SECONDS = 3, 1.0
MOST_PREFETCHED = 8

Setting = int | Literal["auto"]


@dataclass(frozen=True)
class LoaderPlan:
    """What a loader is built with.

    Attributes:
        workers: loader processes; 0 loads in the main process.
        prefetch: batches that each worker holds ready.
        reason: one line for the user; empty where nothing was left to choose.
    """

    workers: int
    prefetch: int
    reason: str = ""


def plan_loader(
    load: Callable[[Sequence[Item]], object],
    batches: Iterable[Sequence[Item]],
    *,
    n_pairs: int,
    batch_bytes: int,
    step_seconds: float | None = None,
    workers: Setting = "auto",
    prefetch: Setting = "auto",
    processes: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> LoaderPlan:
    """Settle ``data.workers`` and ``data.prefetch``; what is ``auto`` is measured.

    Up to three batches are loaded here, for about a second at most. There are then as many workers as load 1.25 times
    as fast as the model computes (where its speed is not known: one for each core), at least 1 and at most 8, the
    cores for each process, and what shared memory has room for; 0 below 256 pairs. Each holds as many batches ready
    as cover the slowest one, 2 to 8.

    Args:
        load: loads the batch of some items, such as ``PairDataset.__getitems__``.
        batches: items of batches as the model will get them; the first few are taken.
        n_pairs: pairs that the loader serves.
        batch_bytes: memory of the largest batch (``BatchLayout.nbytes``).
        step_seconds: what the model takes for a batch of as many pairs, where known.
        workers: ``data.workers``.
        prefetch: ``data.prefetch``.
        processes: training processes on this machine.
        clock: tells seconds.

    Raises:
        ConfigError: where a number is more than the cores or the shared memory allow.
        DataError: where a pair cannot be loaded.
    """
    if workers == 0 or (workers == "auto" and n_pairs < FEW_PAIRS):
        reason = f"auto: 0 workers (below {FEW_PAIRS} items, starting processes costs more than it saves)"
        return LoaderPlan(0, PREFETCHED_BATCHES if prefetch == "auto" else prefetch, "" if workers == 0 else reason)
    if workers != "auto":
        resolve_workers(workers, n_pairs, processes)
    if workers != "auto" and prefetch != "auto":
        require_room(workers, prefetch, batch_bytes)
        return LoaderPlan(workers, prefetch)
    times = measure(load, batches, clock)
    ahead = covering(times) if prefetch == "auto" else prefetch
    took = f"loading a batch takes {_milliseconds(statistics.median(times))}"
    if step_seconds is not None:
        took += f", a step {_milliseconds(step_seconds)}"
    if workers != "auto":
        require_room(workers, ahead, batch_bytes)
        return LoaderPlan(workers, ahead, f"auto: {_count(ahead, 'batch', 'batches')} ahead ({took})")
    needed = MOST_WORKERS
    if step_seconds is not None:
        needed = max(1, math.ceil(MARGIN * statistics.median(times) / step_seconds))
    most = max(1, min(MOST_WORKERS, available_cores() // processes))
    chosen = fitting_workers(min(needed, most), ahead, processes * batch_bytes)
    if step_seconds is not None and needed > most:
        took += f"; {needed} workers would keep ahead of it"
    if chosen < min(needed, most):
        took += f"; {FOLDER} has no room for the batches of {_count(min(needed, most), 'worker', 'workers')}"
    ready = f", {_count(ahead, 'batch', 'batches')} ahead" if chosen else ""
    return LoaderPlan(chosen, ahead, f"auto: {_count(chosen, 'worker', 'workers')}{ready} ({took})")


def measure(
    load: Callable[[Sequence[Item]], object],
    batches: Iterable[Sequence[Item]],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the seconds of loading each of the first batches, in this process with one thread, as workers do it."""
    times: list[float] = []
    with _one_thread():
        for items in islice(batches, BATCHES):
            if not times:
                load(items[:1])  # what is only done once does not count
            started = clock()
            load(items)
            times.append(clock() - started)
            if sum(times) > SECONDS:
                break
    return times


def covering(times: Sequence[float]) -> int:
    """Return the batches to hold ready so that the slowest of some is loaded while they last: 2 to 8."""
    slowest, usual = max(times), statistics.median(times)
    return min(MOST_PREFETCHED, 1 + max(1, round(slowest / usual)))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
