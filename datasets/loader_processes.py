"""The life of a loader's worker processes: how they begin, how their death is told, how they end."""

import atexit
import multiprocessing
import re
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from utils.errors import LostWorkerError, RunError

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (?:is killed by signal: (.+?)\.? *$|exited)")


def begin_worker(_worker: int) -> None:
    """Keep on loading when a terminal or a scheduler signals the whole group: the run wants to end in good order."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def report_dead_workers() -> None:
    """Let the handler that torch has set for dead workers raise a ``LostWorkerError`` of one line, not its own."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    torchs = signal.getsignal(signal.SIGCHLD)
    if not callable(torchs) or isinstance(torchs, _Handler):
        return
    signal.signal(signal.SIGCHLD, _Handler(torchs))


class _Handler:
    def __init__(self, torchs: Callable[[int, FrameType | None], Any]) -> None:
        self.torchs = torchs

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.torchs(number, frame)
        except RuntimeError as error:
            raise in_one_line(error) from None


def in_one_line(error: Exception) -> Exception:
    """Return the ``LostWorkerError`` of one line for an error that says that a worker died; others as they are."""
    if isinstance(error.__cause__, RunError):  # the handler's, which torch met while it waited for a batch
        return error.__cause__
    found = _DEAD_WORKER.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return error
    pid, killed_by = found.groups()
    how, why = f"was killed by a signal ({killed_by})", ", as the system does when memory runs out"
    if killed_by is None:
        how, why = "ended", ""
    elif killed_by == "Bus error":
        why = ", as happens when shared memory runs out"
    return LostWorkerError(
        f"loader worker with process id {pid} {how}{why}; go on with fewer workers (data.workers), or with "
        f"data.workers 0, which loads in the main process"
    )


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
