"""The plug-in module on a backbone."""

from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.config import BackboneConfig
from utils.batch import ViewName


def build_pim(
    config: BackboneConfig, *, role: ViewName, image_size: int | None, n_classes: int, initialise: bool = True
) -> Backbone:
    """Build a backbone with the plug-in module."""
    raise NotImplementedError
