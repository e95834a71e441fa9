"""convert_R2O.py: what it writes is loaded by the libraries that it is for, and mistakes leave nothing behind."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor

from experiments.pretraining.convert import convert_command
from Off_the_shelfs.backbones import build_backbone
from Off_the_shelfs.config import BackboneConfig
from R2O.config import R2OConfig, R2OModelConfig
from utils.config import to_yaml
from utils.errors import ConfigError
from utils.photo_sections import PhotoDataConfig


def write_run(folder: Path, name: str, size: int = 64) -> dict[str, Tensor]:
    """Write what a finished run of pre-training holds of its weights, and return them."""
    folder.mkdir()
    config = BackboneConfig(name=name, pretrained=False)
    state = build_backbone(config, role="photo", image_size=size).model.state_dict()
    safetensors.torch.save_file(state, folder / "model.safetensors")
    settings = R2OConfig(data=PhotoDataConfig(root="photos", image_size=size), model=R2OModelConfig(backbone=name))
    (folder / "config.yaml").write_text(to_yaml(settings))
    (folder / "metrics.json").write_text("{}")
    return dict(state)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrained")


@pytest.fixture(scope="module")
def resnet(folder: Path) -> dict[str, Tensor]:
    return write_run(folder / "resnet", "resnet18")


@pytest.fixture(scope="module")
def vit(folder: Path) -> dict[str, Tensor]:
    return write_run(folder / "vit", "test_vit.r160_in1k")


def convert(*arguments: object) -> None:
    convert_command([str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        convert(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_torchvisions_file(folder: Path, resnet: dict[str, Tensor], tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new" / f"resnet18.{ending}"
    convert("--source", folder / "resnet", "--layout", "torchvision", "--out", out)
    state = safetensors.torch.load_file(out) if ending == "safetensors" else torch.load(out, weights_only=True)
    missing, unexpected = torchvision.models.resnet18().load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    assert same(state, resnet)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_detectron2s_file(
    folder: Path, resnet: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "resnet18.pkl"
    convert("--source", folder / "resnet" / "model.safetensors", "--layout", "detectron2", "--out", out)
    content = pickle.loads(out.read_bytes())  # noqa: S301  # written two lines above
    assert len(content["model"]) == len(resnet)
    assert (content["model"]["stem.conv1.weight"] == resnet["conv1.weight"].numpy()).all()
    assert capsys.readouterr().out == f"converted: {out} (resnet18, layout of detectron2, 44.8 MB)\n"


def test_timms_folder(folder: Path, vit: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "vit"
    convert("--source", folder / "vit", "--out", out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    theirs: Any = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert same(theirs.state_dict(), vit)
    assert theirs.patch_embed.img_size == (64, 64)
    module = build_backbone(BackboneConfig(name="test_vit", weights=str(out)), role="extra_roi", image_size=64)
    assert module.notes == []
    with pytest.raises(ConfigError, match="holds earlier conversions; add --overwrite"):
        convert("--source", folder / "vit", "--out", out)
    convert("--source", folder / "vit", "--out", out, "--overwrite")


@pytest.mark.parametrize("role", ["roi", "extra_roi", "photo"])
def test_a_run_serves_every_module_with_nothing_missing(folder: Path, vit: dict[str, Tensor], role: str) -> None:
    config = BackboneConfig(name="test_vit", weights=str(folder / "vit"))
    module = build_backbone(config, role=role, image_size=64)  # type: ignore[arg-type]
    assert module.notes == []
    assert same(dict(module.model.state_dict()), vit)


def test_a_run_of_another_backbone_says_so(folder: Path, vit: dict[str, Tensor]) -> None:
    assert vit
    with pytest.raises(ConfigError, match="which are those of a test_vit"):
        build_backbone(BackboneConfig(name="test_resnet", weights=str(folder / "vit")), role="roi", image_size=64)


def test_a_released_checkpoint_with_the_network_that_is_asked_for(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    model = {"module.predictor.predictor.0.weight": torch.zeros(1)}
    for key, tensor in resnet.items():
        child, _, rest = key.partition(".")
        model[f"module.target_network.encoder.{numbers[child]}.{rest}"] = tensor
        model[f"module.online_network.encoder.{numbers[child]}.{rest}"] = torch.zeros(tensor.shape)
    source, out = tmp_path / "released.pth.tar", tmp_path / "target.pth"
    torch.save({"epoch": 300, "model": model}, source)
    convert("--source", source, "--layout", "torchvision", "--network", "target", "--out", out)
    assert same(torch.load(out, weights_only=True), resnet)


def test_mistakes_are_named_and_leave_nothing(
    folder: Path, resnet: dict[str, Tensor], vit: dict[str, Tensor], tmp_path: Path
) -> None:
    assert resnet
    assert vit
    run, out = folder / "resnet", tmp_path / "out.pth"
    layout = ("--layout", "torchvision")
    assert "add --source, a run's folder" in refusal("--out", out)
    assert "add --out, a folder" in refusal("--source", run)
    assert "a file ending in .pth or .safetensors" in refusal("--source", run, *layout)
    assert "does not exist; name a run's folder" in refusal("--source", tmp_path / "no", *layout, "--out", out)
    assert "must be a file ending in .pkl" in refusal("--source", run, "--layout", "detectron2", "--out", out)
    assert "layout" in refusal("--source", run, "--layout", "keras", "--out", out)
    assert "leave --network out" in refusal("--source", run, *layout, "--out", out, "--network", "target")
    assert "is a test_vit" in refusal("--source", folder / "vit", *layout, "--out", out)
    assert "does not say whose weights" in refusal(
        "--source", folder / "vit" / "model.safetensors", "--out", tmp_path / "folder"
    )
    assert "no finished run directory" in refusal("--source", tmp_path, *layout, "--out", out)
    assert "did you mean '--layout'?" in refusal("--layuot", "timm")
    assert list(tmp_path.iterdir()) == []


def test_files_that_stand_there_stay(folder: Path, resnet: dict[str, Tensor], tmp_path: Path) -> None:
    assert resnet
    out, layout = tmp_path / "mine.pth", ("--layout", "torchvision")
    out.write_text("mine")
    assert "exists; add --overwrite" in refusal("--source", folder / "resnet", *layout, "--out", out)
    assert "is the source itself" in refusal("--source", out, *layout, "--out", out, "--overwrite")
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder" in refusal("--source", folder / "resnet", *layout, "--out", tmp_path / "folder.pth")
    assert "holds what no conversion wrote (folder.pth, mine.pth)" in refusal(
        "--source", folder / "resnet", "--out", tmp_path, "--overwrite"
    )
    assert out.read_text() == "mine"
