from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import RveRNet, build_rvernet
from utils.data_sections import DataConfig
from utils.errors import ConfigError

VIT = BackboneConfig(name="test_vit.r160_in1k", pretrained=False)
CNN = BackboneConfig(name="test_efficientnet.r160_in1k", pretrained=False)
PAIR = RveRNetModelConfig(roi_backbone=VIT, extra_roi_backbone=CNN)
TIED = RveRNetModelConfig(roi_backbone=CNN, extra_roi_backbone=CNN, tied=True)


def build(config: RveRNetModelConfig = PAIR, data: DataConfig | None = None, seed: int = 0) -> RveRNet:
    torch.manual_seed(seed)
    return build_rvernet(config, data or DataConfig(image_size=64), n_classes=7)


def pictures(count: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.rand(count, 3, 64, 64) for name in ("roi", "extra_roi")}


def test_logits_follow_equation_1() -> None:
    model, views = build().eval(), pictures()
    weights = model.state_dict()
    joined = torch.cat([model.roi_backbone(views["roi"]), model.extra_roi_backbone(views["extra_roi"])], dim=1)
    hidden = (joined @ weights["head.1.weight"].T + weights["head.1.bias"]).clamp(min=0)
    expected = hidden @ weights["head.4.weight"].T + weights["head.4.bias"]
    assert hidden.shape == (3, 640)
    torch.testing.assert_close(model(views), expected)


def test_features_of_a_view_do_not_see_the_other_view() -> None:
    model, views = build().eval(), pictures()
    other = {**views, "extra_roi": views["extra_roi"].flip(0)}
    before, after = model.features(views), model.features(other)
    assert torch.equal(before["roi"], after["roi"])
    assert torch.equal(before["extra_roi"].flip(0), after["extra_roi"])
    assert not torch.equal(model.fuse(before), model.fuse(after))


def test_stored_features_of_any_two_pairs_can_be_fused() -> None:
    model, views = build().eval(), pictures()
    stored = model.features(views)
    swapped = {"extra_roi": stored["extra_roi"][[2, 0, 1]], "roi": stored["roi"]}
    expected = model({"roi": views["roi"], "extra_roi": views["extra_roi"][[2, 0, 1]]})
    torch.testing.assert_close(model.fuse(swapped), expected)


def test_each_view_has_the_statistics_and_size_of_its_own_backbone() -> None:
    convnext = BackboneConfig(name="convnext_atto.d2_in1k", pretrained=False)
    model = build(RveRNetModelConfig(roi_backbone=VIT, extra_roi_backbone=convnext), DataConfig())
    assert model.view_specs["roi"].size == 160
    assert model.view_specs["roi"].mean == (0.5, 0.5, 0.5)
    assert model.view_specs["extra_roi"].size == 224
    assert model.view_specs["extra_roi"].mean == (0.485, 0.456, 0.406)
    views = {"roi": torch.rand(1, 3, 160, 160), "extra_roi": torch.rand(1, 3, 224, 224)}
    assert model.eval()(views).shape == (1, 7)


def test_equal_names_are_two_modules_unless_tied() -> None:
    untied = build(replace(TIED, tied=False))
    assert not untied.tied
    assert untied.backbones["roi"] is not untied.backbones["extra_roi"]
    roi, extra_roi = (dict(module.named_parameters()) for module in untied.backbones.values())
    assert not any(roi[key] is extra_roi[key] for key in roi)
    assert not torch.equal(roi["model.conv_stem.weight"], extra_roi["model.conv_stem.weight"])


def test_a_tied_model_has_one_module_for_both_roles() -> None:
    model = build(TIED)
    assert model.tied
    assert model.backbones["roi"] is model.backbones["extra_roi"] is model.roi_backbone
    assert list(model.backbones) == ["roi", "extra_roi"]
    views = pictures()
    features = model.eval().features({"roi": views["roi"], "extra_roi": views["roi"]})
    assert torch.equal(features["roi"], features["extra_roi"])


