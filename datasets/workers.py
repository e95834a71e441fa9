"""Many small tasks on all cores, stopped by a signal without losing what is finished."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from types import FrameType, TracebackType
from typing import Any, TypeVar

from utils.errors import RunError

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class StopSignals:
    """Context in which the first SIGINT or SIGTERM is noted in ``number`` and the second one acts as ever."""

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


def map_unordered(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    workers: int,
    setup: Callable[..., None],
    setup_arguments: tuple[object, ...],
    stop: StopSignals,
) -> Iterator[Result]:
    """Yield ``function(task)`` for each task as results come, in no fixed order.

    Args:
        function: a module-level function.
        tasks: picklable arguments.
        workers: number of processes; 1 works in this process.
        setup: called once in each process, with ``setup_arguments``, before the first task.
        setup_arguments: picklable.
        stop: once it has noted a signal, no task is started; those under way are still finished and yielded.

    Raises:
        RunError: where a process dies, for instance for want of memory.
    """
    if workers == 1:
        setup(*setup_arguments)
        for task in tasks:
            if stop.number:
                return
            yield function(task)
        return
    # Spawned processes start alike on all systems and inherit no threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (setup, setup_arguments)) as pool:
        try:
            yield from _windowed(pool, function, iter(tasks), 4 * workers, stop)
        except BrokenProcessPool:
            if stop.number:
                return
            raise RunError(
                "a worker process died, perhaps for want of memory; run the same command again with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _windowed(
    pool: ProcessPoolExecutor,
    function: Callable[[Task], Result],
    tasks: Iterator[Task],
    window: int,
    stop: StopSignals,
) -> Iterator[Result]:
    with _signals_kept_from_children():
        pending: set[Future[Result]] = {pool.submit(function, task) for task in islice(tasks, window)}
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        if not stop.number:
            pending |= {pool.submit(function, task) for task in islice(tasks, len(done))}
        for future in done:
            yield future.result()


@contextmanager
def _signals_kept_from_children() -> Iterator[None]:
    """Start processes that SIGINT and SIGTERM to the whole group do not reach from their first moment on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # children inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_worker(setup: Callable[..., None], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where masks do not exist; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    setup(*arguments)


def _die_with_parent() -> None:
    """End this process when its parent is gone, even if killed: nothing may go on writing into the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
