"""Classes of the data among the outputs of a pretrained classifier, which then needs no head of its own."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from Off_the_shelfs.config import OffTheShelfModelConfig
from utils.errors import ConfigError, nearest
from utils.yaml_file import read_yaml


class ClassSelection(nn.Module):
    """Picks C of a classifier's K outputs: B×K to B×C, by a table that goes with the weights.

    Args:
        n_classes: C.
        n_outputs: K.
        path: the class map, a YAML file with one line ``class name: output`` for each class.

    Attributes:
        output: int64 C, the output of each class; -1 until ``take_classes`` was called or weights were loaded.
    """

    output: Tensor

    def __init__(self, n_classes: int, n_outputs: int, path: str) -> None:
        super().__init__()
        self.path, self.n_outputs = path, n_outputs
        self.register_buffer("output", torch.full((n_classes,), -1, dtype=torch.int64))

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the classes B×C."""
        return outputs[:, self.output]

    def take_classes(self, names: Sequence[str]) -> None:
        """Read the class map for classes in the order of the logits.

        Raises:
            ConfigError: the file cannot be used: a class without an output, an unknown class, an output that does not
                exist or serves two classes.
        """
        outputs = read_class_map(self.path, names, self.n_outputs)
        self.output.copy_(torch.tensor(outputs))


def read_class_map(path: str, names: Sequence[str], n_outputs: int) -> list[int]:
    """Return the output of each class from a YAML file; errors are those of ``ClassSelection.take_classes``."""
    found = read_yaml(Path(path), "model.salience.class_map")
    title = f"model.salience.class_map {path}"
    if not isinstance(found, dict):
        raise ConfigError(f"{title} holds no lines 'class name: output number'")
    table = {str(name): output for name, output in found.items()}
    missing = [name for name in names if name not in table]
    unknown = [name for name in table if name not in names]
    if missing:
        raise ConfigError(
            f"{title} has no output for {len(missing)} of {len(names)} classes, such as '{missing[0]}'"
            f"{nearest(missing[0], unknown)}; add a line for each"
        )
    if unknown:
        raise ConfigError(f"{title} names '{unknown[0]}', which is no class of the data{nearest(unknown[0], names)}")
    seen: dict[int, str] = {}
    for name, output in table.items():
        if type(output) is not int or not 0 <= output < n_outputs:
            raise ConfigError(f"{title} gives '{name}' the output {output!r}; allowed are 0 to {n_outputs - 1}")
        if output in seen:
            raise ConfigError(f"{title} gives '{seen[output]}' and '{name}' the same output, {output}")
        seen[output] = name
    return [table[name] for name in names]


def check_class_map(config: OffTheShelfModelConfig) -> None:
    """Refuse a class map for a classifier that has other outputs or would change them, or where nothing is learned."""
    salience, backbone = config.salience, config.backbone
    if salience.class_map is None:
        return
    if backbone.features != "logits" or not backbone.frozen:
        raise ConfigError(
            "model.salience.class_map picks outputs of a pretrained classifier as it is: set model.backbone.features: "
            "logits and model.backbone.frozen: true, or leave the map out"
        )
    if config.dropout:
        raise ConfigError(
            f"model.dropout is {config.dropout}, but with model.salience.class_map there is no head; set it to 0"
        )
    if salience.choose != "learned":
        raise ConfigError(
            f"model.salience.class_map leaves nothing to train where model.salience.choose is {salience.choose}; "
            f"choose learned, whose measures hold the controls whole/top1 and random/top1, or leave the map out"
        )
