"""A model with a loss of its own, in the engine."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from utils.batch import Batch
from utils.devices import make_accelerator
from utils.engine import Criterion, Meter, Training, train_one_epoch
from utils.schedule import Schedule
from utils.sections import TrainConfig


@dataclass
class Both:
    """Logits, and a second set of them for the model's own loss."""

    logits: Tensor
    second: Tensor
    tallies: dict[str, Tensor] = field(default_factory=dict)


class TwoHeads(nn.Module):
    """Two linear heads on two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, views: dict[str, Tensor]) -> Any:  # noqa: ANN401  # as in training, or logits alone
        x = views["photo"]
        return Both(self.first(x), self.second(x)) if self.training else self.first(x)


def three_times_the_second(output: Both, label: Tensor, criterion: Criterion) -> Tensor:
    return criterion(output.logits, label) + 3 * criterion(output.second, label)


def batch_of(rows: list[int]) -> Batch:
    pictures = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    return Batch(
        views={"photo": pictures[: len(rows)]},
        label=torch.tensor([0, 1, 1])[: len(rows)],
        index=torch.tensor(rows),
        content_box={},
        flip={},
    )


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator(TrainConfig(device="cpu", precision="fp32"))


def training_of(accelerator: Accelerator, **options: Any) -> Training:  # noqa: ANN401  # fields of Training
    model = TwoHeads()
    optimizer = torch.optim.SGD([{"params": model.parameters(), "peak_lr": 1.0, "role": "head"}], lr=1.0)
    schedule = Schedule(5, 0, 0.0, 5, "step")
    return Training(
        model, optimizer, accelerator, schedule, lambda batch: batch.views, three_times_the_second, **options
    )


def step(training: Training, rows: list[int], first_step: int = 0) -> dict[str, float]:
    means: dict[str, float] = {}
    meter = Meter(training.accelerator.device)
    plan = [[sum(row >= 0 for row in rows)]]
    train_one_epoch(
        training, iter([batch_of(rows)]), plan, first_step, meter, lambda _, m: means.update(m), lambda: False
    )
    return means


def test_a_models_own_loss_moves_the_weights_that_it_depends_on(accelerator: Accelerator) -> None:
    """At zero weights the mean cross-entropy of two classes has the gradient (p - y) x / 2 with p = 1/2."""
    training = training_of(accelerator)
    means = step(training, [0, 1])
    model: Any = training.model
    moved = 0.25 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert torch.allclose(model.first.weight, moved, atol=1e-6)
    assert torch.allclose(model.second.weight, 3 * moved, atol=1e-6)
    assert means["loss"] == pytest.approx(4 * torch.log(torch.tensor(2.0)).item(), abs=1e-6)


def test_padding_counts_for_none_of_the_losses(accelerator: Accelerator) -> None:
    padded, plain = training_of(accelerator), training_of(accelerator)
    assert step(padded, [0, 1, -1]) == step(plain, [0, 1])
    models: list[Any] = [padded.model, plain.model]
    assert torch.equal(models[0].second.weight, models[1].second.weight)


def test_class_weights_reach_every_term(accelerator: Accelerator) -> None:
    training = training_of(accelerator, class_weights=torch.tensor([2.0, 0.0]))
    means = step(training, [0, 1])
    assert means["loss"] == pytest.approx(4 * torch.log(torch.tensor(2.0)).item(), abs=1e-6)  # (2 + 0) / 2 of each
    model: Any = training.model
    assert torch.allclose(model.second.weight[:, 1], torch.zeros(2))  # only the second pair has this input


def test_each_step_is_announced_by_its_number(accelerator: Accelerator) -> None:
    seen: list[int] = []
    training = training_of(accelerator, before_step=seen.append)
    for number in range(5):
        step(training, [0, 1], number)
    assert seen == [0, 1, 2, 3, 4]


def test_progress_goes_from_nothing_to_one() -> None:
    schedule = Schedule(total_steps=5, warmup_steps=0, warmup_start=0.0, steps_per_epoch=5, unit="step")
    assert [schedule.progress(step) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
