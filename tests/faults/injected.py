"""Faults inside a process: at the n-th event of a kind, something happens.

Events are told by Python's own audit hooks (a file is opened, renamed, removed) and by torch's hooks (an optimiser
step is done, a module scores), so that no code of the project knows of them.

    kind     the moment
    open     before a file is opened for writing
    read     before a file is opened for reading
    rename   before a file or folder is renamed
    remove   before a file or folder is removed
    link     before a file gets a second name
    mkdir    before a folder is made
    fsync    after a file was written under its temporary name
    step     after an optimiser step
    score    before a module's forward pass without gradients
"""

import errno
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Kind of event, and which argument is the path.
NAMED = {"os.rename": ("rename", 0), "os.link": ("link", 1), "os.mkdir": ("mkdir", 0), "shutil.rmtree": ("remove", 0)}
INSIDE_RMTREE = {"os.remove": "remove", "os.rmdir": "remove"}


class Events:
    """Counts the events that a fault waits for, and lets it happen.

    Attributes:
        fault: ``kinds`` and ``match`` choose events, ``n`` counts them from 1, ``action`` is what happens; ``folder``
            is the one whose files count; ``trace`` is a file that gets one line per event. Once the disk is full, it
            stays so: no file can be made or flushed.
    """

    def __init__(self, fault: dict[str, Any]) -> None:
        self.folder: str = fault.get("folder", "/")
        self.kinds: list[str] = fault.get("kinds", [])
        self.match = re.compile(fault.get("match", ""))
        self.left: int = fault.get("n", 0)
        self.action: dict[str, Any] = fault.get("action", {})
        self.full = False
        self.pid = os.getpid()
        trace = fault.get("trace")
        self.trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if trace else None

    def happen(self, kind: str, path: str = "") -> None:
        """Take note of an event; the fault happens before this returns."""
        if os.getpid() != self.pid or not (path.startswith(self.folder) or not path):
            return
        if self.trace is not None:
            os.write(self.trace, (json.dumps([kind, path[len(self.folder) :]]) + "\n").encode())
        if kind in self.kinds and self.match.search(path):
            self.left -= 1
            if self.left == 0 and self.action["do"] == "full":
                self.full = True
                _no_space(kind, path)
            elif self.left == 0:
                ACTIONS[self.action["do"]](self.action, path)
        if self.full and (kind == "fsync" or (kind in ("open", "mkdir") and not Path(path).exists())):
            _no_space(kind, path)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Receive an audit event of Python."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                self.happen("open" if flags & WRITING else "read", os.path.abspath(os.fsdecode(path)))  # noqa: PTH100
        elif event in NAMED:
            kind, place = NAMED[event]
            self.happen(kind, os.path.abspath(os.fsdecode(arguments[place])))  # noqa: PTH100
        elif event in INSIDE_RMTREE:
            name, folder = os.fsdecode(arguments[0]), arguments[1]
            inside = Path(f"/proc/self/fd/{folder}").readlink() if folder != -1 else Path()
            self.happen(INSIDE_RMTREE[event], os.path.abspath(inside / name))  # noqa: PTH100


def _tear(_action: dict[str, Any], path: str) -> None:
    """Leave half of what was written, as a power cut may, and end the process."""
    if Path(path).is_file():  # folders are flushed too
        os.truncate(path, Path(path).stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse(action: dict[str, Any], path: str) -> None:
    number = getattr(errno, action["error"])
    raise OSError(number, os.strerror(number), path)


def _no_space(kind: str, path: str) -> None:
    """Fail as the system does: flushing does not tell a name."""
    names = () if kind == "fsync" else (path,)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


def _kill_worker(_action: dict[str, Any], _path: str) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)


ACTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "kill": lambda _action, _path: os.kill(os.getpid(), signal.SIGKILL),
    "signal": lambda action, _path: os.kill(os.getpid(), action["number"]),
    "tear": _tear,
    "refuse": _refuse,
    "kill worker": _kill_worker,
    "move": lambda action, _path: os.rename(action["path"], action["to"]),  # noqa: PTH104
    "cut short": lambda action, _path: os.truncate(action["path"], action["size"]),
    "wait": lambda action, _path: time.sleep(action["seconds"]),
}


def leave_out_figures() -> None:
    """Let figures be files without a picture, which takes half of a tiny run's time."""
    from matplotlib.figure import Figure

    def savefig(_figure: Figure, path: str | Path, **_options: object) -> None:
        Path(path).write_bytes(b"a figure")

    setattr(Figure, "savefig", savefig)  # noqa: B010  # its own signature is longer


def arm(fault: dict[str, Any] | None) -> None:
    """Prepare this process for a fault.

    Args:
        fault: see ``Events``; ``largest_file`` lets the system refuse files of more bytes, ``clock`` lets the time of
            day jump back by that many seconds at each reading.
    """
    if fault is None:
        return
    if "largest_file" in fault:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["largest_file"], fault["largest_file"]))
    if "clock" in fault:
        _turn_back_clock(fault["clock"])
    events = Events(fault)
    if events.trace is None and not events.kinds:
        return
    sys.addaudithook(events.audit)
    _watch_fsync(events)
    _watch_torch(events)


def _watch_fsync(events: Events) -> None:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        events.happen("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    setattr(os, "fsync", fsync)  # noqa: B010  # its own signature is wider


def _watch_torch(events: Events) -> None:
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(lambda *_: events.happen("step"))

    def scoring(*_: object) -> None:
        if not torch.is_grad_enabled():
            events.happen("score")

    register_module_forward_pre_hook(scoring)


def _turn_back_clock(seconds: float) -> None:
    clock, readings = time.time, 0

    def read() -> float:
        nonlocal readings
        readings += 1
        return clock() - seconds * readings

    time.time = read
