"""LARS: steps worked out with the authors' code, and which parameters take part."""

import io

import pytest
import timm.optim
import torch
from torch import Tensor, nn

from R2O.config import FidelityConfig, PretrainConfig
from R2O.lars import Lars, make_pretrain_optimizer
from utils.errors import ConfigError

RATES = (0.0, 0.5, 1.0, 0.25)
ADAPTIVE = [(3, 4), (2.9985, 3.998), (2.9941515, 3.992202), (2.9894893, 3.9859857)]
EXCLUDED = [(3, 4), (2.7, 3.6), (1.83, 2.44), (0.897, 1.196)]
CLEAN = FidelityConfig()


def four_steps(optimizer: torch.optim.Optimizer, weight: Tensor) -> list[tuple[float, ...]]:
    found = []
    for rate in RATES:
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad = torch.tensor([0.6, 0.8], device=weight.device)
        optimizer.step()
        found.append(tuple(weight.tolist()))
    return found


def start(device: str = "cpu") -> nn.Parameter:
    return nn.Parameter(torch.tensor([3.0, 4.0], device=device))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU"))])  # fmt: skip
def test_steps_are_those_of_the_authors(device: str) -> None:
    weight = start(device)
    found = four_steps(Lars([weight], 0.0, weight_decay=1e-2), weight)
    assert torch.tensor(found).sub(torch.tensor(ADAPTIVE)).abs().max() < 1e-6
    vector = start(device)
    found = four_steps(Lars([{"params": [vector], "adaptive": False}], 0.0), vector)
    assert torch.tensor(found).sub(torch.tensor(EXCLUDED)).abs().max() < 1e-6


def test_that_of_timm_weighs_a_changing_rate_otherwise() -> None:
    """The reason for a class of our own; if this fails, timm's may do."""
    weight = start()
    theirs = timm.optim.create_optimizer_v2([weight], opt="lars", lr=1.0, momentum=0.9, weight_decay=1e-2)
    found = torch.tensor(four_steps(theirs, weight))
    assert found.sub(torch.tensor(ADAPTIVE)).abs().max() > 1e-3


