"""Locks that end with their process, even if it is killed."""

import os
import platform
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """A lock on a file, which is made for it and removed by the last holder who shared it with nobody.

    Attributes:
        certain: whether this process holds the lock; false as well on systems without locks, where nothing is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.certain = False
        self._file: IO[str] | None = None
        self._shared = False
        _locks.add(self)

    def take(self, *, shared: bool = False, patience: float = 0.0) -> bool:
        """Take the lock, or return false where another process has it for longer than ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not self._try(shared):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        self._shared = shared
        if not shared:
            assert self._file is not None
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {platform.node()}")
            self._file.flush()
        return True

    def _try(self, shared: bool) -> bool:
        while True:
            file = self.path.open("a+", encoding="utf-8")  # network file systems read for shared, write for others
            try:
                if fcntl is not None:
                    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                self.certain = fcntl is not None
            except BlockingIOError:
                file.close()
                return False
            except OSError:  # a file system without locks
                self.certain = False
            if not self.certain or _same_file(file, self.path):
                self._file = file
                return True
            file.close()  # its last holder removed it between opening and locking

    def holder(self) -> str:
        """Return who holds the lock alone, in words."""
        try:
            return self.path.read_text(encoding="utf-8") or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """Give the lock back; a lock that was not shared takes its file along. May be called twice."""
        if self._file is None:
            return
        if self.certain and not self._shared and _same_file(self._file, self.path):
            self.path.unlink()  # before closing: afterwards it may be another process's
        self._file.close()
        if not self.certain and not self._shared:
            self.path.unlink(missing_ok=True)
        self._file, self.certain = None, False

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_locks: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    """Close the locks that a forked process shares with its parent, which it would hold longer than that one lives."""
    for lock in list(_locks):
        if lock._file is not None:
            lock._file.close()
            lock._file, lock.certain = None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
