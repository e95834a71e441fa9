"""Locks on an unfinished tree."""

from pathlib import Path

from utils.errors import DataError
from utils.locks import FileLock

LOCK_FILE = ".lock"
PATIENCE = 5.0  # seconds: as long as a lock may be held for a moment by a process that only looks


def lock_folder(folder: Path, *, shared: bool = False, patience: float = 0.0) -> FileLock | None:
    """Lock an unfinished tree: shared by the shards of one run, or for one process alone.

    Returns:
        The lock, or None where the folder is gone.

    Raises:
        DataError: where others are at work there for longer than ``patience`` seconds.
    """
    lock, probe = FileLock(folder / LOCK_FILE), FileLock(folder / LOCK_FILE)
    try:
        if lock.take(shared=shared, patience=patience):
            return lock
        if not shared and probe.take(shared=True):
            probe.release()
            raise DataError(
                f"shards of a run are writing to {folder}; wait until they end (the last one puts the tree in place) "
                f"or choose another --dst"
            )
    except FileNotFoundError:
        return None
    raise DataError(f"another run is writing to {folder} ({lock.holder()}); wait until it ends or choose another --dst")


def lock_unfinished(folder: Path, *, shared: bool = False) -> FileLock:
    """Make the folder of an unfinished tree where it is missing, and lock it as ``lock_folder`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder, shared=shared, patience=PATIENCE if shared else 0.0)
    if lock is None:
        raise DataError(f"{folder} was put in place or deleted meanwhile; run the same command again")
    return lock


def lock_shard(folder: Path, name: str, words: str) -> FileLock:
    """Lock one shard of an unfinished tree; a ``DataError`` names the process that works on it already.

    Args:
        folder: the unfinished tree.
        name: of the shard in file names.
        words: the shard in messages.
    """
    lock = FileLock(folder / f"{LOCK_FILE}.{name}")
    if lock.take():
        return lock
    raise DataError(
        f"shard {words} of {folder} is being cut by {lock.holder()}; each process takes a shard of its own: wait until "
        f"that one ends, or give another --shard"
    )
