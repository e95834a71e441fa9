"""Models that find their region, as ONNX: the long form, since each takes the exporter several seconds."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from experiments.export.onnx import write_onnx
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.salience.config import SalienceConfig

SMALL = {"name": "test_efficientnet", "pretrained": False}
PIM = PimConfig(levels=[-3, -2], width=8, counts=0.5, positions_per_joint=4)
MODELS = {
    "pim": OffTheShelfModelConfig(backbone=BackboneConfig(features="pim", pim=PIM, **SMALL)),  # type: ignore[arg-type]
    "salience": OffTheShelfModelConfig(
        backbone=BackboneConfig(**SMALL),  # type: ignore[arg-type]
        looks_at="salience",
        salience=SalienceConfig(grey_side=16),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_batch_gets_the_same_answer_as_from_the_model(name: str, soak: bool, tmp_path: Path) -> None:
    if not soak:
        pytest.skip("with --soak")
    torch.manual_seed(0)
    model = build_off_the_shelf(MODELS[name], OneViewDataConfig(view="photo", image_size=64), 5).eval()
    side = model.view_specs["photo"].size
    write_onnx(model, tmp_path / "m.onnx", facts={})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        pictures = torch.randn(count, 3, side, side)
        with torch.inference_mode():
            expected = model({"photo": pictures}).numpy()
        found = session.run(None, {"photo": pictures.numpy()})[0]
        assert np.abs(found - expected).max() <= 1e-4
        assert np.ptp(expected) > 1e-3  # the bound says something
