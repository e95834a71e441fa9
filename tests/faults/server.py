"""Starts the project's scripts again and again: python server.py, with one JSON request per line on stdin.

Python and torch take seconds to start. This process imports everything once and forks for each start, so that a test
can afford dozens of processes that are killed. Each child runs a script's own body, down to its exit status.

{"do": "start", "argv": [script, ...], "fault": ..., "env": {...}}  -> {"pid": ...}
{"do": "wait", "pid": ...}                                          -> {"status": ..., "out": ..., "err": ...}
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults import injected

SCRIPTS_IMPORT = ("experiments.commands", "experiments.evaluation.command", "datasets.preprocess")
Pipes = tuple[int, int]


def start(request: dict[str, Any], pipes: dict[int, Pipes]) -> int:
    """Fork, and return the child's process id; the child runs the script and does not return."""
    (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        os.closerange(3, 256)
        os.environ.update(request["env"])
        sys.argv = list(request["argv"])
        injected.arm(request["fault"])
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit(0)
    os.close(out_write)
    os.close(err_write)
    for end in (out_read, err_read):
        os.set_blocking(end, False)
    pipes[pid] = (out_read, err_read)
    return pid


def wait(pid: int, pipes: Pipes) -> dict[str, Any]:
    """Wait for a child, read what it prints and end what it left running; the status is negative for a signal."""
    texts = [b"", b""]
    ended = False
    while not ended:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        for number, end in enumerate(pipes):
            with contextlib.suppress(BlockingIOError):
                while data := os.read(end, 1 << 16):
                    texts[number] += data
        if not ended:
            time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for end in pipes:
        os.close(end)
    out, err = (text.decode(errors="replace") for text in texts)
    return {"status": status, "out": out, "err": err}


def main() -> None:
    """Answer requests until stdin ends."""
    for name in SCRIPTS_IMPORT:
        importlib.import_module(name)
    injected.leave_out_figures()
    pipes: dict[int, Pipes] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            answer: dict[str, Any] = {"pid": start(request, pipes)}
        else:
            answer = wait(request["pid"], pipes.pop(request["pid"]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
