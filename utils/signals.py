"""Signals that ask a run to stop at its next optimiser step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from utils.errors import InterruptedRunError

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class StopFlag:
    """Remembers the first signal; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
        return self.signal_number is not None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal."""
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or number


@contextmanager
def ended_by_signals(advice: str) -> Iterator[None]:
    """Let a stop signal end the block at once with an ``InterruptedRunError``: there is nothing yet to be saved.

    Handlers that others set are left alone, such as Python's own for SIGINT.

    Args:
        advice: what the user can do then, a sentence.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise InterruptedRunError(f"stopped by signal {number} before training began. {advice}", number)

    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in STOP_SIGNALS if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn stop signals into a flag while the block runs; earlier handlers come back afterwards."""
    flag = StopFlag()
    earlier = {number: signal.signal(number, flag.receive) for number in STOP_SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
