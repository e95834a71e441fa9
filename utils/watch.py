"""A watch over the processes of a run: when one is gone the rest stop with its name, and wait for nothing."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from types import FrameType
from typing import TYPE_CHECKING

import torch.distributed as dist
from accelerate import Accelerator

from utils.beats import DONE, FAILED, LEFT, LIMIT, Watch, short
from utils.errors import ConfigError, InterruptedRunError, LostProcessError, RunError, UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

LIMIT_VARIABLE = "RVERNET_WATCH_SECONDS"
_CONNECT_SECONDS = 10
_numbers = count()  # of watches in this process, the same in all


@contextmanager
def watched(accelerator: Accelerator, advice: str = "", *, limit: float | None = None) -> Iterator[None]:
    """Watch the other processes while the block runs; with one process nothing is watched.

    Enter it in every process. Where one is gone - killed, stopped by an error of its own, or silent for ``limit``
    seconds - the others raise a ``LostProcessError`` that names it, or are ended with that message where they hang.
    What all processes raise alike is printed by the main one alone.

    Args:
        accelerator: has met the other processes.
        advice: what the user can do then, a sentence.
        limit: seconds; null takes the environment's RVERNET_WATCH_SECONDS, else 60.
    """
    if accelerator.num_processes == 1:
        yield
        return
    limit = _limit() if limit is None else limit
    name = "/".join(["watch", os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), str(next(_numbers))])
    rank, processes = accelerator.process_index, accelerator.num_processes
    try:
        watch = Watch(lambda: _connect(name), rank, processes, limit=limit, advice=advice)
    except RuntimeError as error:
        raise RunError(f"the {processes} processes of this run could not meet: {short(error)}") from None
    try:
        with _asking_before_the_end(watch):
            yield
    except InterruptedRunError as error:
        error.in_every_process = True  # they agreed to stop
        watch.end(DONE)
        raise
    except LostProcessError:
        watch.end(LEFT)
        raise
    except Exception as error:
        same = watch.end(FAILED + short(error))
        if isinstance(error, UserError | RunError):
            error.in_every_process = error.in_every_process or same
        raise
    except BaseException as error:
        watch.end(FAILED + type(error).__name__)
        raise
    else:
        watch.end(DONE)


@contextmanager
def _asking_before_the_end(watch: Watch) -> Iterator[None]:
    """Turn what follows from the loss of a process into a ``LostProcessError``: a failed collective, or a SIGTERM.

    A launcher sends SIGTERM to those that are left, and does not say why. Where nobody is gone the signal ends the
    process as ever; while a run is in training it is taken for a wish to stop (``utils.signals``).
    """

    def ask(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        lost = watch.explain()
        if lost is not None:
            raise lost
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    earlier = signal.getsignal(signal.SIGTERM)
    ours = earlier == signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGTERM, ask)
    try:
        yield
    except BaseException as error:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends, but first it says what it knows
        lost = watch.explain(error) if isinstance(error, RuntimeError) else None
        if lost is not None:
            raise lost from error
        raise
    finally:
        if ours and signal.getsignal(signal.SIGTERM) == ask:
            signal.signal(signal.SIGTERM, earlier)


def _limit() -> float:
    text = os.environ.get(LIMIT_VARIABLE, str(LIMIT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"{LIMIT_VARIABLE} is '{text}'; it must be a number of seconds above 0, such as 60")
    return seconds


def _connect(prefix: str) -> "Store":
    """Join the store of torch.distributed, which the launcher or process 0 holds."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # torch.distributed does not export these two to type checkers.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_CONNECT_SECONDS)
    )
    return dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
