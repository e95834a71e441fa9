"""Signals before and while a run trains."""

import os
import signal

import pytest

from utils.errors import InterruptedRunError
from utils.signals import ended_by_signals, stop_on_signals


def test_before_training_a_signal_ends_the_block_at_once() -> None:
    after: list[str] = []

    def start() -> None:
        with ended_by_signals("Start it again"):
            os.kill(os.getpid(), signal.SIGUSR1)
            after.append("went on")

    with pytest.raises(
        InterruptedRunError, match=r"^stopped by signal 10 before training began\. Start it again$"
    ) as stop:
        start()
    assert stop.value.signal_number == signal.SIGUSR1
    assert not after
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_in_training_a_signal_is_remembered() -> None:
    with ended_by_signals(""), stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop()
        assert stop.signal_number == signal.SIGTERM, "the first one"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
