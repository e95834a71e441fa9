"""Processes of a run, as the others know them."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """A process of the run, one of several that compute together."""

    rank: int
    pid: int
    host: str
    pids_of: str  # processes of one host can number their processes apart, in containers

    @classmethod
    def myself(cls, rank: int) -> "Member":
        """Return this process."""
        return cls(rank, os.getpid(), socket.gethostname(), _pid_namespace())

    def __str__(self) -> str:
        return f"process {self.rank} (pid {self.pid} on {self.host})"

    def surely_gone(self) -> bool:
        """Whether the process has ended, where that can be seen: on its own machine."""
        if (self.host, self.pids_of) != (socket.gethostname(), _pid_namespace()):
            return False
        if Path("/proc/self/stat").exists():
            try:
                # The state follows the name, which may hold brackets; Z has ended and waits to be fetched.
                return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            except OSError:
                return True
        if os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


def _pid_namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""
