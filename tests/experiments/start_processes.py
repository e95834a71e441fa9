"""Processes that meet as those of a run do, forked from one that has imported everything."""

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def free_port() -> str:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start_processes(count: int, work: Callable[[], None], logs: Path) -> list[int]:
    """Fork so many processes that meet on a free port, each with its errors in ``logs/<rank>``; return their ids.

    They are started as SLURM does it, without anybody who looks after them.
    """
    logs.mkdir()
    port = free_port()
    return [_fork(rank, count, port, work, logs / str(rank)) for rank in range(count)]


def wait_for(pids: list[int]) -> list[tuple[int, int]]:
    """Return the id and the exit status of each process, minus the signal's number where it was killed."""
    return [(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) for pid in pids]


def _fork(rank: int, count: int, port: str, work: Callable[[], None], log: Path) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    status = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 2)
        work()
        status = 0
    except BaseException:  # whatever it is, this process must not go on as a copy of its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
