"""The watch over processes, in one process: a store, a watch, and others that are written by hand."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist

from utils.beats import DONE, Loss, Watch
from utils.errors import RunError
from utils.members import Member

INTERVAL = 0.02
Connect = Callable[[], Any]
WATCHES: list[Watch] = []


@pytest.fixture
def connect() -> Iterator[Connect]:
    server: Any = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]

    def client() -> Any:  # noqa: ANN401
        return dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", server.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=1)
        )

    yield client
    for watch in WATCHES:  # their threads would look for this store as long as the tests run
        watch._ended.set()
        watch._wake.set()
    WATCHES.clear()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def introduce(connect: Connect, rank: int, *, pid: int, host: str | None = None, state: str = "beat 0") -> None:
    """Write into the store what process ``rank`` would."""
    member = asdict(Member.myself(rank)) | {"pid": pid} | ({} if host is None else {"host": host})
    store = connect()
    store.set(f"state/{rank}", state)
    store.set(f"member/{rank}", json.dumps(member))


class Watching:
    """A watch as process 0 and what it would have ended this process with."""

    def __init__(self, connect: Connect, rank: int = 0, world_size: int = 2, limit: float = 5.0) -> None:
        self.stops: list[tuple[Loss, bool]] = []
        self.watch = Watch(
            connect,
            rank,
            world_size,
            limit=limit,
            advice="Go on.",
            interval=INTERVAL,
            grace=INTERVAL,
            stop=lambda loss, aloud: self.stops.append((loss, aloud)),
        )
        WATCHES.append(self.watch)

    def stop(self) -> tuple[Loss, bool]:
        """Wait until this process would have been ended."""
        patience = time.monotonic() + 5
        while not self.stops:
            assert time.monotonic() < patience, "no loss was noticed"
            time.sleep(INTERVAL / 4)
        return self.stops[0]


def test_a_killed_process_is_named(connect: Connect, sleeper: subprocess.Popen[bytes]) -> None:
    introduce(connect, 1, pid=sleeper.pid)
    watching = Watching(connect)
    time.sleep(3 * INTERVAL)
    assert not watching.stops
    sleeper.kill()  # and not fetched, as under a launcher that is busy: it stays as a zombie
    loss, aloud = watching.stop()
    assert loss.ranks == [1]
    assert aloud
    assert f"process 1 (pid {sleeper.pid} on " in loss.text
    assert "is gone: it ended without a word" in loss.text
    assert loss.text.endswith("the run cannot go on without all its processes. Go on.")


def test_silence_is_told_from_beats(connect: Connect) -> None:
    """On another machine nothing but the beats can be seen."""
    introduce(connect, 1, pid=1, host="elsewhere")
    watching, store = Watching(connect, limit=0.4), connect()
    for number in range(30):
        store.set("state/1", f"beat {number}")
        time.sleep(INTERVAL)
    assert not watching.stops  # longer than the limit, but it beat
    assert "process 1 (pid 1 on elsewhere) is gone: no sign of life for" in watching.stop()[0].text


def test_the_error_of_another_process_is_told(connect: Connect, sleeper: subprocess.Popen[bytes]) -> None:
    introduce(connect, 1, pid=sleeper.pid)
    watching = Watching(connect)
    connect().set("state/1", "failed a.jpg is truncated")
    assert "ended with an error: a.jpg is truncated;" in watching.stop()[0].text


def test_a_process_that_finished_is_not_missed(connect: Connect) -> None:
    introduce(connect, 1, pid=2**22 + 1, state=DONE)  # no such process any more
    introduce(connect, 2, pid=1, host="elsewhere")
    watching = Watching(connect, world_size=3, limit=0.3)
    assert watching.stop()[0].ranks == [2]  # the one after it is watched in its place


def test_what_one_finds_all_read(connect: Connect) -> None:
    """Process 0 looks at process 1 alone; process 2, which looks at 0, has lost 3."""
    introduce(connect, 1, pid=1, host="elsewhere")
    introduce(connect, 2, pid=1, host="elsewhere")
    introduce(connect, 3, pid=1, host="elsewhere")
    watching = Watching(connect, world_size=4)
    connect().set("lost", json.dumps({"ranks": [3], "text": "process 3 is gone"}))
    assert watching.stop()[0].ranks == [3]


def test_only_the_first_that_is_left_speaks(connect: Connect, sleeper: subprocess.Popen[bytes]) -> None:
    introduce(connect, 0, pid=sleeper.pid)
    introduce(connect, 1, pid=1, host="elsewhere")
    watching = Watching(connect, rank=2, world_size=3)
    sleeper.kill()
    loss, aloud = watching.stop()
    assert loss.ranks == [0]
    assert not aloud


def beat(store: Any) -> None:  # noqa: ANN401
    for number in range(40):
        store.set("state/1", f"beat {number}")
        time.sleep(INTERVAL)


def test_a_failed_collective_is_explained_by_the_process_that_is_gone(connect: Connect) -> None:
    introduce(connect, 1, pid=1, host="elsewhere")
    introduce(connect, 2, pid=2, host="elsewhere")
    watching = Watching(connect, world_size=3)
    store = connect()
    with ThreadPoolExecutor(1) as pool:
        beating = pool.submit(beat, store)
        started = time.monotonic()
        lost = watching.watch.explain(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"))
        assert time.monotonic() - started < 1  # some beats, where the limit is 5 s
        beating.result()
    assert lost is not None
    assert "process 2 (pid 2 on elsewhere) is gone: no sign of life" in str(lost)
    assert "process 1" not in str(lost)
    assert not lost.in_every_process


def test_errors_of_its_own_are_not_explained_away(connect: Connect) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(Watching, connect, rank) for rank in range(2)]
        watch = both[0].result().watch
        both[1].result()
    assert watch.explain(RuntimeError("out of memory")) is None
    assert watch.explain() is None
    lost = watch.explain(RuntimeError("NCCL error: unhandled system error"))
    assert "the processes lost their connection (NCCL error" in str(lost)


@pytest.mark.parametrize(("words", "same"), [(("nan", "nan"), True), (("nan", "a.jpg is truncated"), False)])
def test_an_error_that_the_main_process_has_too_is_known(connect: Connect, words: tuple[str, str], same: bool) -> None:
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(Watching, connect, rank) for rank in range(2)]
        watches = [each.result().watch for each in started]
        ends = [pool.submit(watch.end, f"failed {word}") for watch, word in zip(watches, words, strict=True)]
        assert [end.result() for end in ends] == [False, same]


def test_a_store_that_is_gone_ends_the_wait(sleeper: subprocess.Popen[bytes]) -> None:
    class Gone:
        """A connection that breaks after the processes have met."""

        def __init__(self, store: Any) -> None:  # noqa: ANN401
            self.store, self.broken = store, False

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if self.broken:
                raise RuntimeError("Broken pipe")
            return getattr(self.store, name)

    store = Gone(dist.HashStore())  # type: ignore[attr-defined]
    introduce(lambda: store, 1, pid=sleeper.pid)
    watching = Watching(lambda: store, limit=0.3)
    store.broken = True
    assert "the processes' meeting point has not answered for" in watching.stop()[0].text


def test_a_process_that_does_not_come_is_named(connect: Connect) -> None:
    introduce(connect, 1, pid=1)
    with pytest.raises(RunError, match=r"after 0 seconds process 2, 3 had not started"):
        Watching(connect, world_size=4, limit=0.2)
