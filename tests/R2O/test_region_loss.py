"""The loss of regions against numbers worked by hand and a slow formula in loops."""

import math

import pytest
import torch
from torch import Tensor

from R2O.loss import present_in_both, region_loss, region_weights, spread


@pytest.mark.parametrize(
    ("other", "expected"),
    [((3.0, 4.0), 0.0), ((-4.0, 3.0), 2.0), ((-3.0, -4.0), 4.0)],
    ids=["same", "right", "opposite"],
)
def test_equal_orthogonal_and_opposite_vectors(other: tuple[float, float], expected: float) -> None:
    loss = region_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([other]), torch.ones(1))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def slow_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> float:
    total, summed = 0.0, 0.0
    for ours, theirs, weight in zip(predicted.tolist(), target.tolist(), weights.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(ours, theirs, strict=True))
        lengths = math.sqrt(sum(a * a for a in ours)) * math.sqrt(sum(b * b for b in theirs))
        summed += weight * (2 - 2 * dot / lengths)
        total += weight
    return summed / total


@pytest.fixture
def vectors() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    predicted, target = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)
    return predicted, target, torch.tensor([1.0, 0.0, 2.5, 0.25, 0.0, 1.0, 3.0])


def test_the_loss_is_the_weighted_mean_of_two_minus_two_cosines(vectors: tuple[Tensor, Tensor, Tensor]) -> None:
    assert region_loss(*vectors).item() == pytest.approx(slow_loss(*vectors), abs=1e-6)


def test_lengths_sides_and_the_unit_of_weights_do_not_matter(vectors: tuple[Tensor, Tensor, Tensor]) -> None:
    predicted, target, weights = vectors
    expected = region_loss(predicted, target, weights)
    for changed in (
        (17.0 * predicted, 0.01 * target, weights),
        (target, predicted, weights),
        (predicted, target, 5 * weights),
    ):
        torch.testing.assert_close(region_loss(*changed), expected)


def test_only_the_predicted_side_learns_and_only_where_a_weight_stands(vectors: tuple[Tensor, Tensor, Tensor]) -> None:
    predicted, target, weights = vectors
    predicted.requires_grad_()
    target.requires_grad_()
    torch.autograd.backward(region_loss(predicted, target, weights))
    assert target.grad is None
    assert predicted.grad is not None
    assert (predicted.grad.abs().sum(dim=1) > 0).tolist() == (weights > 0).tolist()


def test_without_weights_the_loss_is_zero_and_teaches_nothing() -> None:
    predicted = torch.randn(3, 5, requires_grad=True)
    loss = region_loss(predicted, torch.randn(3, 5), torch.zeros(3))
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert predicted.grad is not None
    assert not predicted.grad.any()


def test_it_is_computed_in_fp32_under_autocast(vectors: tuple[Tensor, Tensor, Tensor]) -> None:
    predicted, target, weights = vectors
    # Lengths whose squares are beyond fp16; powers of two, so that halves keep every bit.
    ours, theirs = predicted.half() * 2**12, target.half() * 2**-8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = region_loss(ours, theirs, weights)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_loss(ours, theirs, weights), abs=1e-6)


AREA_1, AREA_2 = torch.tensor([[4.0, 0.0, 1.0, 0.0]]), torch.tensor([[2.0, 3.0, 0.5, 0.0]])


def test_a_region_counts_where_both_views_have_it() -> None:
    assert present_in_both(AREA_1, AREA_2).tolist() == [[True, False, True, False]]
    slivers = torch.tensor([[0.0011, 0.0009]])
    assert present_in_both(slivers, torch.ones(1, 2)).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("overlap", "by_area", "expected"),
    [
        (True, False, [1.0, 0.0, 1.0, 0.0]),
        (True, True, [3.0, 0.0, 0.75, 0.0]),
        (False, False, [1.0, 1.0, 1.0, 1.0]),
        (False, True, [3.0, 1.5, 0.75, 0.0]),
    ],
)
def test_weights_of_regions(overlap: bool, by_area: bool, expected: list[float]) -> None:
    assert region_weights(AREA_1, AREA_2, overlap=overlap, by_area=by_area).tolist() == [expected]


def test_spread_is_one_without_a_preferred_direction_and_zero_for_one_point() -> None:
    torch.manual_seed(0)
    directions = torch.randn(4000, 64)
    assert spread(directions, torch.ones(4000)).item() == pytest.approx(1.0, abs=0.02)
    assert spread(directions[:1].expand(50, 64), torch.ones(50)).item() == pytest.approx(0.0, abs=1e-6)


def test_spread_by_hand_and_only_of_what_counts() -> None:
    # Axis 1 holds 1 and 0: deviation 1/2; axis 2 holds 0 and 1: the same. Times the root of two.
    vectors = torch.tensor([[5.0, 0.0], [0.0, 0.1], [-7.0, 7.0]])
    assert spread(vectors, torch.tensor([1.0, 3.0, 0.0])).item() == pytest.approx(math.sqrt(2) / 2)
