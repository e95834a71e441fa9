"""The largest micro-batch that fits, and what a user reads where none does."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from datasets.sampling import StepSampler
from experiments import micro_batch
from experiments.micro_batch import (
    fewest_pairs,
    largest_micro_batch,
    largest_share,
    memory_explained,
    micro_batch_note,
    pairs_at_once,
    trains_batchnorm,
)
from utils.batch import ViewSpec, prepare_views
from utils.devices import make_accelerator
from utils.engine import Training
from utils.errors import ConfigError, RunError
from utils.schedule import Schedule
from utils.sections import TrainConfig

SPECS = {"roi": ViewSpec(4, (0.5,) * 3, (0.25,) * 3)}


class Limited(nn.Module):
    """Runs out of memory above ``most`` pairs, and says which sizes it was asked for."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.asked = most, list[int]()
        self.linear = nn.Linear(48, 3)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        self.asked.append(len(views["roi"]))
        if len(views["roi"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        logits: Tensor = self.linear(views["roi"].flatten(1))
        return logits


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's garbage collection of everything that tests have imported takes longer than the rest."""
    monkeypatch.setattr(micro_batch, "release", lambda _device: None)


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator(TrainConfig(device="cpu", precision="fp32"))


def training_of(accelerator: Accelerator, model: nn.Module) -> Training:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    return Training(
        model, optimizer, accelerator, Schedule(10, 0, 0.0, 10, "step"), partial(prepare_views, specs=SPECS)
    )


@pytest.mark.parametrize(
    ("most", "share", "at_least", "expected", "asked"),
    [
        (50, 50, 1, 50, [50]),
        (49, 50, 1, 25, [50, 25]),
        (12, 50, 1, 7, [50, 25, 13, 7]),
        (1, 50, 1, 1, [50, 25, 13, 7, 4, 2, 1]),
        (2, 5, 2, 2, [5, 3, 2]),
        (3, 7, 3, 3, [7, 4, 3]),
        (1, 1, 1, 1, [1]),
    ],
)
def test_the_share_is_halved_until_it_fits(
    accelerator: Accelerator, most: int, share: int, at_least: int, expected: int, asked: list[int]
) -> None:
    model = Limited(most)
    training = training_of(accelerator, model)
    assert largest_micro_batch(training, SPECS, 3, share, at_least=at_least) == expected
    assert model.asked == asked


@pytest.mark.parametrize(
    ("most", "at_least", "message"),
    [
        (0, 1, r"^train\.micro_batch auto: not even 1 pair fits into the memory of cpu"),
        (1, 2, r"not even 2 pairs at once, the fewest for BatchNorm to train on here, fit into the memory of cpu"),
    ],
)
def test_a_model_too_large_for_the_device_is_refused(
    accelerator: Accelerator, most: int, at_least: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "describe_memory", lambda device: f"{device} (3.1 GiB)")
    with pytest.raises(ConfigError, match=message) as caught:
        largest_micro_batch(training_of(accelerator, Limited(most)), SPECS, 3, 8, at_least=at_least)
    assert "(3.1 GiB); use a smaller --data.image_size or backbone, grad_checkpointing true" in str(caught.value)
    assert "--train.precision bf16" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory(accelerator: Accelerator) -> None:
    training = training_of(accelerator, Limited(8))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        largest_micro_batch(training, {"roi": ViewSpec(5, (0.0,) * 3, (1.0,) * 3)}, 3, 8)


def test_compiled_modules_are_tried_as_they_were_written(accelerator: Accelerator) -> None:
    import torch._dynamo  # as a compiled module would have done

    stances = []
    model = Limited(2)
    model.linear.register_forward_hook(lambda *_: stances.append(torch._dynamo.eval_frame._stance.stance))
    largest_micro_batch(training_of(accelerator, model), SPECS, 3, 4)
    assert stances == ["force_eager"]
    assert torch._dynamo.eval_frame._stance.stance == "default"


@pytest.mark.parametrize(
    ("pairs", "share", "processes", "note"),
    [
        (25, 50, 1, "train.micro_batch auto: 25 pairs at once fit (50 did not), 2 micro-batches a step"),
        (7, 50, 1, "train.micro_batch auto: 7 pairs at once fit (13 did not), 8 micro-batches a step"),
        (1, 3, 1, "train.micro_batch auto: 1 pair at once fit (2 did not), 3 micro-batches a step"),
        (50, 50, 1, "train.micro_batch auto: a step's 50 pairs fit at once"),
        (8, 16, 4, "train.micro_batch auto: 8 pairs at once fit in each process (16 did not), 2 micro-batches a step"),
    ],
)
def test_what_was_found_is_said(pairs: int, share: int, processes: int, note: str) -> None:
    assert micro_batch_note(pairs, share, processes=processes) == note


def model_of(norm: bool, frozen: bool) -> Any:  # noqa: ANN401  # stands in for a classifier
    backbone = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1) if norm else nn.ReLU())
    backbone.frozen, backbone.own_parts = frozen, []  # type: ignore[assignment]
    return SimpleNamespace(backbones={"roi": backbone})


