"""The two-module network (paper, equations 1 and 2)."""

from torch import nn

from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.build import build_module
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.model import ViewClassifier, check_dropout
from RveRNets.config import RveRNetModelConfig
from utils.batch import ViewName, ViewSpec
from utils.data_sections import DataConfig
from utils.errors import ConfigError


class RveRNet(ViewClassifier):
    """ROI module f, extra-ROI module g, and the head h in which they meet.

    ``logits = Linear(dropout(ReLU(Linear(dropout([f(roi); g(extra_roi)])))))``, the softmax left to the loss.

    Pass one backbone for both roles to tie them: it is then registered once, as ``roi_backbone``, so that a state
    dict holds its tensors once. Each view still makes a forward pass of its own.
    """

    def __init__(
        self,
        roi_backbone: Backbone,
        extra_roi_backbone: Backbone,
        view_specs: dict[str, ViewSpec],
        n_classes: int,
        hidden_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.view_specs = dict(view_specs)
        self.roi_backbone = roi_backbone
        if extra_roi_backbone is not roi_backbone:
            self.extra_roi_backbone = extra_roi_backbone
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(roi_backbone.num_features + extra_roi_backbone.num_features, hidden_width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_width, n_classes),
        )

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The backbones by view name, ``roi`` first; the same one twice where they are tied."""
        extra_roi_backbone = getattr(self, "extra_roi_backbone", self.roi_backbone)
        return {"roi": self.roi_backbone, "extra_roi": extra_roi_backbone}


def build_rvernet(config: RveRNetModelConfig, data: DataConfig, n_classes: int, *, initialise: bool = True) -> RveRNet:
    """Build RveRNet; random weights depend on torch's global seed alone.

    ``initialise=False`` skips pretrained and local weights, for when a checkpoint is about to be loaded.
    Raises ConfigError as ``build_backbone`` does, for ``tied`` with unequal backbone configurations, and for a head
    that cannot be built.
    """
    check_dropout(config.dropout)
    if config.hidden_width < 1:
        raise ConfigError(
            f"model.hidden_width is {config.hidden_width}; it must be at least 1 (640 in the paper's code)"
        )
    size = data.image_size
    if config.tied:
        _check_tied(config)

    def module(backbone: BackboneConfig, role: ViewName) -> Backbone:
        return build_module(
            backbone, role=role, image_size=size, n_classes=n_classes, initialise=initialise, own_head=True
        )

    roi = module(config.roi_backbone, "roi")
    extra_roi = roi if config.tied else module(config.extra_roi_backbone, "extra_roi")
    specs = {"roi": roi.view_spec(size, data.normalise), "extra_roi": extra_roi.view_spec(size, data.normalise)}
    return RveRNet(roi, extra_roi, specs, n_classes, config.hidden_width, config.dropout)


def _check_tied(config: RveRNetModelConfig) -> None:
    """One backbone can serve both roles only where both ask for the same one."""
    roi, extra_roi = vars(config.roi_backbone), vars(config.extra_roi_backbone)
    unequal = [f"{key} ({roi[key]!r}, {extra_roi[key]!r})" for key in roi if roi[key] != extra_roi[key]]
    if unequal:
        raise ConfigError(
            "model.tied: true shares one backbone between the roles, but roi_backbone and extra_roi_backbone differ in "
            f"{', '.join(unequal)}; make them equal, or set model.tied: false"
        )
