"""Configuration of a single backbone and of the one-view baseline."""

from dataclasses import dataclass, field
from typing import Literal

from utils.data_sections import DataConfig
from utils.sections import EvalConfig, RunConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A timm model in the role of a module.

    Attributes:
        name: timm model name, weight tag included (``vit_base_patch16_224.augreg_in1k``).
        pretrained: load the weights of the name's tag from the hub.
        weights: a local file (.safetensors, or a .pth state dict), one of our run directories or exported folders, or
            a folder that timm loads (``config.json``, ``model.safetensors``); overrides ``pretrained``.
        allow_mismatch: accept missing and unexpected weights instead of refusing them.
        frozen: keep the module as loaded: no gradient, eval mode, statistics included.
        features: ``pooled`` pre-classifier features, or the ImageNet ``logits`` that the released code used.
        drop_rate: dropout inside the backbone, 0..1.
        drop_path_rate: stochastic depth inside the backbone, 0..1.
        grad_checkpointing: compute activations again in the backward pass instead of keeping them: less memory, about
            a third more time, the same numbers.
        compile: compile the module with ``torch.compile``; ``auto`` by device and backbone family, as measured.
    """

    name: str = "deit_base_distilled_patch16_224.fb_in1k"
    pretrained: bool = True
    weights: str | None = None
    allow_mismatch: bool = False
    frozen: bool = False
    features: Literal["pooled", "logits"] = "pooled"
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    grad_checkpointing: bool = False
    compile: bool | Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class OffTheShelfModelConfig:
    """One backbone and one linear layer on one view.

    Attributes:
        backbone: the backbone.
        dropout: before the linear layer, 0..1.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OneViewDataConfig(DataConfig):
    """Data of a one-view model.

    Attributes:
        view: ``roi``, ``extra_roi``, or the whole ``photo`` (roi + extra_roi).
    """

    view: Literal["roi", "extra_roi", "photo"] = "roi"


@dataclass(frozen=True, kw_only=True)
class OffTheShelfConfig:
    """Everything that train_Off-the-shelf.py reads."""

    data: OneViewDataConfig = field(default_factory=OneViewDataConfig)
    model: OffTheShelfModelConfig = field(default_factory=OffTheShelfModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)
