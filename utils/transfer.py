"""Batches on their way from the loader to the device."""

from collections.abc import Iterable, Iterator

import torch

from utils.batch import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches on the device, in order.

    On a CUDA device a stream of its own copies the next batch while this one is computed with, which needs batches in
    page-locked memory. On the CPU the same objects pass through.
    """
    if device.type == "cuda":
        yield from _one_ahead(batches, device)
    elif device.type == "cpu":
        yield from batches
    else:
        for batch in batches:
            yield batch.to(device)


def _one_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    upcoming: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = batch.to(device)
            ready = copying.record_event()
        if upcoming is not None:
            yield _handed_over(*upcoming, device)
        upcoming = copied, ready
    if upcoming is not None:
        yield _handed_over(*upcoming, device)


def _handed_over(batch: Batch, ready: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the computing stream wait for the copy, and keep its memory from being reused before that stream is done."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(ready)
    for tensor in batch.tensors():
        tensor.record_stream(computing)
    return batch
