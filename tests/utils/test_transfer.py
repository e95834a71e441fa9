"""Batches on their way to a device."""

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from utils.batch import Batch
from utils.transfer import WaitClock, on_device


def make(number: int) -> Batch:
    return Batch(
        views={"roi": torch.full((2, 3, 4, 4), number, dtype=torch.uint8)},
        label=torch.tensor([number, number]),
        index=torch.tensor([2 * number, 2 * number + 1]),
        content_box={"roi": torch.zeros(2, 4, dtype=torch.int16)},
        flip={"roi": torch.tensor([False, True])},
    )


def test_on_the_cpu_the_same_objects_pass_one_by_one() -> None:
    given = [make(number) for number in range(3)]
    asked: list[int] = []

    def source() -> Iterator[Batch]:
        for number, batch in enumerate(given):
            asked.append(number)
            yield batch

    for number, batch in enumerate(on_device(source(), torch.device("cpu"))):
        assert batch is given[number]
        assert asked == list(range(number + 1))


def test_a_batch_names_all_its_tensors() -> None:
    batch = make(3)
    found = {id(tensor) for tensor in batch.tensors()}
    held = [batch.views, batch.content_box, batch.flip]
    assert found == {id(t) for tensors in held for t in tensors.values()} | {id(batch.label), id(batch.index)}


class FakeCuda:
    """Streams and events that write down what is asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Any] = []
        self.copies = 0
        computing = SimpleNamespace(wait_event=lambda event: self.log.append(("compute waits for", event)))
        copying = SimpleNamespace(record_event=self.record)
        monkeypatch.setattr(torch.cuda, "Stream", lambda _device: copying)
        monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: computing)
        monkeypatch.setattr(Batch, "to", lambda batch, _device: batch)
        monkeypatch.setattr(
            Tensor, "record_stream", lambda _, stream: self.log.append("kept" if stream is computing else "?")
        )

    def record(self) -> str:
        self.copies += 1
        self.log.append(("copied", self.copies))
        return f"event {self.copies}"


def test_a_batch_is_handed_over_at_once_and_waited_for_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    given = [make(number) for number in range(3)]
    for number, batch in enumerate(on_device(given, torch.device("cuda"))):
        assert batch is given[number]
        cuda.log.append(("computed", number + 1))
    kept = ["kept"] * 5  # each of a batch's tensors
    assert cuda.log == [
        step
        for number in (1, 2, 3)
        for step in (("copied", number), ("compute waits for", f"event {number}"), *kept, ("computed", number))
    ]


def test_an_empty_source_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    assert list(on_device([], torch.device("cuda"))) == []


def test_a_gpu_counts_what_passes_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own time does not count there, and nothing is known before the device is done."""
    times = iter([10.0, 12.5, 20.0, 20.0])

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = next(times)

        def record(self, _stream: object) -> None:
            pass

        def elapsed_time(self, other: "Event") -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: None)
    clock = WaitClock(torch.device("cuda"))
    for _ in range(2):
        with clock.waiting():
            pass
    assert clock.seconds == 0
    clock.settle()
    clock.settle()
    assert clock.seconds == pytest.approx(2.5e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_whole_while_the_gpu_is_busy() -> None:
    device = torch.device("cuda")
    busy = torch.rand(4096, 4096, device=device)
    sums = []
    for batch in on_device((make(number).pin_memory() for number in range(50)), device):
        for _ in range(3):
            busy = (busy @ busy).clamp(0, 1)
        sums.append(sum(tensor.double().sum() for tensor in batch.tensors()))
        del batch  # its memory may be given to a later copy only when the sums are taken
    for number, total in enumerate(sums):
        assert float(total) == sum(float(tensor.double().sum()) for tensor in make(number).tensors())
