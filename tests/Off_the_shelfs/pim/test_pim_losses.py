"""The four losses and the measures, against numbers worked by hand and slow loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from Off_the_shelfs.pim.config import PimLossConfig
from Off_the_shelfs.pim.losses import dropped_loss, pim_losses
from Off_the_shelfs.pim.measures import highest_sums, pim_measures
from Off_the_shelfs.pim.module import LevelFinding
from Off_the_shelfs.pim.selector import rank_positions
from utils.errors import ConfigError


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def level(logits: Tensor, n_kept: int) -> LevelFinding:
    return LevelFinding(logits, rank_positions(logits), n_kept, (1, logits.shape[1]))


def criterion(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


# Two pictures, three positions, two classes; one position is kept.
HAND = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
LABEL = torch.tensor([0, 1])


def test_losses_worked_by_hand() -> None:
    """Kept: of the first picture the last position (margin 2, for class 1), of the second the first (3, class 0)."""
    found = level(HAND, 1)
    assert found.order.tolist() == [[2, 0, 1], [0, 1, 2]]
    only = {"blocks": 0.0, "selected": 0.0, "dropped": 0.0}
    blocks = pim_losses([found], LABEL, criterion, PimLossConfig(**only | {"blocks": 1.0}))
    # Mean logits (1/3, 2/3) with label 0, and (1, 0) with label 1.
    assert blocks.tolist() == pytest.approx([math.log(1 + math.exp(1 / 3)), math.log(1 + math.e)])
    selected = pim_losses([found], LABEL, criterion, PimLossConfig(**only | {"selected": 1.0}))
    assert selected.tolist() == pytest.approx([math.log(1 + math.exp(2)), math.log(1 + math.exp(3))])
    dropped = pim_losses([found], LABEL, criterion, PimLossConfig(**only | {"dropped": 1.0}))
    # Four numbers of each picture: tanh 1 and three zeros, and four zeros.
    assert dropped.tolist() == pytest.approx([((math.tanh(1) + 1) ** 2 + 3) / 4, 1.0])
    total = pim_losses([found, found], LABEL, criterion, PimLossConfig(blocks=0.5, selected=0.25, dropped=5.0))
    assert total.tolist() == pytest.approx((2 * (0.5 * blocks + 0.25 * selected + 5.0 * dropped)).tolist())


def test_logits_of_zero_and_far_below() -> None:
    zeros = level(torch.zeros(2, 6, 5), 2)
    losses = pim_losses([zeros], LABEL, criterion, PimLossConfig(blocks=1.0, dropped=0.0))
    assert losses.tolist() == pytest.approx([math.log(5)] * 2)
    assert dropped_loss(torch.zeros(2, 4, 5)).tolist() == [1.0, 1.0]
    assert dropped_loss(torch.full((2, 4, 5), -50.0)).tolist() == [0.0, 0.0]
    assert dropped_loss(torch.full((2, 4, 5), 50.0)).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("n_kept", [0, 6])
def test_a_term_of_no_positions_is_zero(n_kept: int) -> None:
    logits = torch.randn(2, 6, 5, requires_grad=True)
    found = level(logits, n_kept)
    losses = pim_losses([found], LABEL, criterion, PimLossConfig(blocks=1.0, selected=1.0, dropped=1.0))
    torch.autograd.backward(losses.sum())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    others = criterion(logits.mean(1), LABEL)
    rows = [criterion(picture, label.expand(6)).mean() for picture, label in zip(logits, LABEL, strict=True)]
    others = others + (torch.stack(rows) if n_kept else (logits.tanh() + 1).square().mean(dim=(1, 2)))
    torch.testing.assert_close(losses, others)


@pytest.mark.parametrize("gone", ["blocks", "selected", "dropped"])
def test_a_term_of_weight_zero_leaves_the_others_as_they_are_to_the_bit(gone: str) -> None:
    found, weights = [level(torch.randn(2, 6, 5), 2)], {"blocks": 0.5, "selected": 0.25, "dropped": 5.0}
    without = pim_losses(found, LABEL, criterion, PimLossConfig(**weights | {gone: 0.0}))
    others = torch.zeros(2)
    for name in weights:
        if name != gone:
            zeros = dict.fromkeys(weights, 0.0)
            others = others + pim_losses(found, LABEL, criterion, PimLossConfig(**zeros | {name: weights[name]}))
    assert torch.equal(without, others)


def test_losses_are_in_full_precision_whatever_the_logits_are() -> None:
    logits = torch.randn(2, 6, 5).bfloat16()
    weights = PimLossConfig(selected=1.0)
    losses = pim_losses([level(logits, 2)], LABEL, criterion, weights)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, pim_losses([level(logits.float(), 2)], LABEL, criterion, weights))


def test_label_smoothing_reaches_the_levels() -> None:
    """Of e, the part e is spread over the K classes: a term is (1 - e) CE(y) + e mean over classes of CE."""
    found, weights = [level(torch.randn(2, 6, 5), 2)], PimLossConfig(selected=1.0, dropped=0.0)

    def smoothed(logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits, label, reduction="none", label_smoothing=0.2)

    every = [pim_losses(found, torch.full((2,), one), criterion, weights) for one in range(5)]
    expected = 0.8 * pim_losses(found, LABEL, criterion, weights) + 0.2 * torch.stack(every).mean(dim=0)
    torch.testing.assert_close(pim_losses(found, LABEL, smoothed, weights), expected)


def test_a_weight_of_zero_of_the_models_own_logits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pim\.loss\.combiner is 0, but nothing else trains .*; set it above 0"):
        PimLossConfig(combiner=0.0)


def slow_highest(logits: Tensor, count: int) -> Tensor:
    rows = []
    for picture in logits:
        heads = sorted((F.softmax(head, dim=0) for head in picture), key=lambda head: -head.max().item())
        rows.append(torch.stack(heads[:count]).sum(dim=0))
    return torch.stack(rows)


def test_ensembles_are_of_the_surest_of_each_picture() -> None:
    logits = torch.randn(5, 4, 6)
    sums = highest_sums(logits)
    for count in range(1, 5):
        torch.testing.assert_close(sums[:, count - 1], slow_highest(logits, count))
    torch.testing.assert_close(sums[:, -1], logits.softmax(-1).sum(1))  # all of them, in whatever order
    surest = logits.softmax(-1).amax(-1).argmax(1)
    torch.testing.assert_close(sums[:, 0], logits.softmax(-1)[torch.arange(5), surest])


def test_measures_are_those_of_loops_over_pictures_and_positions() -> None:
    levels = [level(torch.randn(7, 9, 4), 3), level(torch.randn(7, 4, 4), 4), level(torch.randn(7, 4, 4), 0)]
    logits, label = torch.randn(7, 4), torch.arange(7) % 4
    found = pim_measures(levels, logits, label)
    heads = torch.stack([*(each.logits.mean(1) for each in levels), logits], dim=1)
    scores = {f"level_{n}": each.logits.mean(1) for n, each in enumerate(levels, start=1)} | {"combiner": logits}
    scores |= {f"highest_{count}": slow_highest(heads, count) for count in range(1, 5)}
    expected = {}
    for name, values in scores.items():
        for size in (1, 3):
            best = [sorted(range(4), key=row.tolist().__getitem__)[-size:] for row in values]
            expected[f"{name}/top{size}"] = [
                float(right in top) for right, top in zip(label.tolist(), best, strict=True)
            ]
    for number, each in enumerate(levels, start=1):
        for name, rows in (("kept", each.kept_logits), ("dropped", each.dropped_logits)):
            for size in (1, 3) if rows.shape[1] else ():
                expected[f"{name}_{number}/top{size}"] = [
                    sum(right in row.topk(size).indices.tolist() for row in picture) / len(picture)
                    for right, picture in zip(label.tolist(), rows, strict=True)
                ]
    assert set(found) == set(expected)
    assert not {"dropped_2/top1", "kept_3/top1"} & set(found)  # there are no such positions
    for name, numbers in expected.items():
        assert found[name].tolist() == pytest.approx(numbers), name


def test_two_classes_have_no_top3() -> None:
    found = pim_measures([level(HAND, 1)], torch.tensor([[0.0, 1.0], [0.0, 1.0]]), LABEL)
    assert {name.partition("/")[2] for name in found} == {"top1"}
    assert found["level_1/top1"].tolist() == [0.0, 0.0]
    assert found["dropped_1/top1"].tolist() == [1.0, 0.0]  # of equal logits the first class counts as highest
