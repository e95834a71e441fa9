"""Starts the project's scripts in processes that have everything imported.

Python and torch take seconds to start. A server is forked from the process of the tests before the first of them runs,
so that it has what their modules import, but nothing that a test did. It forks again for each start, so that a test can
afford dozens of processes that are killed. Each child runs a script's own body, down to its exit status.

Requests are lines of JSON:

{"do": "start", "argv": [script, ...], "fault": ..., "env": {...}, "folder": ...}  -> {"pid": ...}
{"do": "wait", "pid": ...}                                            -> {"status": ..., "out": ..., "err": ...}
"""

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.faults import injected

PROJECT = Path(__file__).parents[1]
SCRIPTS_IMPORT = ("experiments.commands", "experiments.evaluation.command", "datasets.preprocess")
Pipes = tuple[int, int]


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit status, negative for a signal, and what it printed."""

    status: int
    out: str
    err: str


class Server:
    """Starts scripts in processes that have everything imported."""

    def __init__(self) -> None:
        requests, self._requests = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
        self._answers, answers = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
        self._pid = os.fork()
        if self._pid == 0:
            _end_as_a_script_does(lambda: _serve(requests, answers))
        requests.close()
        answers.close()
        self._lock = threading.Lock()

    def _ask(self, **request: object) -> dict[str, Any]:
        with self._lock:
            with contextlib.suppress(BrokenPipeError):
                self._requests.write(json.dumps(request) + "\n")
                self._requests.flush()
            line = self._answers.readline()
        assert line, "the server has ended; see its own message"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(
        self,
        argv: list[str],
        fault: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        folder: Path = PROJECT,
    ) -> int:
        """Start a script in a folder and return its process id."""
        request = {"argv": argv, "fault": fault, "env": environment or {}, "folder": str(folder)}
        return int(self._ask(do="start", **request)["pid"])

    def wait(self, pid: int, seconds: float = 120) -> Ended:
        """Wait for a process that was started, so many seconds at most."""

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        timer = threading.Timer(seconds, end)
        timer.start()
        answer = self._ask(do="wait", pid=pid)
        timer.cancel()
        return Ended(**answer)

    def run(self, argv: list[str], folder: Path = PROJECT, seconds: float = 120) -> Ended:
        """Run a script in a folder to its end."""
        return self.wait(self.start(argv, folder=folder), seconds)

    def close(self) -> None:
        """End the server."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        for end in (self._requests, self._answers):
            with contextlib.suppress(BrokenPipeError):
                end.close()


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more."""
    _forget_the_tests({requests.fileno(), answers.fileno()})
    imported = False
    pipes: dict[int, Pipes] = {}
    for line in requests:
        if not imported:
            for name in SCRIPTS_IMPORT:
                importlib.import_module(name)
            _keep_what_scripts_find_out()
            imported = True
        request = json.loads(line)
        if request["do"] == "start":
            answer: dict[str, Any] = {"pid": _start(request, pipes)}
        else:
            answer = _wait(request["pid"], pipes.pop(request["pid"]))
        print(json.dumps(answer), file=answers, flush=True)


def _keep_what_scripts_find_out() -> None:
    """Make once what each process would make for itself: parsers of command lines, what is known of the machine."""
    from experiments import commands
    from experiments.evaluation import command as evaluation
    from experiments.evaluation.options import EvaluateOptions
    from experiments.kinds import OFF_THE_SHELF
    from utils.config import parse_config
    from utils.provenance import describe_machine

    kind, short = OFF_THE_SHELF, commands.SHORT_NAMES
    parse_config(kind.config_class, [], program=kind.script, flags=commands.FLAGS, short_names=short)
    parse_config(EvaluateOptions, [], program=evaluation.SCRIPT, flags=evaluation.FLAGS)
    describe_machine("cpu")
    injected.leave_out_figures()
    gc.freeze()  # else each child's first garbage collection goes through, and copies, what all share


def _forget_the_tests(kept: set[int]) -> None:
    """Give up what a fork takes along: files and streams, handlers of signals and of log lines."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    for descriptor in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - kept - {0, 1, 2}:
        with contextlib.suppress(OSError):  # the one that lists them
            os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().handlers.clear()
    _open_streams()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}


def _open_streams() -> None:
    """Let Python's streams be those of the process, as at its start."""
    for name, number, buffering in (("stdin", 0, -1), ("stdout", 1, -1), ("stderr", 2, 1)):
        stream = os.fdopen(number, "r" if number == 0 else "w", buffering, encoding="utf-8", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _start(request: dict[str, Any], pipes: dict[int, Pipes]) -> int:
    """Fork, and return the child's process id; the child runs the script and does not return."""
    (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(out_write, 1)
        os.dup2(err_write, 2)
        os.closerange(3, 256)
        _open_streams()
        os.environ.update(request["env"])
        os.chdir(request["folder"])
        sys.argv = list(request["argv"])
        injected.arm(request["fault"])
        _end_as_a_script_does(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))
    os.close(out_write)
    os.close(err_write)
    for end in (out_read, err_read):
        os.set_blocking(end, False)
    pipes[pid] = (out_read, err_read)
    return pid


def _end_as_a_script_does(body: Any) -> NoReturn:  # noqa: ANN401  # any callable without arguments
    """Run what is left of this process's life, and end it as the interpreter does."""
    status: object = 0
    try:
        body()
    except SystemExit as stop:
        status = stop.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _wait(pid: int, pipes: Pipes) -> dict[str, Any]:
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
