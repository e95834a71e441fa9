"""Messages of one run among several that a command trains."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from utils.errors import InterruptedRunError, RunError, UserError


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put the name of a run before the message of what stops it, and say how the command goes on."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"run {name}: {error}") from None
    except RunError as error:
        raise RunError(f"run {name}: {error}") from None
    except InterruptedRunError as stopped:
        raise InterruptedRunError(
            f"run {name} was stopped by signal {stopped.signal_number} after a checkpoint; repeat the same command to "
            f"go on",
            stopped.signal_number,
        ) from None
    except KeyboardInterrupt:
        raise InterruptedRunError(f"stopped at run {name}; repeat the same command to go on", signal.SIGINT) from None
