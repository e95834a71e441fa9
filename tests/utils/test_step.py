"""What an optimiser step does beside computing: nothing that makes the host wait for the device."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from utils.batch import Batch, ViewSpec, prepare_views
from utils.devices import make_accelerator
from utils.engine import Meter, Training, train_one_epoch
from utils.optimisers import make_optimizer
from utils.profiling import step_profiler
from utils.schedule import Schedule
from utils.sections import Precision, TrainConfig
from utils.transfer import on_device

SPECS = {"roi": ViewSpec(8, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))}
N_CLASSES = 3
# On a GPU each of these waits until the device has done everything before it. A list made into a tensor is one too:
# it is copied from memory that is not page-locked.
WAITING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "lift_fresh")


class Small(nn.Module):
    """Convolution, normalisation, dropout and a linear layer on one view."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten())
        self.head = nn.Linear(4 * 36, N_CLASSES)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.head(self.trunk(views["roi"]))
        return logits


def make_training(device: str, precision: Precision = "fp32", **settings: Any) -> Training:  # noqa: ANN401
    train = TrainConfig(device=device, precision=precision, fused=True)  # type: ignore[arg-type]
    accelerator = make_accelerator(train)
    model = Small().to(accelerator.device)
    optimizer = make_optimizer(train, [model.trunk], model.head)
    average = ModelEmaV3(model, decay=0.9, use_warmup=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    weights = torch.ones(N_CLASSES, device=accelerator.device)
    schedule = Schedule(100, 2, 0.0, 10, "step")
    prepare = partial(prepare_views, specs=SPECS)
    options: dict[str, Any] = {"class_weights": weights, "clip_norm": 1.0, "average": average, "label_smoothing": 0.1}
    return Training(model, optimizer, accelerator, schedule, prepare, **options | settings)


def batches(count: int, pinned: bool = False) -> Iterator[Batch]:
    for _ in range(count):
        batch = Batch(
            views={"roi": torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)},
            label=torch.randint(0, N_CLASSES, (4,)),
            index=torch.tensor([0, 1, 2, -1]),
            content_box={"roi": torch.zeros(4, 4, dtype=torch.int16)},
            flip={"roi": torch.rand(4) < 0.5},
        )
        yield batch.pin_memory() if pinned else batch


