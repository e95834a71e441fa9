import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from experiments.export import onnx as writer
from experiments.export.command import export_command
from experiments.export.onnx import write_onnx
from experiments.kinds import Model
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import build_rvernet
from utils.data_sections import DataConfig
from utils.errors import ConfigError, RunError


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


class Small(nn.Module):
    """A network that is exported in a moment, in the place of a backbone's."""

    def __init__(self, width: int, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 4, stride=4)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.convolution(x)).mean(dim=(2, 3))


def small_model(last: Callable[[Tensor], Tensor] = torch.relu) -> Model:
    torch.manual_seed(0)
    config = OffTheShelfModelConfig(backbone=BackboneConfig(name="test_resnet", pretrained=False))
    model = build_off_the_shelf(config, OneViewDataConfig(view="extra_roi", image_size=16), 4).eval()
    model.backbone.model = Small(model.backbone.num_features, last)
    return model


def transformer_and_convolutions(whole: bool) -> Model:
    """Return a RveRNet; unless it is to be whole, without what the exporter takes its time for."""
    torch.manual_seed(0)
    parts = [BackboneConfig(name=name, pretrained=False) for name in ("test_vit", "test_resnet")]
    config = RveRNetModelConfig(roi_backbone=parts[0], extra_roi_backbone=parts[1], hidden_width=16)
    model = build_rvernet(config, DataConfig(image_size=32), 7).eval()
    if not whole:
        vit = cast(Any, model.roi_backbone.model)
        vit.blocks = vit.blocks[:1]
        model.extra_roi_backbone.model = Small(model.extra_roi_backbone.num_features, torch.relu)
    return model


def test_a_pair_of_a_transformer_and_a_convolutional_network(
    soak: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = transformer_and_convolutions(soak)
    said = write_onnx(model, tmp_path / "m.onnx", facts={"classes": ["a", "ü"]})
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert said["opset"] == 18
    assert said["largest_difference"] <= 1e-4

    graph = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {entry.domain: entry.version for entry in graph.opset_import} == {"": 18}
    assert {entry.key: json.loads(entry.value) for entry in graph.metadata_props} == {"classes": ["a", "ü"]}
    one = session(tmp_path / "m.onnx")
    assert {given.name: given.shape for given in one.get_inputs()} == {
        "roi": ["batch", 3, 32, 32],
        "extra_roi": ["batch", 3, 32, 32],
    }
    assert [(out.name, out.shape) for out in one.get_outputs()] == [("logits", ["batch", 7])]
    for count in (1, 3, 8):
        views = {name: torch.randn(count, 3, 32, 32) for name in ("roi", "extra_roi")}
        with torch.inference_mode():
            expected = model(views).numpy()
        found = one.run(None, {name: view.numpy() for name, view in views.items()})[0]
        assert np.abs(found - expected).max() <= 1e-4
        assert np.ptp(expected) > 1e-2  # the bound says something


@pytest.fixture(scope="module")
def translated() -> tuple[Model, Any]:
    """A model that takes pixels, and what the exporter made of it, once for all that comes after."""
    model = small_model()
    with writer._quiet():
        return model, writer._translate(writer._Positional(model, "uint8"), "uint8", 18)


def test_pixels_in_and_weights_beside_the_file(
    translated: tuple[Model, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, program = translated
    monkeypatch.setattr(writer, "_translate", lambda *_: program)
    monkeypatch.setattr(writer, "LARGEST_WITHIN", 0)
    said = write_onnx(model, tmp_path / "model.onnx", given="uint8")
    assert said["external_weights"] == "model.onnx.data"
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16)).astype(np.uint8)
    spec = model.view_specs["extra_roi"]
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        expected = model({"extra_roi": torch.from_numpy((pixels / np.float32(255) - mean) / std)}).numpy()
    found = session(tmp_path / "model.onnx").run(["logits"], {"extra_roi": pixels})[0]
    assert np.abs(found - expected).max() <= 1e-4


def test_an_opset_that_is_not_to_be_had(
    translated: tuple[Model, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter stays at 18, and only warns, where it cannot write the one that was asked for."""
    model, program = translated
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    with pytest.raises(ConfigError, match="--opset 30 is not to be had"):
        write_onnx(model, tmp_path / "m.onnx", opset=30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shift", [1e-3, float("nan")])
def test_a_file_that_disagrees_leaves_nothing_behind(
    translated: tuple[Model, Any], tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    """The file computes one thing, the model another: its head is changed in between."""
    model, program = copy.deepcopy(translated[0]), translated[1]
    layer = cast(Any, model.head)[-1]
    layer.bias = nn.Parameter(layer.bias.detach() + shift)
    monkeypatch.setattr(writer, "_translate", lambda *_: program)
    monkeypatch.setattr("experiments.export.command.load_model", lambda *_: model)
    options = ["--run", str(tiny_runs / "roi"), "--out", str(tmp_path / "out"), "--onnx", "--onnx_input", "uint8"]
    with pytest.raises(RunError, match=r"their logits differ by (0\.001|nan) where 0\.0001 is allowed"):
        export_command(options)
    assert not list(tmp_path.iterdir())


def eigenvalues(x: Tensor) -> Tensor:
    return cast(Tensor, torch.linalg.eigvalsh(x @ x.mT))[..., None]


def test_an_operator_without_counterpart_is_named_with_its_backbone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_onnx(small_model(eigenvalues), tmp_path / "m.onnx")
    text = str(caught.value)
    assert text == (
        "backbone 'test_resnet' cannot be written as ONNX: its operator aten::_linalg_eigh has no counterpart in opset "
        "18; try another --opset, leave --onnx out, or train with another backbone"
    )
    assert not list(tmp_path.iterdir())


def test_a_network_whose_way_depends_on_its_pictures_cannot_be_traced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'test_resnet' cannot be traced for ONNX") as caught:
        write_onnx(small_model(lambda x: x if x.sum() > 0 else -x), tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
