"""Weights of ResNets under the names that other libraries have for them: torchvision, MMSegmentation, detectron2."""

import pickle
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from utils.errors import ConfigError

# Models that are the same network in timm and torchvision, under the same name.
SHARED = ("resnet50", "resnet18", "resnet34", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2")
_CLASSIFIER = "fc."


def shared_name(tensors: Mapping[str, Tensor], backbone: str | None, title: str) -> str:
    """Return the name that a trunk has in torchvision.

    Args:
        tensors: by timm's keys, without classifier.
        backbone: timm name; null where it is not known, and found by the shapes.
        title: where the weights came from, for messages.

    Raises:
        ConfigError: another network than torchvision's ResNets, such as one with a deep stem.
    """
    architecture = None if backbone is None else backbone.partition(".")[0]
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if architecture in SHARED:
        check_shapes(tensors, _shapes(architecture), architecture, title)
        return architecture
    found = next((name for name in SHARED if architecture is None and _shapes(name) == shapes), None)
    if found is None:
        what = "is no ResNet of torchvision's" if architecture is None else f"is a {architecture}"
        raise ConfigError(
            f"{title} {what}; the layouts torchvision and detectron2 are there for {', '.join(SHARED)}, and --layout "
            f"timm for every backbone"
        )
    return found


def check_shapes(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], name: str, title: str) -> None:
    """Raise a ``ConfigError`` unless the tensors are exactly those that a network holds, by keys and shapes."""
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if odd:
        shown = ", ".join(odd[:3]) + (", …" if len(odd) > 3 else "")
        raise ConfigError(
            f"{title} is not what a {name} holds: {len(odd)} tensors are missing, left over or of another shape "
            f"({shown}); name the folder of a finished run, or a file of its weights"
        )


@cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of torchvision's model by key, without its classifier."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if not key.startswith(_CLASSIFIER)}


def to_torchvision(
    tensors: Mapping[str, Tensor], backbone: str | None = None, title: str = "the trunk"
) -> dict[str, Tensor]:
    """Return the state dict of torchvision's model without its classifier ``fc``; MMSegmentation reads the same.

    timm has the same keys: what is done is to make sure of the network. Arguments and errors are those of
    ``shared_name``.
    """
    return {key: tensors[key] for key in _shapes(shared_name(tensors, backbone, title))}


def from_torchvision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a trunk by timm's keys; torchvision's classifier is left out."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(_CLASSIFIER)}


def to_detectron2(
    tensors: Mapping[str, Tensor], backbone: str | None = None, title: str = "the trunk"
) -> dict[str, Any]:
    """Return what a model file of detectron2 holds: NumPy arrays by its keys under ``model``, and how to read them.

    Arguments and errors are those of ``shared_name``.
    """
    checked = to_torchvision(tensors, backbone, title)
    arrays = {detectron2_key(key): tensor.detach().cpu().numpy() for key, tensor in checked.items()}
    return {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}


def from_detectron2(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return a trunk by timm's keys from the arrays under ``model``."""
    return {timm_key(key): torch.from_numpy(array) for key, array in arrays.items()}


def pickled(content: Mapping[str, Any]) -> bytes:
    """Return a model file of detectron2, which reads pickles alone. Nothing of ours reads one."""
    return pickle.dumps(dict(content))


def detectron2_key(key: str) -> str:
    """Return detectron2's name of a tensor of a ResNet."""
    stage = re.match(r"layer(\d)\.", key)
    key = f"res{int(stage[1]) + 1}.{key[stage.end() :]}" if stage else f"stem.{key}"
    key = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", key)
    return key.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


def timm_key(key: str) -> str:
    """Return timm's name of a tensor of a ResNet; the inverse of ``detectron2_key``."""
    key = key.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
    key = re.sub(r"\bconv(\d)\.norm\.", r"bn\1.", key)
    stage = re.match(r"res(\d)\.", key)
    return f"layer{int(stage[1]) - 1}.{key[stage.end() :]}" if stage else key.removeprefix("stem.")
