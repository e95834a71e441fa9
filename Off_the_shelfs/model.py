"""Classifiers of views: what every model here has in common, and the one-view baseline."""

from typing import cast

import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import OffTheShelfModelConfig, OneViewDataConfig
from utils.batch import Batch, ViewName, ViewSpec, prepare_views
from utils.compilation import compile_in_place
from utils.errors import ConfigError


class ViewClassifier(nn.Module):
    """A backbone for each view and a head in which their features meet.

    Attributes:
        view_specs: what each view's backbone asks of its picture, by view name.
        head: takes the concatenated features, in the order of ``backbones``, to the logits.
    """

    view_specs: dict[str, ViewSpec]
    head: nn.Module

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The backbone that sees each view, by view name."""
        raise NotImplementedError

    @property
    def tied(self) -> bool:
        """Whether one backbone serves several views."""
        return len(set(self.backbones.values())) < len(self.backbones)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Return the normalised pictures of a batch that is already on the device, by view name."""
        return prepare_views(batch, self.view_specs)

    def features(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features B×D of each view, by view name, from normalised pictures B×3×S×S."""
        return {name: backbone(views[name]) for name, backbone in self.backbones.items()}

    def fuse(self, features: dict[str, Tensor]) -> Tensor:
        """Return the logits B×C from the features B×D of each view."""
        return cast(Tensor, self.head(torch.cat([features[name] for name in self.backbones], dim=1)))

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        """Return the logits B×C from normalised pictures B×3×S×S by view name."""
        return self.fuse(self.features(views))

    def compile_backbones(self) -> None:
        """Compile the backbones whose configuration asks for it, in place; call it once they lie on their device.

        They are compiled at the first batch. Hooks inside a compiled backbone are not called, so a model that is to be
        explained is left alone. Raises ConfigError where there is no compiler.
        """
        for name, part in self.named_children():
            if isinstance(part, Backbone) and part.wants_compile:
                compile_in_place(part.model, f"model.{name}.compile")

    def parameter_counts(self) -> dict[str, int]:
        """Return the number of parameters of each module, their ``total`` and how many of them are ``trainable``.

        A backbone that serves both roles appears once.
        """
        counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in self.named_children()}
        trainable = sum(weight.numel() for weight in self.parameters() if weight.requires_grad)
        return {**counts, "total": sum(counts.values()), "trainable": trainable}


class OffTheShelf(ViewClassifier):
    """One backbone and one linear layer on one view: ``logits = Linear(dropout(f(view)))``."""

    def __init__(self, backbone: Backbone, view: ViewName, view_spec: ViewSpec, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.view: ViewName = view
        self.view_specs = {view: view_spec}
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.num_features, n_classes))

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The backbone, by the name of its view."""
        return {self.view: self.backbone}


def build_off_the_shelf(
    config: OffTheShelfModelConfig, data: OneViewDataConfig, n_classes: int, *, initialise: bool = True
) -> OffTheShelf:
    """Build the one-view model; random weights depend on torch's global seed alone.

    ``initialise=False`` skips pretrained and local weights, for when a checkpoint is about to be loaded.
    Raises ConfigError as ``build_backbone`` does, and for a dropout outside [0, 1).
    """
    check_dropout(config.dropout)
    backbone = build_backbone(config.backbone, role=data.view, image_size=data.image_size, initialise=initialise)
    view_spec = backbone.view_spec(data.image_size, data.normalise)
    return OffTheShelf(backbone, data.view, view_spec, n_classes, config.dropout)


def check_dropout(rate: float) -> None:
    """Refuse a dropout rate of the head outside [0, 1)."""
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"model.dropout is {rate}; it must be at least 0 and below 1")
