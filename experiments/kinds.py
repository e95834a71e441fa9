"""The two kinds of model, and what the rest needs to know of each."""

from collections.abc import Callable
from dataclasses import dataclass

from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import OffTheShelfConfig
from Off_the_shelfs.model import OffTheShelf
from RveRNets.config import RveRNetConfig
from RveRNets.model import RveRNet, build_rvernet

Config = OffTheShelfConfig | RveRNetConfig
Model = OffTheShelf | RveRNet


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        name: as recorded in ``metrics.json``.
        script: the script that trains it.
        config_class: its configuration.
        build: makes the model from a configuration and a number of classes; the flag says whether pretrained
            weights are loaded.
    """

    name: str
    script: str
    config_class: type[OffTheShelfConfig] | type[RveRNetConfig]
    build: Callable[[Config, int, bool], Model]


def _build_off_the_shelf(config: Config, n_classes: int, initialise: bool) -> Model:
    assert isinstance(config, OffTheShelfConfig)
    return build_off_the_shelf(config.model, config.data, n_classes, initialise=initialise)


def _build_rvernet(config: Config, n_classes: int, initialise: bool) -> Model:
    assert isinstance(config, RveRNetConfig)
    return build_rvernet(config.model, config.data, n_classes, initialise=initialise)


OFF_THE_SHELF = Kind("off-the-shelf", "train_Off-the-shelf.py", OffTheShelfConfig, _build_off_the_shelf)
RVERNET = Kind("RveRNet", "train_RveRNet.py", RveRNetConfig, _build_rvernet)
KINDS = {kind.name: kind for kind in (OFF_THE_SHELF, RVERNET)}
