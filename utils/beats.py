"""Signs of life that the processes of a run leave each other, and what follows when one leaves none.

Each process writes a beat to a store and looks at the process after it; what one finds, all read. So the work of each
does not grow with their number.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import torch.distributed as dist

from utils.errors import LostProcessError, RunError, leave_at_once
from utils.members import Member

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

LIMIT, INTERVAL, GRACE = 60.0, 1.0, 5.0
DONE, LEFT, FAILED = "done", "left", "failed "
_RUNNING = "beat "
_BEATS_TO_MISS = 4  # once a collective has failed
_FAREWELL = 3.0
_COLLECTIVE = ("gloo", "nccl", "by peer", "process group")  # words of a failed one's message
_KILLED = "is gone: it ended without a word, as when it is killed or memory runs out"


@dataclass(frozen=True)
class Loss:
    """Which processes are gone, and what to tell the user."""

    ranks: list[int]
    text: str


class Watch:
    """Beats, looks and, where a process is gone, ends this one; see ``watched``.

    Args:
        connect: opens a connection to the store; it may take some seconds and raise ``RuntimeError``.
        rank: this process.
        world_size: number of processes.
        limit: seconds without a beat after which a process counts as gone.
        advice: what the user can do then.
        interval: seconds between beats.
        grace: seconds from that on until ``stop`` is called, unless the watch has ended.
        stop: ends this process.
    """

    def __init__(
        self,
        connect: Callable[[], "Store"],
        rank: int,
        world_size: int,
        *,
        limit: float = LIMIT,
        advice: str = "",
        interval: float = INTERVAL,
        grace: float = GRACE,
        stop: Callable[[Loss, bool], None] | None = None,
    ) -> None:
        self.rank, self.world_size, self.limit, self.advice = rank, world_size, limit, advice
        self.interval, self.grace, self._stop = interval, grace, stop or _print_and_leave
        self.loss: Loss | None = None
        self._connect, self._store = connect, connect()
        self._ended, self._wake, self._alarmed = threading.Event(), threading.Event(), False
        self._changed: dict[int, tuple[str, float]] = {}
        self._neighbour = (rank + 1) % world_size
        self.members = self._meet()
        self._contact = time.monotonic()
        self._beating = threading.Thread(target=self._beat, name="beat", daemon=True)
        self._guarding = threading.Thread(target=self._guard, name="guard", daemon=True)
        self._beating.start()
        self._guarding.start()

    def _meet(self) -> list[Member]:
        """Introduce this process and wait for the others to do so."""
        self._store.set(f"state/{self.rank}", _RUNNING)
        self._store.set(f"member/{self.rank}", json.dumps(asdict(Member.myself(self.rank))))
        names = [f"member/{other}" for other in range(self.world_size)]
        try:
            self._store.wait(names, timedelta(seconds=self.limit))
        except RuntimeError:
            late = [str(other) for other, name in enumerate(names) if not self._store.check([name])]
            raise RunError(f"after {self.limit:.0f} seconds process {', '.join(late)} had not started") from None
        return [Member(**json.loads(text)) for text in self._store.multi_get(names)]

    def explain(self, error: RuntimeError | None = None) -> LostProcessError | None:
        """Return the loss of another process behind an error or, without one, any loss; null where there is none.

        A failed collective is explained after some beats at most: by then those who are gone have missed theirs.
        """
        collective = error is not None and _is_of_collective(error)
        self._alarmed = True
        self._wake.set()
        patience = time.monotonic() + self.interval * (_BEATS_TO_MISS + 2 if collective else 1)
        while self.loss is None and time.monotonic() < patience:
            time.sleep(self.interval / 20)
        loss = self.loss
        if loss is None and error is not None and collective:
            loss = Loss([], f"the processes lost their connection ({short(error)})")
        if loss is None:
            self._alarmed = False
            return None
        lost = LostProcessError(_sentence(loss.text, self.advice))
        lost.in_every_process = not self._speaks(loss)  # printed by another
        return lost

    def end(self, state: str) -> bool:
        """Stop watching and leave a last word; return whether the main process leaves the same one.

        The main process waits a little for the words of the others, since the store may end with it.
        """
        self._ended.set()
        self._wake.set()
        self._beating.join(self.interval + GRACE)
        try:
            self._store.set(f"state/{self.rank}", state)
            if state.startswith(FAILED):
                self._publish([self.rank], f"{self.members[self.rank]} ended with an error: {state[len(FAILED) :]}")
            return self._farewell(state)
        except RuntimeError:
            return False

    def _farewell(self, state: str) -> bool:
        waits_for = [0] if state.startswith(FAILED) else []
        if self.rank == 0:
            gone = self.loss.ranks if self.loss is not None else []
            waits_for = [m.rank for m in self.members if m.rank not in gone and not m.surely_gone()]
        patience = time.monotonic() + _FAREWELL
        while True:
            states = self._read(waits_for)
            if not any(other.startswith(_RUNNING) for other in states) or time.monotonic() > patience:
                return self.rank != 0 and state in states
            time.sleep(self.interval / 20)

    def _beat(self) -> None:
        for number in count(1):
            self._wake.wait(self.interval)
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                self._store.set(f"state/{self.rank}", f"{_RUNNING}{number}")
                found = self._look()
                self.loss = self.loss or found
                self._contact = time.monotonic()
            except RuntimeError:
                self._lose_store()

    def _look(self) -> Loss | None:
        """Return what another process found, or what is seen here."""
        if self._store.check(["lost"]):
            return Loss(**json.loads(self._store.get("lost")))
        others = [rank for rank in range(self.world_size) if rank != self.rank] if self._alarmed else [self._neighbour]
        gone = {rank: why for rank in others if (why := self._why_gone(rank))}
        if gone:
            return self._publish(list(gone), "; ".join(f"{self.members[rank]} {why}" for rank, why in gone.items()))
        if self._last(self._neighbour) in (DONE, LEFT):
            self._neighbour = (self._neighbour + 1) % self.world_size
            if self._neighbour == self.rank:  # nobody is left; this one is never gone
                self._neighbour = (self.rank + 1) % self.world_size
        return None

    def _why_gone(self, rank: int) -> str:
        ended = self.members[rank].surely_gone()
        state = self._read([rank])[0]  # after that look: a last word may have come before the end
        now = time.monotonic()
        if state != self._last(rank):
            self._changed[rank] = state, now
        if state.startswith(FAILED):
            return f"ended with an error: {state[len(FAILED) :]}"
        if not state.startswith(_RUNNING):
            return ""
        if ended:
            return _KILLED
        silent = now - self._changed[rank][1]
        if silent > (min(self.limit, _BEATS_TO_MISS * self.interval) if self._alarmed else self.limit):
            return f"is gone: no sign of life for {silent:.0f} seconds"
        return ""

    def _last(self, rank: int) -> str:
        return self._changed.get(rank, ("", 0.0))[0]

    def _read(self, ranks: Sequence[int]) -> list[str]:
        return [text.decode() for text in self._store.multi_get([f"state/{rank}" for rank in ranks])]

    def _publish(self, ranks: list[int], text: str) -> Loss:
        """Tell all; the first word stands."""
        word = json.dumps({"ranks": ranks, "text": text})
        return Loss(**json.loads(self._store.compare_set("lost", "", word)))

    def _lose_store(self) -> None:
        """Look at what can be seen without the store, and try to reach it again."""
        gone = [member for member in self.members if member.rank != self.rank and member.surely_gone()]
        if gone:
            text = "; ".join(f"{member} {_KILLED}" for member in gone)
            self.loss = self.loss or Loss([member.rank for member in gone], text)
        elif not self._ended.is_set():
            with suppress(RuntimeError):
                self._store = self._connect()

    def _guard(self) -> None:
        """End this process where its main thread hangs, or where the store's connection does."""
        while not self._ended.wait(self.interval):
            silent = time.monotonic() - self._contact
            if self.loss is None and silent > self.limit:
                self.loss = Loss([], f"the processes' meeting point has not answered for {silent:.0f} seconds")
            if self.loss is not None and not self._ended.wait(self.grace):
                self._stop(Loss(self.loss.ranks, _sentence(self.loss.text, self.advice)), self._speaks(self.loss))
                self._ended.set()

    def _speaks(self, loss: Loss) -> bool:
        return self.rank == min(rank for rank in range(self.world_size) if rank not in loss.ranks)


def _is_of_collective(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in text for word in _COLLECTIVE)


def short(error: BaseException) -> str:
    """Return the message of an error on one line of at most 300 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _sentence(text: str, advice: str) -> str:
    return f"{text}; the run cannot go on without all its processes" + (f". {advice}" if advice else "")


def _print_and_leave(loss: Loss, aloud: bool) -> None:
    if aloud:
        print(f"stopped: {loss.text}", file=sys.stderr)
    leave_at_once(1)
