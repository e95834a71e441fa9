"""Runs a target on many inputs: reproducible and short as a rule, long and random with ``--soak``."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from utils.errors import UserError

LONG_FORM = 12  # times as many cases
SECONDS = 20  # for one case; they take milliseconds, but machines may be busy
Value = TypeVar("Value")
Result = TypeVar("Result")


class Hang(BaseException):
    """A case that takes too long; no ``except Exception`` of the code under test catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except Hang:
        raise AssertionError(f"no answer within {SECONDS} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Fuzz = Callable[[str, st.SearchStrategy[Any], Callable[[Any], bool], int], None]
Told = Callable[..., Any]


@pytest.fixture
def fuzz(soak: bool, record_fact: Callable[..., None]) -> Fuzz:
    """Return what checks a target: ``fuzz(name, strategy, check, cases)``; ``check`` says whether it was accepted."""

    def run(target: str, strategy: st.SearchStrategy[Any], check: Callable[[Any], bool], cases: int) -> None:
        counts = {"cases": 0, "accepted": 0}
        started = time.perf_counter()

        @settings(  # shrinking takes long where a case takes long
            max_examples=cases * LONG_FORM if soak else cases,
            derandomize=not soak,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(value: Any) -> None:  # noqa: ANN401  # whatever the strategy makes
            with time_limit():
                accepted = check(value)
            counts["cases"] += 1
            counts["accepted"] += accepted

        one()
        record_fact("fuzz", target=target, **counts, seconds=round(time.perf_counter() - started, 2))

    return run


@pytest.fixture
def told() -> Told:
    """Return what calls a reader: its result, or None where a user is told in one line what is wrong, and where."""

    def call(read: Callable[[], Result], *names: str | Path, several: bool = False) -> Result | None:
        try:
            return read()
        except UserError as error:
            text = str(error)
            assert text.strip(), "an empty message"
            assert "Traceback" not in text
            assert several or len(text.splitlines()) == 1, f"several lines: {text!r}"
            assert not names or any(str(name) in text for name in names), f"{text!r} names none of {names}"
            assert all(line.isprintable() for line in text.split("\n")), f"not printable: {text!r}"
            assert len(text) < 20_000, "a message that nobody reads"
            return None

    return call
