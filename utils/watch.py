"""A watch over the processes of a run: when one is gone the rest stop with its name, and wait for nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
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
    watch = Watch(
        lambda: _connect(name), accelerator.process_index, accelerator.num_processes, limit=limit, advice=advice
    )
    try:
        yield
    except InterruptedRunError as error:
        error.in_every_process = True  # they agreed to stop
        watch.end(DONE)
        raise
    except LostProcessError:
        watch.end(LEFT)
        raise
    except Exception as error:
        lost = watch.explain(error)
        if lost is not None:
            watch.end(LEFT)
            raise lost from error
        same = watch.end(FAILED + short(error))
        if isinstance(error, UserError | RunError):
            error.in_every_process = error.in_every_process or same
        raise
    except BaseException as error:
        watch.end(FAILED + type(error).__name__)
        raise
    else:
        watch.end(DONE)


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
