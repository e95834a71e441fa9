import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from experiments.prediction.predictor import load_predictor
from Off_the_shelfs.backbones import build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.pictures import data_config
from Off_the_shelfs.timm_folder import write_timm_folder
from utils.batch import ViewName
from utils.errors import ConfigError

PICTURES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def by_timm(folder: Path) -> nn.Module:
    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()


@torch.inference_mode()
def test_timm_loads_a_one_view_model_and_computes_its_logits(exported_one: Path) -> None:
    ours, theirs = load_predictor(exported_one, device="cpu").model, by_timm(exported_one)
    assert torch.allclose(theirs(PICTURES), ours({"roi": PICTURES}), atol=1e-5)
    config = json.loads((exported_one / "config.json").read_text())
    assert config["architecture"] == "test_efficientnet"
    assert (config["num_classes"], config["label_names"]) == (3, ["tomato", "spinach", "blueberry"])
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert not {"tag", "license"} & config["pretrained_cfg"].keys()  # those of timm's weights, not of these


@torch.inference_mode()
def test_timm_loads_each_module_of_a_pair_and_computes_its_features(exported_pair: Path) -> None:
    model = load_predictor(exported_pair, device="cpu").model
    for view, backbone in model.backbones.items():
        theirs = by_timm(exported_pair / f"{view}_backbone")
        assert torch.allclose(theirs(PICTURES), backbone(PICTURES), atol=1e-5), view


@torch.inference_mode()
@pytest.mark.parametrize("folder", [".", "extra_roi_backbone"])
def test_an_exported_module_is_the_initial_weights_of_another_run(exported_pair: Path, folder: str) -> None:
    trained = load_predictor(exported_pair, device="cpu").model.backbones["extra_roi"]
    config = BackboneConfig(name="test_vit", weights=str(exported_pair / folder))
    loaded = build_backbone(config, role="extra_roi", image_size=32).eval()
    assert torch.equal(loaded(PICTURES), trained(PICTURES))
    assert loaded.notes == []


@torch.inference_mode()
@pytest.mark.parametrize("role", ["roi", "extra_roi"])
def test_a_whole_model_of_timm_gives_its_backbone(exported_one: Path, role: ViewName) -> None:
    trained = load_predictor(exported_one, device="cpu").model.backbones["roi"]
    config = BackboneConfig(name="test_efficientnet", weights=str(exported_one))
    assert torch.allclose(build_backbone(config, role=role, image_size=32).eval()(PICTURES), trained(PICTURES))


def test_a_folder_of_another_model_of_timm_is_named(exported_one: Path, tmp_path: Path) -> None:
    config = BackboneConfig(name="test_vit", weights=str(exported_one))
    with pytest.raises(ConfigError, match="which are those of a test_efficientnet"):
        build_backbone(config, role="roi", image_size=32)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model\.safetensors not found"):
        build_backbone(BackboneConfig(name="test_vit", weights=str(tmp_path)), role="roi")
    (tmp_path / "model.safetensors").write_bytes((exported_one / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match="names no architecture"):
        build_backbone(BackboneConfig(name="test_vit", weights=str(tmp_path)), role="roi")


@torch.inference_mode()
def test_two_classifiers_of_a_distilled_network_become_the_one_head(tmp_path: Path) -> None:
    config = BackboneConfig(name="deit_tiny_distilled_patch16_224", pretrained=False)
    backbone = build_backbone(config, role="roi", image_size=32).eval()
    head = nn.Linear(backbone.num_features, 5)
    write_timm_folder(backbone, backbone.view_spec(), tmp_path, head, list("abcde"))
    assert torch.allclose(by_timm(tmp_path)(PICTURES), head(backbone(PICTURES)), atol=1e-5)
    assert "head.weight" not in backbone.model.state_dict()


def test_a_head_on_imagenet_logits_is_none_of_timms_models(tmp_path: Path) -> None:
    config = BackboneConfig(name="test_vit", pretrained=False, features="logits")
    backbone = build_backbone(config, role="roi", image_size=32).eval()
    with pytest.raises(ConfigError, match="features: logits"):
        write_timm_folder(backbone, backbone.view_spec(), tmp_path, nn.Linear(1000, 5))
    assert not list(tmp_path.iterdir())


def test_a_network_with_something_before_its_classifier_is_refused(tmp_path: Path) -> None:
    backbone = build_backbone(BackboneConfig(name="test_vit", pretrained=False), role="roi", image_size=32).eval()
    backbone.model.register_forward_hook(lambda _module, _inputs, output: output * 2)
    with pytest.raises(ConfigError, match="its logits would differ by"):
        write_timm_folder(backbone, backbone.view_spec(), tmp_path, nn.Linear(backbone.num_features, 5))
    assert not list(tmp_path.iterdir())


def test_hub_pictures_of_a_model_without_normalisation(tmp_path: Path) -> None:
    """What timm's own transforms would do must be what was trained with."""
    backbone = build_backbone(BackboneConfig(name="test_vit", pretrained=False), role="roi", image_size=48).eval()
    write_timm_folder(backbone, backbone.view_spec(normalise="none"), tmp_path)
    model = by_timm(tmp_path)
    data = data_config(model)
    assert (tuple(data["mean"]), tuple(data["std"]), tuple(data["input_size"])) == ((0,) * 3, (1,) * 3, (3, 48, 48))
