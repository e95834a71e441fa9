"""One shard of an archive cut beside the others; the last one to finish is told to put the tree together."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datasets.journal import unfinished_shards
from datasets.locks import LOCK_FILE, lock_shard, lock_unfinished
from datasets.shards import Shard
from datasets.workers import StopSignals
from utils.errors import DataError
from utils.locks import FileLock


def cut_shard(
    folder: Path, shard: Shard, cut: Callable[[], int], stop: StopSignals, say: Callable[[str], None]
) -> FileLock | None:
    """Cut a shard while others may be cut in the same folder.

    Args:
        folder: the unfinished tree.
        shard: which.
        cut: cuts it and returns the number of its photos.
        stop: ends the waiting for other shards.
        say: takes a line for the user.

    Returns:
        The lock on the folder where all shards are finished, so that the caller can put the tree together; else None.

    Raises:
        DataError: where photos or masks cannot be used, the shard is being cut already, or another run is at work.
        InterruptedRunError: where a signal came.
    """
    photos, problem = 0, None
    with lock_unfinished(folder, shared=True) as shared, lock_shard(folder, shard.name, str(shard)):
        certain = shared.certain
        try:
            photos = cut()
        except DataError as error:
            problem = error
    if problem is not None:
        if shard.together:
            _wait_for_others(folder, shard, stop, say)
        raise problem
    # Only after the lock is given back: of two shards that end together, the later one sees both as finished.
    missing = unfinished_shards(folder, shard.count)
    if shard.number in missing:  # the last one is putting the tree in place already, and has removed the journals
        missing = []
    lock = None if missing or not certain else _lock_to_finish(folder)
    if lock is None:
        say(f"shard {shard} is done: {photos} photos; {_what_comes(folder, missing, certain)}")
    return lock


def _lock_to_finish(folder: Path) -> FileLock | None:
    lock = FileLock(folder / LOCK_FILE)
    try:
        return lock if lock.take() else None
    except FileNotFoundError:  # another shard was faster
        return None


def _what_comes(folder: Path, missing: list[int], certain: bool) -> str:
    if not folder.exists():
        return "the tree is in place"
    if not certain:
        return "files cannot be locked here: after the last shard run the same command with --shard 1/1"
    if not missing:
        return "another shard puts the tree in place"
    several = f"{len(missing)} shards are" if len(missing) > 1 else "1 shard is"
    return f"{several} still to come, and the last one puts the tree in place"


def _wait_for_others(folder: Path, shard: Shard, stop: StopSignals, say: Callable[[str], None]) -> None:
    """Wait until no shard is at work, since the launcher would end the others as soon as this one fails."""
    say(f"shard {shard} cannot be finished; its problems are listed when the other shards end")
    lock = FileLock(folder / LOCK_FILE)
    with suppress(FileNotFoundError):  # a run over the whole archive has ended meanwhile
        while not stop.number and not lock.take(patience=0.5):
            pass
    lock.release()
