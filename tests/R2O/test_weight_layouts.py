"""Names of weights in other libraries, against torchvision's own model and a table of detectron2's names."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor

from R2O.config import R2OModelConfig
from R2O.layouts import (
    detectron2_key,
    from_detectron2,
    from_torchvision,
    pickled,
    shared_name,
    timm_key,
    to_detectron2,
    to_torchvision,
)
from R2O.trunk import Trunk, build_trunk
from utils.errors import ConfigError

# Worked out by hand after detectron2's tool for torchvision's weights.
NAMES = {
    "conv1.weight": "stem.conv1.weight",
    "bn1.running_mean": "stem.conv1.norm.running_mean",
    "bn1.num_batches_tracked": "stem.conv1.norm.num_batches_tracked",
    "layer1.0.conv1.weight": "res2.0.conv1.weight",
    "layer1.2.bn3.bias": "res2.2.conv3.norm.bias",
    "layer2.0.downsample.0.weight": "res3.0.shortcut.weight",
    "layer4.0.downsample.1.running_var": "res5.0.shortcut.norm.running_var",
    "layer3.22.bn2.weight": "res4.22.conv2.norm.weight",
}


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    """A resnet18 whose every tensor differs from a fresh one."""
    torch.manual_seed(0)
    trunk = build_trunk(R2OModelConfig(backbone="resnet18"), 64)
    with torch.no_grad():
        for tensor in trunk.model.state_dict().values():
            tensor.add_(1) if not tensor.is_floating_point() else tensor.mul_(1 + 0.1 * torch.rand(tensor.shape))
    return trunk.eval()


def weights_on_meta(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    return dict(model.state_dict())


def test_torchvision_takes_all_but_its_classifier_and_computes_the_same(trunk: Trunk) -> None:
    theirs: Any = torchvision.models.resnet18()
    missing, unexpected = theirs.load_state_dict(to_torchvision(trunk.model.state_dict()), strict=False)
    assert missing == ["fc.weight", "fc.bias"]
    assert unexpected == []
    theirs.eval()
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(pictures))))
        third = theirs.layer3(theirs.layer2(theirs.layer1(x)))
        fourth = theirs.layer4(third)
        for ours, expected in ((trunk.clustered(pictures), third), (trunk(pictures), fourth)):
            assert expected.abs().max() > 0.1
            assert (ours - expected).abs().max() < 1e-6 * expected.abs().max()


def test_torchvisions_own_weights_come_back_without_classifier(trunk: Trunk) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    back = from_torchvision(theirs)
    assert back.keys() == trunk.model.state_dict().keys()
    assert to_torchvision(back).keys() == theirs.keys() - {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_detectron2s_names_are_one_to_one(name: str) -> None:
    keys = list(weights_on_meta(name))
    renamed = [detectron2_key(key) for key in keys]
    assert len(set(renamed)) == len(keys)
    assert [timm_key(key) for key in renamed] == keys
    assert {key.partition(".")[0] for key in renamed} == {"stem", "res2", "res3", "res4", "res5"}


@pytest.mark.parametrize("key", NAMES)
def test_detectron2s_names_are_those_of_its_tool(key: str) -> None:
    assert detectron2_key(key) == NAMES[key]
    assert timm_key(NAMES[key]) == key


class _ArraysAlone(pickle.Unpickler):
    """Reads pickles of dictionaries of arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # as its base class
        assert module.startswith("numpy") or (module, name) == ("_codecs", "encode"), (module, name)
        return super().find_class(module, name)


def test_detectron2s_file_holds_arrays_and_how_to_read_them(trunk: Trunk) -> None:
    state = trunk.model.state_dict()
    content = _ArraysAlone(io.BytesIO(pickled(to_detectron2(state)))).load()
    assert content.keys() == {"model", "__author__", "matching_heuristics"}
    assert content["__author__"] == "torchvision"
    assert content["matching_heuristics"] is True
    assert all(isinstance(array, np.ndarray) for array in content["model"].values())
    back = from_detectron2(content["model"])
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) and back[key].dtype == state[key].dtype for key in state)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_networks_of_both_libraries_are_known_by_their_shapes(name: str) -> None:
    weights = weights_on_meta(name)
    assert shared_name(weights, None, "it") == name
    assert shared_name(weights, f"{name}.some_tag", "it") == name


@pytest.mark.parametrize("layout", [to_torchvision, to_detectron2])
@pytest.mark.parametrize("name", ["resnet18d", "resnetaa50", "test_resnet", "test_vit"])
def test_other_networks_are_refused(layout: Callable[..., Any], name: str) -> None:
    """A resnetaa50 has the shapes of a resnet50 and computes something else."""
    with pytest.raises(ConfigError, match=rf"it is a {name}; the layouts .* resnet18.*--layout timm"):
        layout(weights_on_meta(name), name, "it")


def test_weights_of_another_network_are_refused() -> None:
    weights = weights_on_meta("resnet18")
    with pytest.raises(ConfigError, match=r"it is not what a resnet34 holds: 96 tensors .*layer1\.2\.bn1\.bias"):
        to_torchvision(weights, "resnet34", "it")
    weights["projector.0.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match="it is no ResNet of torchvision's"):
        to_torchvision(weights, None, "it")
