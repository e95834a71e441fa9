"""Classifiers of views: what every model here has in common, and the one-view baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.findings import Finding
from Off_the_shelfs.own_maps import NamedMap, Parts
from utils.batch import Batch, ViewName, ViewSpec, prepare_views
from utils.compilation import compile_in_place
from utils.engine import Criterion
from utils.errors import ConfigError


@dataclass(frozen=True, eq=False)
class TrainingAnswer:
    """What a model returns in training where it has losses of its own: logits B×C, and by view what it found."""

    logits: Tensor
    findings: dict[str, Finding]
    tallies: Mapping[str, Tensor] = field(default_factory=dict)


class ViewClassifier(nn.Module):
    """A backbone for each view and a head in which their features meet.

    Attributes:
        view_specs: what each view's backbone asks of its picture, by view name.
        head: takes the concatenated features, in the order of ``backbones``, to the logits.
        head_weight: of the criterion's losses of the model's own logits, where backbones add others.
    """

    view_specs: dict[str, ViewSpec]
    head: nn.Module
    head_weight: float = 1.0

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
        return {name: self.view_features(name, views[name]) for name in self.backbones}

    def view_features(self, view: str, pictures: Tensor) -> Tensor:
        """Return the features B×D of one view from its normalised pictures B×3×S×S."""
        return cast(Tensor, self.backbones[view](pictures))

    def fuse(self, features: dict[str, Tensor]) -> Tensor:
        """Return the logits B×C from the features B×D of each view."""
        return cast(Tensor, self.head(torch.cat([features[name] for name in self.backbones], dim=1)))

    def forward(self, views: dict[str, Tensor]) -> Tensor | TrainingAnswer:
        """Return the logits B×C from normalised pictures B×3×S×S by view name.

        In train mode, where a backbone has losses of its own, they come with what those need.
        """
        if not (self.training and self._has_own_losses):
            return self.fuse(self.features(views))
        findings = self._find(views)
        return TrainingAnswer(self.fuse({name: found.features for name, found in findings.items()}), findings)

    def losses(self, output: Any, label: Tensor, criterion: Criterion) -> Tensor:  # noqa: ANN401  # a subclass's own
        """Return the losses B of what ``forward`` returned in train mode, those of the backbones included.

        Args:
            output: of ``forward``.
            label: int64 B.
            criterion: takes logits N×C and labels N to losses N.
        """
        if isinstance(output, Tensor):
            return criterion(output, label)
        losses = self.head_weight * criterion(output.logits, label)
        for name, finding in output.findings.items():
            if self.backbones[name].has_own_losses:
                losses = losses + self.backbones[name].own_losses(finding, label, criterion)
        return losses

    def measures(self, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Return what the model says of B pairs beside its logits, B numbers by name; their means describe a split.

        Where several views are seen, names begin with the view's.
        """
        if not self._has_own_losses:
            return {}
        findings = self._find(views)
        logits = self.fuse({name: found.features for name, found in findings.items()})
        measures: dict[str, Tensor] = {}
        for name, finding in findings.items():
            prefix = f"{name}/" if len(findings) > 1 else ""
            found = self.backbones[name].own_measures(finding, logits, label)
            measures |= {f"{prefix}{key}": value for key, value in found.items()}
        return measures

    @property
    def map_methods(self) -> tuple[str, ...]:
        """Maps that the model has of its own, of ``OWN_METHODS``."""
        return tuple(dict.fromkeys(name for backbone in self.backbones.values() for name in backbone.map_methods))

    def own_maps(self, method: str, views: dict[str, Tensor], target: Tensor) -> dict[str, list[NamedMap]]:
        """Return the maps of each view whose backbone has some, by view name.

        Args:
            method: one of ``map_methods``.
            views: normalised pictures B×3×S×S by view name.
            target: int64 B, the class that the maps speak of.
        """
        return {
            name: backbone.own_maps(method, views[name], target)
            for name, backbone in self.backbones.items()
            if method in backbone.map_methods
        }

    chooses_part = False  # whether it looks at one part of each picture

    def parts(self, view: str, pictures: Tensor) -> Parts:
        """Return which part of each normalised picture B×3×S×S is looked at; asked where ``chooses_part``."""
        raise NotImplementedError

    @property
    def has_measures(self) -> bool:
        """Whether ``measures`` says anything."""
        return self._has_own_losses or type(self).measures is not ViewClassifier.measures

    def take_classes(self, names: Sequence[str]) -> None:
        """Take notice of the class names in the order of the logits; called once, where training begins."""

    def set_progress(self, done: float) -> None:
        """Take notice of the part 0..1 of the training that is done; called before each optimiser step."""

    def epoch_facts(self) -> dict[str, Any]:
        """Return what the epoch's row in ``log.jsonl`` is to say of the model, and begin to count afresh."""
        return {}

    @property
    def still(self) -> bool:
        """Whether the features of a picture stay the same throughout training."""
        return all(backbone.still for backbone in self.backbones.values())

    @property
    def head_parts(self) -> nn.Module:
        """What trains at the head's rate: the head, and the backbones' own parts beside their timm models."""
        parts = [part for backbone in dict.fromkeys(self.backbones.values()) for part in backbone.own_parts]
        return nn.ModuleList([self.head, *parts]) if parts else self.head

    @property
    def is_plain(self) -> bool:
        """Whether it is timm models and a head and nothing else, so that timm's own code can stand for it."""
        return self.head_parts is self.head

    @property
    def _has_own_losses(self) -> bool:
        return any(backbone.has_own_losses for backbone in self.backbones.values())

    def _find(self, views: dict[str, Tensor]) -> dict[str, Finding]:
        return {name: backbone.find(views[name]) for name, backbone in self.backbones.items()}

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


def check_dropout(rate: float) -> None:
    """Refuse a dropout rate of the head outside [0, 1)."""
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"model.dropout is {rate}; it must be at least 0 and below 1")
