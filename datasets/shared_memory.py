"""How much shared memory there is for the batches of loader workers."""

import shutil
from pathlib import Path

from utils.errors import ConfigError

FOLDER = Path("/dev/shm")  # noqa: S108  # where Linux keeps it; other systems have no such limit of its own


def free_bytes() -> int | None:
    """Return the shared memory that is free, None where the system sets no limit of its own."""
    return shutil.disk_usage(FOLDER).free if FOLDER.is_dir() else None


def slots_of(workers: int, prefetch: int) -> int:
    """Return the batches that a loader keeps: those that workers load or hold ready, one in use and one before it."""
    return workers * prefetch + 2 if workers else 0


def fitting_workers(workers: int, prefetch: int, batch_bytes: int) -> int:
    """Return how many of some workers have room for their batches; 0 loads without shared memory."""
    free = free_bytes()
    while workers and free is not None and slots_of(workers, prefetch) * batch_bytes > free:
        workers -= 1
    return workers


def require_room(workers: int, prefetch: int, batch_bytes: int) -> None:
    """Refuse workers whose batches do not fit.

    Raises:
        ConfigError: naming what is free, what is needed, and what to do.
    """
    fitting = fitting_workers(workers, prefetch, batch_bytes)
    if fitting == workers:
        return
    needed, free = slots_of(workers, prefetch) * batch_bytes, free_bytes() or 0
    raise ConfigError(
        f"data.workers is {workers} and data.prefetch {prefetch}: their batches need {megabytes(needed)} of shared "
        f"memory, but {FOLDER} has {megabytes(free)} free; take data.workers {fitting}, a smaller data.prefetch or "
        f"batch, data.workers 0, which needs none, or enlarge {FOLDER} (docker: --shm-size)"
    )


def megabytes(size: int) -> str:
    """Return a size in words."""
    return f"{size / 1e6:,.0f} MB"
