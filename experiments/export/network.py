"""Whether a file holds the weights of a described network, told before anything of that network's size is built."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from experiments.export.entries import REMEDY
from experiments.kinds import Config, Kind
from experiments.prediction.description import EXPORT_FILE
from Off_the_shelfs.config import OffTheShelfConfig
from utils.checkpoints import load_into
from utils.errors import ConfigError, DataError

_LONGEST_MESSAGE = 400
_FITTING: set[tuple[object, ...]] = set()


def check_network(weights: Path, kind: Kind, config: Config, n_classes: int) -> None:
    """Compare the names and shapes in a safetensors file with those of the network that a description asks for.

    A description can ask for a network of any size, so it is built of shapes alone (meta tensors), which take no
    memory.

    Raises:
        ConfigError: there is no such network.
        DataError: the weights are those of another, or the file is damaged.
    """
    tensors = _shapes(weights)
    _check_head(tensors, config, n_classes, weights)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(tensors.items()))
    key = kind.name, repr(config.model), repr(config.data), n_classes, shapes
    if key in _FITTING:  # a description is read more than once on the way to an answer
        return
    try:
        with torch.device("meta"):
            model = kind.build(config, n_classes, False)
        load_into(model, tensors, weights)
    except (ConfigError, DataError) as error:
        raise type(error)(short(str(error))) from None
    _FITTING.add(key)


def short(message: str) -> str:
    """Return a message that quotes names of any length, cut where it is longer than one line should be."""
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[: _LONGEST_MESSAGE - 1]}…"


def _shapes(weights: Path) -> dict[str, Tensor]:
    """Return the tensors of a file as shapes alone; its header is checked against its size, no weight is read."""
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{weights} is damaged or not a safetensors file: {error}") from None


def _check_head(tensors: Mapping[str, Tensor], config: Config, n_classes: int, weights: Path) -> None:
    """Compare the head with its tensor apart, since its width is any number."""
    one_view = isinstance(config, OffTheShelfConfig)
    key, width = ("head.1.weight", None) if one_view else ("head.4.weight", getattr(config.model, "hidden_width", None))
    shape = tuple(tensors[key].shape) if key in tensors else None
    if shape is None or len(shape) != 2 or shape[0] != n_classes or width not in (None, shape[1]):
        found = "no such tensor" if shape is None else "×".join(map(str, shape))
        wanted = f"{n_classes}×{'D' if width is None else width}"
        raise DataError(f"the weights in {weights} do not fit {EXPORT_FILE}: {key} is {found}, not {wanted}; {REMEDY}")