@pytest.mark.parametrize("batch_size", [4, 5, 6, 7, 9, 50])
@pytest.mark.parametrize("world_size", [1, 2])
def test_batchnorm_never_gets_one_pair_alone(batch_size: int, world_size: int) -> None:
    labels = np.zeros(batch_size * 3, dtype=np.int64)
    sampler = StepSampler(labels, batch_size, world_size=world_size)
    fewest = fewest_pairs(model_of(norm=True, frozen=False), sampler)

    def smallest_of(micro: int) -> int:
        shares = [StepSampler(labels, batch_size, micro, world_size=world_size, rank=r) for r in range(world_size)]
        return min(len(rows) for one in shares for step in one.plan(0) for rows in step)

    assert smallest_of(fewest) >= 2
    assert smallest_of(fewest - 1) == 1
    assert fewest <= largest_share(sampler)


@pytest.mark.parametrize(("norm", "frozen"), [(False, False), (True, True)])
def test_without_batchnorm_that_trains_one_pair_is_enough(norm: bool, frozen: bool) -> None:
    sampler = StepSampler(np.zeros(20, dtype=np.int64), 7)
    assert not trains_batchnorm(model_of(norm, frozen))
    assert fewest_pairs(model_of(norm, frozen), sampler) == 1
    assert sampler.micro_batch is None


@pytest.mark.parametrize(
    ("micro", "processes", "expected"), [(None, 1, 50), (None, 4, 13), ("auto", 1, 50), (8, 1, 8), (40, 2, 25)]
)
def test_pairs_on_the_device_at_once(micro: Any, processes: int, expected: int) -> None:  # noqa: ANN401
    assert pairs_at_once(TrainConfig(micro_batch=micro), processes) == expected


@pytest.mark.parametrize(
    ("option", "pairs", "advice"),
    [
        ("train.micro_batch", 50, "start a new run with --train.micro_batch auto or a smaller number, or with grad_"),
        ("train.micro_batch", 1, "use a smaller --data.image_size or backbone, grad_checkpointing true"),
        ("eval.batch_size", 256, "start a new run with a smaller --eval.batch_size"),
    ],
)
def test_running_out_of_memory_in_mid_run_is_one_line(
    accelerator: Accelerator,
    option: Any,  # noqa: ANN401
    pairs: int,
    advice: str,
) -> None:
    count = "1 pair" if pairs == 1 else f"{pairs} pairs"
    message = rf"^memory ran out on cpu.* with {count} at once \({option}\); {re.escape(advice)}.*--run\.resume auto"
    with pytest.raises(RunError, match=message) as caught, memory_explained(accelerator, option, pairs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_machines_own_memory_is_told_from_the_gpus() -> None:
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda", 0))
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: 1")
    line = micro_batch._ran_out(on_gpu.device, "train.micro_batch", 50, error)
    assert re.match(r"memory ran out, not that of cuda:0 but the machine's, cpu.*; use fewer --data\.workers", line)


def test_other_errors_pass_unchanged(accelerator: Accelerator) -> None:
    with pytest.raises(KeyError, match="roi"), memory_explained(accelerator, "train.micro_batch", 2):
        raise KeyError("roi")
