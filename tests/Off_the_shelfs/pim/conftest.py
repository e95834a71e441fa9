"""A backbone with the plug-in module, small enough for a CPU."""

from typing import Any, Protocol

import pytest
import torch

from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.module import PimBackbone, build_pim


class Build(Protocol):
    def __call__(
        self,
        name: str = ...,
        *,
        size: int | None = ...,
        n_classes: int = ...,
        trunk: dict[str, Any] | None = ...,
        **pim: Any,  # noqa: ANN401  # fields of the configuration
    ) -> PimBackbone: ...


@pytest.fixture
def build() -> Build:
    """Build one with random weights from seed 0: width 16, half of the positions kept, 4 for each joint."""

    def make(
        name: str = "test_efficientnet",
        *,
        size: int | None = 64,
        n_classes: int = 3,
        trunk: dict[str, Any] | None = None,
        **pim: Any,  # noqa: ANN401  # as above
    ) -> PimBackbone:
        torch.manual_seed(0)
        plug_in = PimConfig(**{"width": 16, "counts": 0.5, "positions_per_joint": 4} | pim)
        config = BackboneConfig(name=name, pretrained=False, features="pim", pim=plug_in, **trunk or {})
        return build_pim(config, role="roi", image_size=size, n_classes=n_classes)

    return make
