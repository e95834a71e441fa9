from functools import partial

import pytest
import torch
from torch import Tensor, nn

from utils.batch import Batch, ViewSpec, prepare_views
from utils.devices import make_accelerator
from utils.recalibration import recalibrate
from utils.sections import TrainConfig

SPECS = {"roi": ViewSpec(4, (0.0,) * 3, (1.0,) * 3)}


class Normalised(nn.Module):
    """BatchNorm on the pixels, a frozen one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3, momentum=0.1)
        self.drop = nn.Dropout(0.9)
        self.frozen = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> "Normalised":
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        result: Tensor = self.frozen(self.drop(self.first(views["roi"])))
        return result


def test_statistics_are_the_plain_average_over_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (5, 3, 4, 4), generator=generator, dtype=torch.uint8) for _ in range(4)]
    batches = [
        Batch({"roi": p}, torch.zeros(5).long(), torch.arange(5), {}, {"roi": torch.zeros(5).bool()}) for p in pixels
    ]
    model = Normalised().eval()
    state = torch.get_rng_state()
    recalibrate(model, batches, partial(prepare_views, specs=SPECS), make_accelerator(TrainConfig(device="cpu")))
    values = [(p.double() / 255).transpose(0, 1).flatten(1) for p in pixels]
    mean = torch.stack([v.mean(dim=1) for v in values]).mean(dim=0)
    variance = torch.stack([v.var(dim=1) for v in values]).mean(dim=0)
    assert model.first.running_mean is not None
    assert model.first.running_var is not None
    assert model.first.running_mean.tolist() == pytest.approx(mean.tolist(), rel=1e-5)
    assert model.first.running_var.tolist() == pytest.approx(variance.tolist(), rel=1e-5)
    assert model.frozen.running_mean is not None
    assert model.frozen.running_mean.tolist() == [0, 0, 0]
    assert model.first.momentum == 0.1
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