def test_parameters_of_tied_modules_are_counted_once() -> None:
    tied, untied = build(TIED).parameter_counts(), build(replace(TIED, tied=False)).parameter_counts()
    head = (2 * 256) * 640 + 640 + 640 * 7 + 7
    assert tied["head"] == untied["head"] == head
    assert tied["total"] == tied["roi_backbone"] + head
    assert untied["total"] == untied["roi_backbone"] + untied["extra_roi_backbone"] + head
    assert untied["total"] - tied["total"] == tied["roi_backbone"] == untied["extra_roi_backbone"]
    assert sum(weight.numel() for weight in build(TIED).parameters()) == tied["total"]


def test_both_views_move_a_tied_module() -> None:
    # One pass over each view: BatchNorm counts two batches, and each view alone reaches the same weights.
    model = build(TIED).train()
    model(pictures())
    assert int(model.state_dict()["roi_backbone.model.bn1.num_batches_tracked"]) == 2


@pytest.mark.parametrize("config", [TIED, PAIR], ids=["tied", "pair"])
def test_weights_survive_safetensors(tmp_path: Path, config: RveRNetModelConfig) -> None:
    model = build(config).eval()
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    assert len(pointers) == len(set(pointers))
    other = build(config, seed=5).eval()
    assert not torch.equal(other(pictures()), model(pictures()))
    other.load_state_dict(safetensors.torch.load_file(file))
    assert torch.equal(other(pictures()), model(pictures()))


def test_keys_of_the_state_dict_name_the_roles() -> None:
    assert {key.split(".")[0] for key in build().state_dict()} == {"roi_backbone", "extra_roi_backbone", "head"}
    assert {key.split(".")[0] for key in build(TIED).state_dict()} == {"roi_backbone", "head"}


def test_modules_of_a_finished_run_start_another(tmp_path: Path) -> None:
    first = build(seed=3)
    safetensors.torch.save_file(first.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.yaml").write_text(
        f"model:\n  tied: false\n  roi_backbone: {{name: {VIT.name}}}\n  extra_roi_backbone: {{name: {CNN.name}}}\n"
    )
    roi, extra_roi = (replace(part, weights=str(tmp_path)) for part in (VIT, CNN))
    second = build(RveRNetModelConfig(roi_backbone=roi, extra_roi_backbone=extra_roi), seed=4)
    views = pictures()
    expected, found = first.eval().features(views), second.eval().features(views)
    assert all(torch.equal(expected[name], found[name]) for name in views)
    assert not torch.equal(first(views), second(views))


def test_tied_roles_must_ask_for_the_same_backbone() -> None:
    unequal = replace(TIED, roi_backbone=replace(VIT, frozen=True))
    message = r"differ in name \('test_vit.r160_in1k', 'test_efficientnet.r160_in1k'\), frozen \(True, False\)"
    with pytest.raises(ConfigError, match=message):
        build(unequal)


def test_freezing_is_per_module() -> None:
    model = build(replace(PAIR, extra_roi_backbone=replace(CNN, frozen=True))).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model(pictures()).square().sum().backward()
    optimiser.step()
    moved = {key.split(".")[0] for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == {"roi_backbone", "head"}


def test_the_seed_decides_the_initial_weights() -> None:
    first, again, other = (build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])


def test_the_hidden_layer_has_the_width_and_dropout_asked_for() -> None:
    model = build(replace(PAIR, hidden_width=10, dropout=0.5))
    assert model.state_dict()["head.1.weight"].shape == (10, 64 + 256)
    features = {"roi": torch.ones(1, 64), "extra_roi": torch.ones(1, 256)}
    assert len({model.train().fuse(features)[0, 0].item() for _ in range(5)}) > 3
    with pytest.raises(ConfigError, match=r"model\.hidden_width is 0; it must be at least 1"):
        build(replace(PAIR, hidden_width=0))
    with pytest.raises(ConfigError, match=r"model\.dropout is 1\.0"):
        build(replace(PAIR, dropout=1.0))


def test_logits_as_features_give_the_released_codes_head() -> None:
    logits = replace(CNN, features="logits")
    model = build(replace(TIED, roi_backbone=logits, extra_roi_backbone=logits))
    assert model.state_dict()["head.1.weight"].shape == (640, 2000)
