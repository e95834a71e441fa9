"""Small classifiers of the chosen part, and a toy in which one corner of a picture tells the class."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.salience.config import SalienceConfig
from Off_the_shelfs.salience.model import SalienceClassifier, build_salience
from utils.batch import ViewSpec

TOY_SIDE = 16
Build = Callable[..., SalienceClassifier]


class SmallConvolutions(nn.Module):
    """Two convolutions and the largest value of each channel."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x).amax((2, 3))
        return features


@dataclass(frozen=True)
class Toy:
    """Pictures 3×32×32 of noise with a bright square in one corner; its stripes of one pixel run along or across.

    Attributes:
        pictures: float N×3×32×32.
        label: int64 N: 1 where the stripes run along the rows.
        view: int64 N: the one part in which the square lies, 1..4.
    """

    pictures: Tensor
    label: Tensor
    view: Tensor


@pytest.fixture
def build() -> Build:
    """Build a classifier on test_resnet for parts of 32 px: ``build(backbone={...}, data={...}, **salience)``."""

    def built(
        *, n_classes: int = 5, dropout: float = 0.0, backbone: dict[str, object] | None = None,
        data: dict[str, object] | None = None, **salience: object,
    ) -> SalienceClassifier:  # fmt: skip
        config = OffTheShelfModelConfig(
            backbone=BackboneConfig(**({"name": "test_resnet", "pretrained": False} | (backbone or {}))),  # type: ignore[arg-type]
            dropout=dropout,
            looks_at="salience",
            salience=SalienceConfig(**({"grey_side": 16, "widths": [4, 8]} | salience)),  # type: ignore[arg-type]
        )
        options = OneViewDataConfig(**({"view": "photo", "image_size": 32} | (data or {})))  # type: ignore[arg-type]
        return build_salience(config, options, n_classes)

    return built


@pytest.fixture
def build_around() -> Build:
    """Put a classifier around a network with ``num_features``: ``build_around(network, side, n_classes, **salience)``.

    Its pictures have twice the side of the parts and are not normalised.
    """

    def built(
        network: nn.Module, side: int = TOY_SIDE, n_classes: int = 2, *, frozen: bool = False, **salience: object
    ) -> SalienceClassifier:
        options: dict[str, object] = {"crop_fraction": 0.5, "grey_side": 8, "widths": [8, 16]}
        spec = ViewSpec(2 * side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        backbone = Backbone(network, BackboneConfig(name="around", frozen=frozen), side)
        config = SalienceConfig(**(options | salience))  # type: ignore[arg-type]
        return SalienceClassifier(backbone, "photo", spec, n_classes, 0.0, config)

    return built


@pytest.fixture
def small_convolutions() -> Callable[[], nn.Module]:
    """Make a network that learns the toy in a hundred steps."""
    return SmallConvolutions


@pytest.fixture
def toy() -> Callable[[int, int], Toy]:
    """Draw pictures of the toy: ``toy(count, seed)``. Reduced to half, the stripes are gone."""

    def drawn(count: int, seed: int) -> Toy:
        generator = torch.Generator().manual_seed(seed)
        side, square, whole = 6, 8, 2 * TOY_SIDE
        pictures = torch.rand(count, 3, whole, whole, generator=generator) * 0.3
        corner, label = (torch.randint(0, most, (count,), generator=generator) for most in (4, 2))
        stripes = (torch.arange(side) % 2 * 0.4 - 0.2).expand(side, side)
        for picture, place, along in zip(pictures, corner.tolist(), label.tolist(), strict=True):
            top, left = (whole - square) * (place // 2), (whole - square) * (place % 2)
            picture[:, top : top + square, left : left + square] += 0.5
            spot = (slice(None), slice(top + 1, top + 1 + side), slice(left + 1, left + 1 + side))
            picture[spot] += stripes.T if along else stripes
        return Toy(pictures, label, corner + 1)

    return drawn
