"""From a configuration to a one-view model or to a module of a larger one."""

from typing import cast

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf, check_dropout
from Off_the_shelfs.pim.checkpoint import fill_head
from Off_the_shelfs.pim.module import PimBackbone, build_pim
from Off_the_shelfs.salience.model import build_salience
from utils.batch import ViewName
from utils.errors import ConfigError


def build_module(
    config: BackboneConfig,
    *,
    role: ViewName,
    image_size: int | None,
    n_classes: int,
    initialise: bool = True,
    own_head: bool = False,
) -> Backbone:
    """Build the module of a view: a backbone, with the plug-in module where ``features`` is ``pim``.

    Arguments and errors are those of ``build_backbone``; ``n_classes`` is what the plug-in module's own classifiers
    tell apart. ``own_head`` says that the features meet those of another view in a head whose loss has the weight 1, so
    that a configuration which weighs that loss is refused.
    """
    if own_head and config.pim.loss.combiner != 1:
        raise ConfigError(
            f"model.{role}_backbone.pim.loss.combiner is {config.pim.loss.combiner:g}, but the features meet in a head "
            f"of the model's own, whose loss has the weight 1; leave it out and change the other weights"
        )
    if config.features == "pim":
        return build_pim(config, role=role, image_size=image_size, n_classes=n_classes, initialise=initialise)
    return build_backbone(config, role=role, image_size=image_size, initialise=initialise)


def build_off_the_shelf(
    config: OffTheShelfModelConfig, data: OneViewDataConfig, n_classes: int, *, initialise: bool = True
) -> OffTheShelf:
    """Build the one-view model; random weights depend on torch's global seed alone.

    ``initialise=False`` skips pretrained and local weights, for when a checkpoint is about to be loaded.
    Raises ConfigError as ``build_backbone`` does, and for a dropout outside [0, 1).
    """
    check_dropout(config.dropout)
    if config.looks_at == "salience":
        return build_salience(config, data, n_classes, initialise=initialise)
    size = data.image_size
    backbone = build_module(
        config.backbone, role=data.view, image_size=size, n_classes=n_classes, initialise=initialise
    )
    model = OffTheShelf(backbone, data.view, backbone.view_spec(size, data.normalise), n_classes, config.dropout)
    if config.backbone.features == "pim":
        model.head_weight = config.backbone.pim.loss.combiner
        fill_head(cast(PimBackbone, backbone), model.head)
    return model
