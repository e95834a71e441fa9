import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from Off_the_shelfs.salience.choice import drawn_from_content, imbalance, noisy_weights, temperature_at

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def fixed_noise() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1, 50])
def test_rows_are_weights_and_every_logit_has_a_gradient(hard: bool, dtype: torch.dtype, scale: int) -> None:
    logits = (torch.tensor([-1.0, 1.0, 0.5, -0.2]) * scale).expand(64, 4).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
        weights = noisy_weights(logits, torch.tensor(2.0), hard=hard)
    assert weights.dtype == torch.float32
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(64))
    if hard:
        assert set(weights.flatten().tolist()) == {0.0, 1.0}
        assert (weights.amax(dim=1) == 1).all()
    (gradient,) = torch.autograd.grad((weights * torch.randn(64, 4)).sum(), logits)
    assert torch.isfinite(gradient).all()
    if scale == 1:
        assert (gradient != 0).all()


def test_hard_weights_have_the_gradient_of_soft_ones() -> None:
    logits, target = torch.randn(8, 5, requires_grad=True), torch.randn(8, 5)
    gradients = []
    for hard in (True, False):
        torch.manual_seed(3)
        weights = noisy_weights(logits, 0.7, hard=hard)
        gradients.append(torch.autograd.grad((weights * target).sum(), logits)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_views_are_chosen_as_often_as_softmax_says(temperature: float) -> None:
    """Whatever the temperature: chi-square with 5 degrees of freedom, whose 99.9 % point is 20.5."""
    logits = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    count = 20_000
    weights = noisy_weights(logits.expand(count, 6), temperature, hard=True)
    expected = logits.softmax(dim=0) * count
    assert float(((weights.sum(dim=0) - expected) ** 2 / expected).sum()) < 20.5


def test_weights_tend_to_one_hot_as_the_temperature_falls() -> None:
    mean_of_largest = [
        float(noisy_weights(torch.zeros(500, 6), t, hard=False).amax(1).mean()) for t in (5, 1, 0.1, 1e-3)
    ]
    assert mean_of_largest == sorted(mean_of_largest)
    assert mean_of_largest[0] < 0.35
    assert mean_of_largest[-1] > 0.999


def test_the_temperature_falls_geometrically() -> None:
    assert [temperature_at(done, 2.0, 0.5) for done in (0, 0.5, 1, 1.2)] == pytest.approx([2.0, 1.0, 0.5, 0.5])


def test_imbalance_is_0_for_equal_use_and_log_v_for_one_view() -> None:
    sure = 200 * torch.eye(6)
    assert float(imbalance(sure)) == pytest.approx(0, abs=1e-6)
    assert float(imbalance(torch.zeros(3, 6))) == pytest.approx(0, abs=1e-6)
    assert float(imbalance(sure[:1].expand(4, 6))) == pytest.approx(math.log(6), abs=1e-6)


def test_imbalance_drives_a_collapsed_batch_apart_and_is_finite_at_its_limit() -> None:
    logits = torch.tensor([[3.0, 0, 0, 0], [3.0, 0, 0, 0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(imbalance(logits), logits)
    assert (gradient[:, 0] > 0).all()  # a step against it lowers the logit of the view that is used too much
    assert (gradient[:, 1:] < 0).all()
    extreme = torch.tensor([[500.0, 0, -500.0]], requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(imbalance(extreme), extreme)[0]).all()


def draws(pictures: Tensor, views: int = 6) -> Tensor:
    return drawn_from_content(pictures, *PLAIN, views)


def test_a_draw_from_content_is_the_same_whatever_the_seed_the_batch_and_its_order() -> None:
    pictures = torch.randint(0, 256, (40, 3, 9, 9)) / 255
    first = draws(pictures)
    torch.manual_seed(1)
    assert torch.equal(draws(pictures), first)
    assert torch.equal(draws(pictures.flip(0)), first.flip(0))
    assert torch.equal(torch.cat([draws(one) for one in torch.split(pictures, 1)]), first)
    layout = pictures.to(memory_format=torch.channels_last)
    assert torch.equal(draws(layout), first)


def test_a_draw_from_content_survives_rounding_of_the_normalisation() -> None:
    pixels = torch.randint(0, 256, (40, 3, 9, 9)) / 255
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalised = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.equal(drawn_from_content(normalised, mean, std, 6), draws(pixels))


def test_draws_from_content_are_equally_frequent() -> None:
    """For noise, and for black pictures that differ in a single pixel; 99.9 % point of chi-square as above."""
    noise = torch.randint(0, 256, (3000, 3, 6, 6)) / 255
    spots = F.one_hot(torch.arange(3 * 32 * 32), 3 * 32 * 32).view(-1, 3, 32, 32) * (200 / 255)
    for pictures in (noise, spots):
        counts = torch.bincount(draws(pictures), minlength=6)
        expected = len(pictures) / 6
        assert float(((counts - expected) ** 2 / expected).sum()) < 20.5
