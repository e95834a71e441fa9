"""What timm's own models cannot stand for is not written in timm's format."""

from dataclasses import replace

import pytest
from torch import nn

from experiments.kinds import OFF_THE_SHELF, RVERNET
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.salience.config import SalienceConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.data_sections import DataConfig

PLAIN = BackboneConfig(name="test_efficientnet", pretrained=False)
PIM = replace(PLAIN, features="pim", pim=PimConfig(width=8, counts=0.5, positions_per_joint=8))
WHOLE = SalienceConfig(choose="whole", grey_side=32)
MODELS = {
    "plain": (OffTheShelfModelConfig(backbone=PLAIN), True),
    "the plug-in module": (OffTheShelfModelConfig(backbone=PIM), False),
    "a selector": (
        OffTheShelfModelConfig(backbone=PLAIN, looks_at="salience", salience=replace(WHOLE, choose="learned")),
        False,
    ),
    "the whole picture, reduced inside": (
        OffTheShelfModelConfig(backbone=PLAIN, looks_at="salience", salience=WHOLE),
        False,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_one_view_is_plain_without_parts_of_its_own(name: str) -> None:
    model, plain = MODELS[name]
    data = OneViewDataConfig(view="photo", image_size=64)
    built = OFF_THE_SHELF.build(OffTheShelfConfig(data=data, model=model), 4, False)
    assert built.is_plain == plain


def test_one_plug_in_module_is_enough() -> None:
    model = RveRNetModelConfig(roi_backbone=PLAIN, extra_roi_backbone=PIM)
    built = RVERNET.build(RveRNetConfig(data=DataConfig(image_size=64), model=model), 4, False)
    assert isinstance(built, nn.Module)
    assert not built.is_plain
