from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from utils.batch import Batch, ViewSpec, prepare_views
from utils.devices import make_accelerator
from utils.engine import Meter, Training, compute_logits, train_one_epoch
from utils.errors import RunError
from utils.schedule import Schedule
from utils.sections import TrainConfig

SPECS = {"roi": ViewSpec(4, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), "extra_roi": ViewSpec(2, (0.0,) * 3, (1.0,) * 3)}
PREPARE = partial(prepare_views, specs=SPECS)
N_CLASSES = 3


class TwoViews(nn.Module):
    """A linear model with dropout on both views."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(3 * 16 + 3 * 4, N_CLASSES)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        flat = torch.cat([views["roi"].flatten(1), views["extra_roi"].flatten(1)], dim=1)
        logits: Tensor = self.linear(self.drop(flat))
        return logits


def make_batch(rows: list[int]) -> Batch:
    """Pairs whose pixels and label follow from their row; row -1 is padding."""
    generator = [torch.Generator().manual_seed(row + 1) for row in rows]

    def pixels(side: int) -> Tensor:
        pictures = [torch.randint(0, 256, (3, side, side), generator=g, dtype=torch.uint8) for g in generator]
        return torch.stack(pictures)

    flip = torch.tensor([row % 2 == 0 for row in rows])
    box = torch.zeros(len(rows), 4, dtype=torch.int16)
    return Batch(
        views={"roi": pixels(4), "extra_roi": pixels(2)},
        label=torch.tensor([max(0, row) % N_CLASSES for row in rows]),
        index=torch.tensor(rows),
        content_box={"roi": box, "extra_roi": box},
        flip={"roi": flip, "extra_roi": flip},
    )


def make_training(accelerator: Accelerator, dropout: float = 0.0, rate: float = 0.1) -> Training:
    torch.manual_seed(5)
    model = TwoViews(dropout)
    optimizer = torch.optim.SGD([{"params": model.parameters(), "peak_lr": rate, "role": "head"}], lr=rate)
    model, optimizer = accelerator.prepare(model, optimizer)
    schedule = Schedule(1000, 0, 0.0, 1000, "step")
    return Training(model, optimizer, accelerator, schedule, PREPARE, seed=3, log_every=2)


def run_steps(training: Training, steps: list[list[list[int]]], first_step: int = 0) -> dict[str, float]:
    means: dict[str, float] = {}

    def batches() -> Iterator[Batch]:
        for step in steps:
            for rows in step:
                yield make_batch(rows)

    plan = [[sum(row >= 0 for row in rows) for rows in step] for step in steps]
    meter = Meter(training.accelerator.device)
    train_one_epoch(training, batches(), plan, first_step, meter, lambda _, m: means.update(m), lambda: False)
    return means


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator(TrainConfig(device="cpu", precision="fp32"))


def weights_of(training: Training) -> Tensor:
    model = training.accelerator.unwrap_model(training.model)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_prepare_views_by_hand() -> None:
    batch = make_batch([0, 1])
    views = prepare_views(batch, SPECS)
    raw = batch.views["roi"].float() / 255
    expected = (raw - 0.5) / 0.25
    assert torch.allclose(views["roi"][0], expected[0].flip(-1), atol=1e-6)
    assert torch.allclose(views["roi"][1], expected[1], atol=1e-6)
    assert views["extra_roi"].max() <= 1


def test_one_step_is_the_gradient_step_of_the_mean_loss(accelerator: Accelerator) -> None:
    training = make_training(accelerator)
    model = training.accelerator.unwrap_model(training.model)
    weight, bias = model.linear.weight.detach().double().numpy(), model.linear.bias.detach().double().numpy()
    batch = make_batch([0, 1, 2, 3])
    views = prepare_views(batch, SPECS)
    x = torch.cat([views["roi"].flatten(1), views["extra_roi"].flatten(1)], 1).double().numpy()
    scores = x @ weight.T + bias
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    truth = np.eye(N_CLASSES)[batch.label.numpy()]
    expected = weight - 0.1 * (probabilities - truth).T @ x / 4
    means = run_steps(training, [[[0, 1, 2, 3]]])
    assert model.linear.weight.detach().numpy() == pytest.approx(expected, abs=1e-5)
    loss = -np.log((probabilities * truth).sum(1)).mean()
    assert means["loss"] == pytest.approx(loss, rel=1e-5)
    assert means["top1"] == pytest.approx((probabilities.argmax(1) == batch.label.numpy()).mean())


def test_unequal_micro_batches_weigh_by_their_pairs(accelerator: Accelerator) -> None:
    whole = make_training(accelerator)
    run_steps(whole, [[[0, 1, 2, 3, 4]], [[5, 6]]])
    parts = make_training(accelerator)
    run_steps(parts, [[[0, 1, 2, 3], [4]], [[5], [6]]])
    assert torch.allclose(weights_of(whole), weights_of(parts), atol=1e-6)


def test_padding_counts_nothing(accelerator: Accelerator) -> None:
    plain, padded = make_training(accelerator), make_training(accelerator)
    means = run_steps(plain, [[[0, 1]]])
    means_padded = run_steps(padded, [[[0, 1, -1]]])
    assert torch.allclose(weights_of(plain), weights_of(padded), atol=1e-7)
    assert means == pytest.approx(means_padded)


def test_dropout_depends_on_the_step_alone(accelerator: Accelerator) -> None:
    steps = [[[0, 1]], [[2, 3]], [[4, 5]]]
    straight = make_training(accelerator, dropout=0.5)
    run_steps(straight, steps)
    halted = make_training(accelerator, dropout=0.5)
    run_steps(halted, steps[:1])
    torch.manual_seed(999)
    torch.rand(17)
    run_steps(halted, steps[1:], first_step=1)
    assert torch.equal(weights_of(straight), weights_of(halted))
    other = make_training(accelerator, dropout=0.5)
    other.seed = 4
    run_steps(other, steps)
    assert not torch.equal(weights_of(straight), weights_of(other))


def test_first_non_finite_step_is_named(accelerator: Accelerator) -> None:
    training = make_training(accelerator)
    training.optimizer.param_groups[0]["peak_lr"] = 1e38
    with pytest.raises(RunError, match=r"not finite since optimiser step 12;"):
        run_steps(training, [[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]], first_step=10)


def test_stop_is_taken_at_a_step(accelerator: Accelerator) -> None:
    training = make_training(accelerator)
    asked = iter([False, True])
    meter = Meter(accelerator.device)
    batches = iter([make_batch([0, 1]), make_batch([2, 3]), make_batch([4, 5])])
    taken, stopped = train_one_epoch(
        training, batches, [[2], [2], [2]], 0, meter, lambda _steps, _means: None, lambda: next(asked)
    )
    assert (taken, stopped, meter.pairs) == (2, True, 4)


def test_class_weights_scale_each_pairs_loss(accelerator: Accelerator) -> None:
    plain, weighted = make_training(accelerator), make_training(accelerator)
    weighted.class_weights = torch.tensor([0.0, 2.0, 0.0])
    only_class_one = run_steps(plain, [[[1]]])["loss"]
    assert run_steps(weighted, [[[0, 1, 2, 3]]])["loss"] == pytest.approx(2 * only_class_one / 4, rel=1e-5)


def test_logits_come_in_index_order(accelerator: Accelerator) -> None:
    model = TwoViews().eval()
    rows = [3, 0, 2, 1]
    logits = compute_logits(model, [make_batch(rows[:3]), make_batch(rows[3:])], PREPARE, accelerator, 4, N_CLASSES)
    with torch.no_grad():
        expected = model(prepare_views(make_batch([0, 1, 2, 3]), SPECS)).numpy()
    assert logits == pytest.approx(expected, abs=1e-5)
    assert logits.dtype == np.float32
