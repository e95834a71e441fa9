"""What the selector learns from the classifier's loss alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from Off_the_shelfs.salience.model import SalienceClassifier

if TYPE_CHECKING:
    from tests.Off_the_shelfs.salience.conftest import Build, Toy

PAIRS = 32


class Brightness(nn.Module):
    """A classifier that is the surer of class 0 the brighter its picture is; nothing in it learns."""

    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean(dim=(1, 2, 3))
        return torch.stack([20 * light, torch.full_like(light, 20 * 0.25)], dim=1)


def train(model: SalienceClassifier, pictures: Tensor, label: Tensor, steps: int, rate: float = 1e-2) -> None:
    """Train with AdamW; the rate rises over ten steps and falls to 0."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    for step in range(steps):
        model.train().set_progress(step / (steps - 1))
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
        rows = torch.randint(0, len(label), (PAIRS,))
        output = model({"photo": pictures[rows]})
        losses = model.losses(output, label[rows], lambda x, y: F.cross_entropy(x, y, reduction="none"))
        optimizer.zero_grad()
        torch.autograd.backward(losses.mean())
        optimizer.step()
    model.eval()


def test_the_selector_finds_the_view_that_a_fixed_classifier_reads(
    build_around: "Build", toy: "Callable[[int, int], Toy]"
) -> None:
    """Its sole signal is the loss; the classifier has no weights, and the square is brightest where it is largest."""
    torch.manual_seed(0)
    model = build_around(Brightness())
    model.head = nn.Identity()
    known, unknown = toy(256, 0), toy(256, 1)
    train(model, known.pictures, torch.zeros_like(known.label), 50)
    with torch.no_grad():
        choice = model.look(unknown.pictures).choice
    assert float((choice == unknown.view).float().mean()) > 0.9


@pytest.mark.parametrize("weights", ["straight_through", "soft"])
def test_selector_and_classifier_learn_together_where_to_look(
    build_around: "Build",
    small_convolutions: Callable[[], nn.Module],
    toy: "Callable[[int, int], Toy]",
    soak: bool,
    weights: str,
) -> None:
    """The class shows in one corner at full resolution only: learned is near the oracle, the controls near chance."""
    if weights == "soft" and not soak:
        pytest.skip("with --soak")
    for seed in range(3 if soak else 1):
        torch.manual_seed(seed)
        model = build_around(small_convolutions(), training_weights=weights)
        known, unknown = toy(512, seed), toy(256, 99 + seed)
        train(model, known.pictures, known.label, 150 if soak else 120)
        with torch.no_grad():
            measures = model.measures({"photo": unknown.pictures}, unknown.label)
            choice = model.look(unknown.pictures).choice
        learned, oracle, chance, whole = (
            float(measures[f"{name}/top1"].mean()) for name in ("learned", "oracle", "random", "whole")
        )
        assert float((choice == unknown.view).float().mean()) > 0.9
        assert oracle >= learned > 0.95 * oracle
        assert max(chance, whole) < 0.75
