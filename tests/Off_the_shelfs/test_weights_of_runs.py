from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import yaml
from torch import Tensor

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from utils.batch import ViewName
from utils.errors import ConfigError

VIT = "test_vit.r160_in1k"


def take(run: Path, role: ViewName = "roi", image_size: int | None = None) -> Backbone:
    return build_backbone(BackboneConfig(name=VIT, weights=str(run)), role=role, image_size=image_size)


def pooled(name: str = VIT) -> dict[str, Tensor]:
    return timm.create_model(name, num_classes=0).state_dict()


def assert_holds(module: Backbone, expected: dict[str, Tensor]) -> None:
    found = module.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def write_run(directory: Path, modules: dict[str, dict[str, Tensor]], model: dict[str, object], view: str = "") -> Path:
    directory.mkdir()
    tensors = {f"{module}.model.{key}": tensor for module, state in modules.items() for key, tensor in state.items()}
    safetensors.torch.save_file({**tensors, "head.0.weight": torch.zeros(2)}, directory / "model.safetensors")
    data = {"root": "dataset_root", **({"view": view} if view else {})}
    (directory / "config.yaml").write_text(yaml.safe_dump({"data": data, "model": model}))
    return directory


def test_the_module_of_the_same_role_is_taken_from_a_run(tmp_path: Path) -> None:
    states: dict[ViewName, dict[str, Tensor]] = {"roi": pooled(), "extra_roi": pooled()}
    model: dict[str, object] = {f"{role}_backbone": {"name": VIT} for role in states}
    run = write_run(tmp_path / "run", {f"{role}_backbone": state for role, state in states.items()}, model)
    for role, state in states.items():
        module = take(run, role=role)
        assert_holds(module, state)
        assert module.notes == []
    with pytest.raises(ConfigError, match="no module for photo; its modules are extra_roi_backbone, roi_backbone"):
        take(run, role="photo")


def test_a_tied_run_serves_both_roles(tmp_path: Path) -> None:
    state = pooled()
    model: dict[str, object] = {"roi_backbone": {"name": VIT}, "extra_roi_backbone": {"name": VIT}, "tied": True}
    run = write_run(tmp_path / "run", {"roi_backbone": state}, model)
    assert_holds(take(run, role="extra_roi"), state)


def test_an_untied_run_lends_no_module_to_the_other_role(tmp_path: Path) -> None:
    model: dict[str, object] = {"roi_backbone": {"name": VIT}, "extra_roi_backbone": {"name": VIT}}
    run = write_run(tmp_path / "run", {"roi_backbone": pooled()}, model)
    with pytest.raises(ConfigError, match="no module for extra_roi; its modules are roi_backbone"):
        take(run, role="extra_roi")


def test_a_one_view_run_serves_any_role_and_says_which_view_it_saw(tmp_path: Path) -> None:
    state = pooled()
    run = write_run(tmp_path / "run", {"backbone": state}, {"backbone": {"name": VIT}}, view="photo")
    module = take(run, role="extra_roi")
    assert_holds(module, state)
    assert module.notes == [f"weights of '{run}', a run on the view photo, taken for extra_roi"]


def test_a_run_with_another_backbone_is_named_in_the_refusal(tmp_path: Path) -> None:
    state = {**pooled("test_efficientnet"), "norm.bias": torch.zeros(64)}
    run = write_run(tmp_path / "run", {"backbone": state}, {"backbone": {"name": "test_efficientnet"}}, view="roi")
    with pytest.raises(ConfigError, match=r"for test_vit.*, which are those of a test_eff.*, do not"):
        take(run)


@pytest.mark.parametrize("side", [160, 192])
def test_pooled_weights_are_not_taken_for_an_older_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    # Some conversions of timm take weights without a classifier for their authors' layout and rename their keys.
    calls: list[bool] = []

    def convert(state: dict[str, Tensor], model: torch.nn.Module) -> dict[str, Tensor]:
        calls.append(True)
        assert model.state_dict().keys() < state.keys()
        if "head.weight" not in state:
            return {f"stages.{key}": tensor for key, tensor in state.items()}
        return {**state, "pos_embed": model.state_dict()["pos_embed"]}

    state = pooled()
    run = write_run(tmp_path / "run", {"backbone": state}, {"backbone": {"name": VIT}}, view="roi")
    monkeypatch.setattr(timm.models.vision_transformer, "checkpoint_filter_fn", convert)
    loaded = take(run, image_size=side).model.state_dict()
    assert len(calls) == (side != 160)
    assert all(torch.equal(loaded[key], state[key]) for key in loaded if key != "pos_embed")


def test_a_run_without_its_configuration_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"backbone": pooled()}, {"backbone": {"name": VIT}}, view="roi")
    (run / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no finished run directory: config\.yaml not found in it"):
        take(run)


def test_an_unfinished_run_is_refused_and_what_serves_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"backbone": pooled()}, {"backbone": {"name": VIT}}, view="roi")
    checkpoint = run / "checkpoint_last"
    checkpoint.mkdir()
    (run / "model.safetensors").rename(checkpoint / "model.safetensors")
    unfinished = f"weights '{run}' are those of a run that is unfinished; finish it with --run.resume auto"
    for settings, more in (
        ({"model": {"backbone": {"name": VIT}}}, ""),  # a classifier's checkpoint is no backbone's file
        (
            {"model": {"backbone": VIT}, "fidelity": {}},
            f", or take the network out of its last checkpoint with convert_R2O.py --source {checkpoint}/"
            f"model.safetensors",
        ),
    ):
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        with pytest.raises(ConfigError) as caught:
            take(run)
        assert str(caught.value) == unfinished + more


@pytest.mark.parametrize("text", ["model: [1", "- 1", "", "model: {width: 3}", "data: {}", "model: {backbone: vit}"])
def test_a_run_with_a_foreign_configuration_is_refused(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "run", {"backbone": pooled()}, {"backbone": {"name": VIT}}, view="roi")
    (run / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not the configuration of a run of ours"):
        take(run)