@pytest.mark.parametrize(("weight", "gradient"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_zero_weights_and_gradients_stay_finite(weight: list[float], gradient: list[float], decay: float) -> None:
    parameter = nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor(gradient)
    Lars([parameter], 0.5, weight_decay=decay).step()
    norm = torch.tensor(weight).norm()
    local = 1e-3 * norm / (decay * norm) if norm and decay else 1.0
    expected = torch.tensor(weight) - 0.5 * local * (torch.tensor(gradient) + decay * torch.tensor(weight))
    assert torch.allclose(parameter.detach(), expected)


def test_parameters_without_gradient_stay() -> None:
    still, moved = start(), start()
    moved.grad = torch.ones(2)
    optimizer = Lars([still, moved], 0.1)
    optimizer.step()
    assert still.tolist() == [3, 4]
    assert still not in optimizer.state


def test_a_closure_runs_with_gradients() -> None:
    weight = start()

    def closure() -> float:
        loss = (weight**2).sum()
        (weight.grad,) = torch.autograd.grad(loss, weight)
        return loss.item()

    assert Lars([weight], 0.1).step(closure) == 25.0
    assert weight.tolist() != [3, 4]


def test_going_on_from_a_saved_state_changes_no_bit() -> None:
    def train(optimizer: torch.optim.Optimizer, weight: Tensor, steps: range) -> None:
        for step in steps:
            weight.grad = torch.full((2,), float(step + 1))
            optimizer.step()

    whole = start()
    train(Lars([whole], 0.3, weight_decay=1e-2), whole, range(4))

    first = start()
    half = Lars([first], 0.3, weight_decay=1e-2)
    train(half, first, range(2))
    file = io.BytesIO()
    torch.save(half.state_dict(), file)
    file.seek(0)
    second = nn.Parameter(first.detach().clone())
    again = Lars([second], 9.9)
    again.load_state_dict(torch.load(file))
    train(again, second, range(2, 4))
    assert second.tolist() == whole.tolist()


class Trunk(nn.Module):
    """Some kinds of parameters below the name ``model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
        self.model.append(nn.BatchNorm2d(4))
        self.model.add_module("frozen", nn.Linear(2, 2).requires_grad_(requires_grad=False))


def parts() -> tuple[Trunk, list[nn.Module]]:
    return Trunk(), [nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.Linear(8, 2)]


def names_of(optimizer: torch.optim.Optimizer, trunk: Trunk, heads: list[nn.Module]) -> dict[str, dict[str, object]]:
    """Return the settings of each parameter by its name."""
    named = {"trunk": trunk, **{f"head{i}": head for i, head in enumerate(heads)}}
    by_id = {id(p): f"{key}.{name}" for key, part in named.items() for name, p in part.named_parameters()}
    keys = ("role", "peak_lr", "weight_decay", "adaptive")
    return {
        by_id[id(p)]: {key: group.get(key) for key in keys} for group in optimizer.param_groups for p in group["params"]
    }


MATRICES = {"trunk.model.0.weight", "trunk.model.2.weight", "head0.0.weight", "head1.weight"}


def test_exactly_what_has_one_axis_is_excluded() -> None:
    trunk, heads = parts()
    optimizer = make_pretrain_optimizer(PretrainConfig(batch_size=512), trunk, heads, CLEAN)
    assert isinstance(optimizer, Lars)
    found = names_of(optimizer, trunk, heads)
    assert len(found) == 13  # the frozen layer takes no part
    assert not any("frozen" in name for name in found)
    for name, settings in found.items():
        matrix = name in MATRICES
        assert settings["adaptive"] is matrix, name
        assert settings["weight_decay"] == (1e-6 if matrix else 0.0), name
        assert settings["role"] == ("backbone" if name.startswith("trunk") else "head"), name
        assert settings["peak_lr"] == pytest.approx(0.6), name


def test_the_switch_takes_the_scale_of_the_stem_alone() -> None:
    trunk, heads = parts()
    train = PretrainConfig()
    clean = names_of(make_pretrain_optimizer(train, trunk, heads, CLEAN), trunk, heads)
    faithful = make_pretrain_optimizer(train, trunk, heads, FidelityConfig(stem_bn_in_lars=True))
    found = names_of(faithful, trunk, heads)
    assert [name for name in found if found[name] != clean[name]] == ["trunk.model.1.weight"]
    assert found["trunk.model.1.weight"]["adaptive"] is True


def test_the_switch_without_what_it_changes_is_refused() -> None:
    trunk, heads = parts()
    faithful = FidelityConfig(stem_bn_in_lars=True)
    with pytest.raises(ConfigError, match="the backbone has no BatchNorm"):
        make_pretrain_optimizer(PretrainConfig(), nn.Linear(2, 2), heads, faithful)
    with pytest.raises(ConfigError, match=r"train\.optimizer adamw does not read"):
        make_pretrain_optimizer(PretrainConfig(optimizer="adamw"), trunk, heads, faithful)


def test_any_optimiser_of_timm_without_decay_of_biases_and_normalisation() -> None:
    trunk, heads = parts()
    optimizer = make_pretrain_optimizer(PretrainConfig(optimizer="adamw", weight_decay=0.05), trunk, heads, CLEAN)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = names_of(optimizer, trunk, heads)
    assert {name for name, settings in found.items() if settings["weight_decay"] == 0.05} == MATRICES
    assert len(found) == 13
    assert {settings["role"] for settings in found.values()} == {"backbone", "head"}
    assert all(settings["peak_lr"] == pytest.approx(0.3 * 32 / 256) for settings in found.values())


def test_an_unknown_optimiser_names_its_neighbours() -> None:
    trunk, heads = parts()
    with pytest.raises(ConfigError, match=r"train\.optimizer 'larz' is not .*'lars'"):
        make_pretrain_optimizer(PretrainConfig(optimizer="larz"), trunk, heads, CLEAN)
