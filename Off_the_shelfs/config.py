"""Configuration of a single backbone and of the one-view baseline."""

from dataclasses import dataclass, field
from typing import Literal

from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.salience.config import SalienceConfig
from utils.data_sections import DataConfig
from utils.errors import ConfigError
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
        features: ``pooled`` pre-classifier features, the ImageNet ``logits`` that the released code used, or what the
            plug-in module ``pim`` makes of the maps of several levels.
        pim: the plug-in module; read where ``features`` is ``pim``.
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
    features: Literal["pooled", "logits", "pim"] = "pooled"
    pim: PimConfig = field(default_factory=PimConfig)
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    grad_checkpointing: bool = False
    compile: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.features != "pim" and self.pim != PimConfig():
            raise ConfigError(
                f"features of backbone '{self.name}' is {self.features}, so its pim settings do nothing; set features: "
                f"pim, or leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class OffTheShelfModelConfig:
    """One backbone and one linear layer on one view.

    Attributes:
        backbone: the backbone.
        dropout: before the linear layer, 0..1.
        looks_at: the ``picture`` as a whole, or the one of its parts that a small network chooses (``salience``).
        salience: how that is chosen; read where ``looks_at`` is ``salience``.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    dropout: float = 0.0
    looks_at: Literal["picture", "salience"] = "picture"
    salience: SalienceConfig = field(default_factory=SalienceConfig)

    def __post_init__(self) -> None:
        if self.looks_at == "salience" and self.backbone.features == "pim":
            raise ConfigError(
                "model.looks_at: salience chooses one part of the picture and backbone.features: pim many; use one of "
                "them"
            )
        if self.looks_at == "picture" and self.salience != SalienceConfig():
            raise ConfigError(
                "model.looks_at is picture, so the settings of model.salience do nothing; set model.looks_at: "
                "salience, or leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class OneViewDataConfig(DataConfig):
    """Data of a one-view model.

    Attributes:
        view: ``roi``, ``extra_roi``, or the whole ``photo`` (roi + extra_roi).
    """

    view: Literal["roi", "extra_roi", "photo"] = "roi"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "folders" and self.view != "photo":
            raise ConfigError(
                f"data.source folders has photos without masks, so there is no {self.view}; set data.view: photo"
            )


@dataclass(frozen=True, kw_only=True)
class OffTheShelfConfig:
    """Everything that train_Off-the-shelf.py reads."""

    data: OneViewDataConfig = field(default_factory=OneViewDataConfig)
    model: OffTheShelfModelConfig = field(default_factory=OffTheShelfModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)
