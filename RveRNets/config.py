"""Configuration of the two-module network."""

from dataclasses import dataclass, field

from Off_the_shelfs.config import BackboneConfig
from utils.data_sections import DataConfig
from utils.errors import ConfigError
from utils.sections import EvalConfig, RunConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class RveRNetModelConfig:
    """Two backbones and the head in which they meet.

    Attributes:
        roi_backbone: the module that sees the region of interest.
        extra_roi_backbone: the module that sees everything else.
        tied: one backbone for both roles; both configurations must then be equal.
        hidden_width: units of the head's hidden layer (640 in the released code).
        dropout: before each linear layer of the head, 0..1.
    """

    roi_backbone: BackboneConfig = field(default_factory=BackboneConfig)
    extra_roi_backbone: BackboneConfig = field(default_factory=BackboneConfig)
    tied: bool = False
    hidden_width: int = 640
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RveRNetConfig:
    """Everything that train_RveRNet.py reads."""

    data: DataConfig = field(default_factory=DataConfig)
    model: RveRNetModelConfig = field(default_factory=RveRNetModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.data.source == "folders":
            raise ConfigError(
                "data.source folders has photos without masks, and RveRNet needs a roi and its surroundings; train it "
                "on pairs or an archive, or use train_Off-the-shelf.py with --data.view photo"
            )
