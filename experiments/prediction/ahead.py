"""Work that is done ahead of its use by threads, a bounded number of pieces at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def done_ahead(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``work(item)`` of each item in their order; threads are at most ``workers`` + 1 items ahead.

    An exception of ``work`` is raised where its result would be yielded. What is not yet begun when the iteration ends
    is not done.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Afterwards:
    """Does things in threads while the caller goes on; at most ``most`` wait or run, further ones hold the caller up.

    Leaving its ``with`` block waits for all of them and raises the first exception.
    """

    def __init__(self, workers: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="afterwards")
        self._most = most
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "Afterwards":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait; after an exception what is not yet begun is not done."""
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._waiting:
                future.result()

    def do(self, work: Callable[[], None]) -> None:
        """Have something done."""
        while len(self._waiting) >= self._most:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(work))
