"""Trunks out of files with more than a trunk: the authors' checkpoints, and ours."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from utils.errors import ConfigError

Network = Literal["online", "target"]

# The authors' trunk numbers the children of torchvision's ResNet; what is left out has no parameters.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_PARTS = {
    "released": re.compile(r"(online|target)_network\.encoder\.(?P<key>.+)"),
    "ours": re.compile(r"(online|target)\.trunk\.model\.(?P<key>.+)"),
}


def trunk_of(tensors: Mapping[str, Tensor], network: Network, title: str) -> dict[str, Tensor]:
    """Return one trunk of what a file holds, by timm's keys.

    Args:
        tensors: by key, without ``module.``: of the authors' checkpoint (Gokul et al. 2022, their code) with
            ``online_network`` and ``target_network``, of a checkpoint of ours, or of a trunk alone.
        network: which of the two; the online one is that which learns.
        title: the file, for messages.

    Heads, and the copy of a trunk that the authors' code leaves under another name, stay behind.

    Raises:
        ConfigError: the target is asked of a file with a trunk alone; a released trunk that is no ResNet.
    """
    for kind, pattern in _PARTS.items():
        found = {key: match for key in tensors if (match := pattern.fullmatch(key)) is not None}
        if found:
            chosen = {match["key"]: tensors[key] for key, match in found.items() if match[1] == network}
            if not chosen:
                raise ConfigError(f"{title} holds no {network} network; leave --network out for the one that it holds")
            return _renamed(chosen, title) if kind == "released" else chosen
    if network == "target":
        raise ConfigError(f"{title} holds a trunk alone, which is that of the online network; leave --network out")
    return dict(tensors)


def _renamed(tensors: Mapping[str, Tensor], title: str) -> dict[str, Tensor]:
    """Return a trunk of the authors' by the names that its layers have in timm."""
    renamed = {}
    for key, tensor in tensors.items():
        number, _, rest = key.partition(".")
        if number not in _CHILDREN:
            raise ConfigError(
                f"{title} has the layer encoder.{number}, which no trunk of a released checkpoint has; only ResNets "
                f"are read"
            )
        renamed[f"{_CHILDREN[number]}.{rest}"] = tensor
    return renamed
