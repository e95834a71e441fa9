"""Signals that ask a run to stop at its next optimiser step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
        self.signal_number = number


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
