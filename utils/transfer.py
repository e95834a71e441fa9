"""Batches on their way from the loader to the device, and what waiting for them costs."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from utils.batch import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches on the device, in order.

    On a CUDA device a stream of its own copies the next batch while this one is computed with, which needs batches in
    page-locked memory. On the CPU the same objects pass through.
    """
    if device.type == "cuda":
        yield from _beside_the_work(batches, device)
    elif device.type == "cpu":
        yield from batches
    else:
        for batch in batches:
            yield batch.to(device)


def _beside_the_work(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy in a stream of its own: the host is ahead of the GPU, which still computes earlier steps meanwhile."""
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = batch.to(device)
            ready = copying.record_event()
        computing = torch.cuda.current_stream(device)
        computing.wait_event(ready)
        for tensor in copied.tensors():
            tensor.record_stream(computing)  # else its memory could be given to a later copy before that stream is done
        yield copied


class WaitClock:
    """Counts the time in which a device has nothing to do because the next batch is not there.

    A GPU works behind its host, whose own waiting says little: events on either side of the wait are put into the
    GPU's queue, and between them passes what it stood still, the rest of a copy included. On other devices it is the
    host's time.

    Attributes:
        seconds: on a GPU up to the last ``settle``.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device
        self._open: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Surround the call that gets the next batch."""
        started = time.perf_counter()
        before = self._event()
        yield
        after = self._event()
        if before is not None and after is not None:
            self._open.append((before, after))
        else:
            self.seconds += time.perf_counter() - started

    def settle(self) -> None:
        """Count what is still open, once the device has done everything that it was given so far."""
        for before, after in self._open:
            self.seconds += before.elapsed_time(after) / 1000
        self._open.clear()

    def _event(self) -> torch.cuda.Event | None:
        if self._device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