def run(training: Training, given: Iterator[Batch], steps: int, meter: Meter | None = None) -> None:
    """Take steps of two micro-batches each."""
    meter = meter or Meter(training.accelerator.device)
    train_one_epoch(training, given, [[3, 3]] * steps, 0, meter, lambda _steps, _means: None, lambda: False)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that would wait for a GPU, and the steps at which they happen."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step = 0
        self.found: list[tuple[int, str]] = []

    def note(self, name: str) -> None:
        self.found.append((self.step, name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        name = func.overloadpacket.__name__
        masks = [tensor for tensor in args[1] if tensor is not None] if name == "index" else []
        if name in WAITING or any(mask.dtype == torch.bool for mask in masks):
            self.note(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for name in ("tolist", "numpy", "cpu"):  # no operations of their own on a CPU
        original = getattr(Tensor, name)

        def noted(tensor: Tensor, *given: Any, of: str = name, original: Any = original) -> Any:  # noqa: ANN401
            recorder.note(of)
            return original(tensor, *given)

        monkeypatch.setattr(Tensor, name, noted)
    return recorder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_reads_from_the_device_between_two_intervals(precision: Precision, recorder: Recorder) -> None:
    training = make_training("cpu", precision, log_every=3)
    run(training, batches(2), 1)  # what is made once, such as the pixels' statistics
    recorder.found.clear()

    def count() -> None:
        recorder.step += 1

    training.on_step = count
    ready = iter(list(batches(16)))
    with recorder:
        run(training, ready, 8)
    # Each interval of three steps, and the end, is one read.
    assert recorder.found == [(3, "tolist"), (6, "tolist"), (8, "tolist")]


WAITS: dict[str, Callable[[Tensor], object]] = {
    "int": lambda values: int(values[1]),
    "truth": lambda values: bool(values[1] > 0),
    "float": lambda values: values.sum().item(),
    "mask": lambda values: values[values > 0],
    "list": lambda values: values.tolist(),
    "made of a list": lambda _: torch.tensor([1.0, 2.0]),
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_recorder_sees_what_waits(wait: str, recorder: Recorder) -> None:
    with recorder:
        WAITS[wait](torch.arange(3))
    assert len(recorder.found) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_waits_for_the_gpu(precision: Precision) -> None:
    training = make_training("cuda", precision, log_every=100)
    run(training, on_device(batches(6, pinned=True), training.accelerator.device), 3)
    moved = on_device(batches(22, pinned=True), training.accelerator.device)
    steps = 0

    def strict() -> None:
        nonlocal steps
        steps += 1
        torch.cuda.set_sync_debug_mode("error" if steps < 9 else "default")

    training.on_step = strict
    try:
        run(training, moved, 10)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert steps == 10


def test_waiting_for_batches_is_counted() -> None:
    def slow() -> Iterator[Batch]:
        for batch in batches(6):
            time.sleep(0.05)
            yield batch

    training = make_training("cpu")
    meter = Meter(training.accelerator.device)
    run(training, slow(), 3, meter)
    assert 0.3 <= meter.waited < 3
    meter = Meter(training.accelerator.device)
    run(training, iter(list(batches(6))), 3, meter)
    assert meter.waited < 0.3


@pytest.fixture
def profiled(tmp_path: Path) -> Path:
    training = make_training("cpu", log_every=3)
    with step_profiler(tmp_path / "profile", 2, "cpu") as training.on_step:
        run(training, batches(14), 7)
    return tmp_path / "profile"


def test_profile_of_two_steps_from_the_fourth_on(profiled: Path) -> None:
    events = json.loads((profiled / "trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert sorted(name for name in names if name.startswith("ProfilerStep")) == ["ProfilerStep#3", "ProfilerStep#4"]
    assert [names.count(label) for label in ("wait for data", "forward", "backward", "optimizer step")] == [4, 4, 4, 2]
    lines = (profiled / "summary.txt").read_text().splitlines()
    assert lines[0].startswith("2 optimiser steps of ")
    shares = {line.split("%")[1].strip(): float(line.split("%")[0]) for line in lines[2:8]}
    assert list(shares) == ["waiting for data", "transfer", "forward", "backward", "optimiser", "other"]
    assert sum(shares.values()) == pytest.approx(100, abs=0.4)
    assert min(shares["forward"], shares["backward"], shares["optimiser"]) > 0
    assert shares["transfer"] == 0
    assert any(line.endswith("aten::convolution_backward") or "convolution" in line for line in lines)


def test_profile_of_too_few_steps_says_so(tmp_path: Path) -> None:
    training = make_training("cpu")
    with step_profiler(tmp_path, 2, "cpu") as training.on_step:
        run(training, batches(4), 2)
    assert (tmp_path / "summary.txt").read_text() == (
        "Nothing was recorded: 2 optimiser steps were taken, and recording starts with step 4.\n"
    )
    assert not (tmp_path / "trace.json").exists()


def test_gradients_are_exchanged_in_the_last_micro_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training("cpu")
    entered: list[int] = []
    real, calls = Accelerator.no_sync, 0

    def no_sync(accelerator: Accelerator, model: nn.Module) -> Any:  # noqa: ANN401
        entered.append(calls)
        return real(accelerator, model)

    def counted(batch: Batch) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        return prepare_views(batch, SPECS)

    monkeypatch.setattr(Accelerator, "no_sync", no_sync)
    training.prepare = counted
    run(training, batches(6), 3)
    assert entered == [0, 2, 4]  # before the first of the two micro-batches of each step
