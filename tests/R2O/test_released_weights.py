"""The authors' checkpoints: a file built as their code writes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from Off_the_shelfs.weights import read_weights
from R2O.layouts import to_torchvision
from R2O.released import Network, trunk_of
from utils.errors import ConfigError


def head(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, width_out))


class Half(nn.Module):
    """One of the two networks, with the spelling of its parts."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*list(resnet.children())[:-2])
        self.projetion = head(512, 4)


class Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predictor = head(4, 4)


@pytest.fixture(scope="module")
def resnets() -> dict[str, nn.Module]:
    return {name: torchvision.models.resnet18() for name in ("online", "target")}


@pytest.fixture(scope="module")
def released(resnets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the extractor that registered itself, numbers of NumPy, and the wrapper of a process group."""
    model = nn.Module()
    model.online_network, model.target_network = Half(resnets["online"]), Half(resnets["target"])
    model.predictor = Predictor()
    model._fpn = nn.Sequential(*list(model.target_network.encoder)[:7])
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    assert any(key.startswith("module._fpn.") for key in state)
    optimizer = {"state": {}, "param_groups": [{"lr": np.float64(1.2), "momentum": 0.9, "params": [0]}]}
    content = {"config": {"model": {"backbone": {"type": "resnet18"}}}, "epoch": 300, "steps": 93600}
    path = tmp_path_factory.mktemp("released") / "r2o.pth.tar"
    torch.save({**content, "model": state, "optimizer": optimizer, "amp": {"loss_scaler0": {"scale": 1.0}}}, path)
    return path


@pytest.mark.parametrize("network", ["online", "target"])
def test_the_chosen_trunk_comes_out_and_nothing_else(
    released: Path, resnets: dict[str, nn.Module], network: Network
) -> None:
    found = trunk_of(read_weights(str(released), "photo").tensors, network, "it")
    expected = {key: tensor for key, tensor in resnets[network].state_dict().items() if not key.startswith("fc.")}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert to_torchvision(found).keys() == expected.keys()


def test_torch_by_itself_refuses_its_numbers(released: Path) -> None:
    """The reason for a list of plain things that may be read; if this fails, it can go."""
    with pytest.raises(Exception, match="numpy"):
        torch.load(released, weights_only=True)


def test_code_in_such_a_file_is_not_run(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "ran",)

    path = tmp_path / "r2o.pth.tar"
    torch.save({"model": {"module.online_network.encoder.0.weight": torch.zeros(1)}, "lr": Code()}, path)
    with pytest.raises(ConfigError, match=r"would run code when they are read .*, which is refused"):
        read_weights(str(path), "photo")
    assert not (tmp_path / "ran").exists()


def some(*keys: str) -> dict[str, Tensor]:
    return dict.fromkeys(keys, torch.zeros(1))


def test_a_checkpoint_of_ours_holds_both_networks() -> None:
    tensors = some("online.trunk.model.conv1.weight", "online.projector.0.weight", "target.trunk.model.conv1.weight")
    assert trunk_of(tensors, "online", "it").keys() == {"conv1.weight"}
    assert trunk_of(tensors, "target", "it").keys() == {"conv1.weight"}


def test_a_trunk_alone_stays_as_it_is() -> None:
    tensors = some("conv1.weight", "layer1.0.bn1.bias")
    assert trunk_of(tensors, "online", "it") == tensors


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"it holds a trunk alone.*leave --network out"):
        trunk_of(some("conv1.weight"), "target", "it")
    with pytest.raises(ConfigError, match="it holds no target network"):
        trunk_of(some("online_network.encoder.0.weight"), "target", "it")
    with pytest.raises(ConfigError, match=r"it has the layer encoder\.8, .* only ResNets are read"):
        trunk_of(some("online_network.encoder.8.weight"), "online", "it")
