"""A pre-training model small enough to work through by hand, and batches for it."""

from typing import Any, Protocol

import pytest
import torch
from torch import Tensor, nn

from R2O.config import ClustersConfig, FidelityConfig, PretrainConfig, R2OConfig, R2OModelConfig
from R2O.model import R2OModel
from utils.photo_sections import PhotoDataConfig

SIZE = 32


class SmallTrunk(nn.Module):
    """Two convolutions: a map of 8×8 cells whose features are clustered, and a last one of 4×4."""

    cells = 4
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, cluster_channels: int = 5, channels: int = 6) -> None:
        super().__init__()
        self.cluster_channels, self.channels = cluster_channels, channels
        self.early = nn.Sequential(
            nn.Conv2d(3, cluster_channels, 4, stride=4), nn.BatchNorm2d(cluster_channels), nn.ReLU()
        )
        self.late = nn.Sequential(
            nn.Conv2d(cluster_channels, channels, 2, stride=2), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.late(self.early(pictures))
        return found

    def clustered(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.early(pictures)
        return found


class BuildModel(Protocol):
    def __call__(
        self,
        *,
        fidelity: dict[str, Any] | None = ...,
        train: dict[str, Any] | None = ...,
        trunk: nn.Module | None = ...,
    ) -> R2OModel: ...


class MakeInputs(Protocol):
    def __call__(self, count: int = ..., *, seed: int = ...) -> dict[str, Tensor]: ...


@pytest.fixture
def build_model() -> BuildModel:
    """Build a model for 32 px views with random weights from seed 0; vectors have 8 numbers."""

    def make(
        *,
        fidelity: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        trunk: nn.Module | None = None,
    ) -> R2OModel:
        torch.manual_seed(0)
        config = R2OConfig(
            data=PhotoDataConfig(image_size=SIZE),
            model=R2OModelConfig(projector_width=12, predictor_width=10, embedding=8),
            train=PretrainConfig(clusters=ClustersConfig(kind="constant", values=[4]), **train or {}),
            fidelity=FidelityConfig(**fidelity or {}),
        )
        model = R2OModel(SmallTrunk() if trunk is None else trunk, config)  # type: ignore[arg-type]
        return model.train()

    return make


@pytest.fixture
def make_inputs() -> MakeInputs:
    """Make what the model takes: random pictures, four quarters as superpixels, and crops that all show something."""

    def make(count: int = 2, *, seed: int = 1) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        names = ("view_1", "view_2", "photo")
        pictures = {name: torch.randn(count, 3, SIZE, SIZE, generator=generator) for name in names}
        half = torch.arange(SIZE) // (SIZE // 2)
        superpixels = (2 * half[:, None] + half).to(torch.int16).expand(count, SIZE, SIZE).clone()
        record = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.5, 1.0]]).expand(count, 2, 5).clone()
        return pictures | {"superpixels": superpixels, "record": record}

    return make
