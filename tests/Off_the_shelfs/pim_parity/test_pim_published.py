"""Checkpoints in the layout of the authors' code: read whole, and answered as their module answers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.pim.checkpoint import PimWeights, read_pim_weights, translated
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.levels import Level
from Off_the_shelfs.pim.module import PimBackbone, PlugIn
from Off_the_shelfs.weights import Weights
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import build_rvernet
from utils.data_sections import DataConfig
from utils.errors import ConfigError

NAME = "swin_tiny_patch4_window7_224.ms_in1k"
SIDE, CLASSES = 64, 5
PARITY = PimConfig(
    taps="merged", upsample="dense", query_channels="quarter", width=12, counts=[40, 10, 4, 2], positions_per_joint=8
)
Save = Callable[[dict[str, Tensor]], str]
Keys = Callable[[Any], dict[str, Tensor]]


def load(file: str, pim: PimConfig = PARITY, n_classes: int = CLASSES, **options: Any) -> OffTheShelf:  # noqa: ANN401
    backbone = BackboneConfig(name=NAME, weights=file, features="pim", pim=pim, **options)
    data = OneViewDataConfig(view="photo", image_size=SIDE)
    return build_off_the_shelf(OffTheShelfModelConfig(backbone=backbone, dropout=0.1), data, n_classes).eval()


def pictures() -> Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_every_answer_is_that_of_the_published_module(
    published: Callable[..., Any], tensors_of: Keys, save: Save
) -> None:
    theirs = published()
    model = load(save(tensors_of(theirs)))
    with torch.no_grad():
        expected, found = theirs(pictures()), cast(PimBackbone, model.backbone).find(pictures())
        logits = model({"photo": pictures()})
    torch.testing.assert_close(logits, expected.combiner, rtol=1e-5, atol=1e-5)
    assert logits.std(dim=0).min() > 0.01  # a module that ignores the picture would not be told from ours
    for number, level in enumerate(found.levels):
        torch.testing.assert_close(level.logits, expected.levels[number], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(level.kept_logits, expected.kept[number], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(level.dropped_logits, expected.dropped[number], rtol=1e-5, atol=1e-5)
    assert model.backbone.notes == []
    assert model.backbone.source.endswith("best.pt")


def test_every_weight_arrives_once(published: Callable[..., Any], tensors_of: Keys, save: Save) -> None:
    tensors = tensors_of(published())
    model = load(save(tensors))
    left = {"backbone.norm", "backbone.head", "relative_position_index", "attn_mask"}  # no map depends on these
    used = [tensor for key, tensor in tensors.items() if not any(part in key for part in left)]
    own = model.state_dict()
    assert len(used) == len(own)
    sums = [sorted(round(float(tensor.double().sum()), 6) for tensor in each) for each in (used, own.values())]
    assert sums[0] == sums[1]
    outside = [translated(key) for key in tensors if not key.startswith(("backbone.", "combiner.classifier"))]
    assert sorted(outside) == sorted(cast(PimBackbone, model.backbone).plug_in.state_dict())


def test_projections_as_convolutions_and_linear_classifiers_are_the_same_maps(
    published: Callable[..., Any], tensors_of: Keys, save: Save
) -> None:
    theirs = published()
    tensors = tensors_of(theirs)
    for key, tensor in tensors.items():
        if key.startswith("fpn.Proj") and key.endswith("weight"):
            tensors[key] = tensor[:, :, None, None]
        if key.startswith(("fpn_classifier", "fpn.Up")) and tensor.dim() == 3:
            tensors[key] = tensor.squeeze(-1)
    tensors["combiner.alpha1"] = tensors["combiner.alpha1"].squeeze()
    with torch.no_grad():
        logits = load(save({f"module.{key}": tensor for key, tensor in tensors.items()}))({"photo": pictures()})
        torch.testing.assert_close(logits, theirs(pictures()).combiner, rtol=1e-5, atol=1e-5)


MERGED = [Level(16, 8, 8), Level(32, 4, 4), Level(64, 2, 2), Level(64, 2, 2)]
STAGES = [Level(8, 16, 16), *MERGED[:2], Level(64, 2, 2)]


def load_plug_in(file: str, pim: PimConfig, levels: list[Level] = MERGED, n_classes: int = CLASSES) -> None:
    """Load what lies beside the backbone alone, which spares building one."""
    config = BackboneConfig(name=NAME, weights=file, features="pim", pim=pim)
    beside = SimpleNamespace(plug_in=PlugIn(levels, pim, n_classes), notes=[])
    weights = read_pim_weights(config, "photo")
    assert weights is not None
    weights.load_plug_in(cast(PimBackbone, beside), config)


DIFFERENCES: list[tuple[dict[str, Any], list[Level], str]] = [
    ({"counts": [30, 9, 4, 2]}, MERGED, r"56 kept positions there, 45 here, so change pim\.counts; 7 joints there, 5 "),
    ({"positions_per_joint": 4}, MERGED, r"7 joints there, 14 here, so change pim\.positions_per_joint"),
    ({"width": 16}, MERGED, r"12 channels of width there, 16 here, so change pim\.width"),
    ({"query_channels": "one"}, MERGED, r"3 channels of the query there, 1 here, so change pim\.query_channels"),
    ({"upsample": "interpolate"}, MERGED, r"upsample dense there, interpolate here, so change pim\.upsample"),
    ({}, STAGES, r"16, 32, 64, 64 channels of the maps there, 8, 16, 32, 64 here, so change pim\.taps"),
    ({"counts": [10, 4, 2]}, MERGED[1:], r"4 levels there, 3 here, so change pim\.levels"),
]


@pytest.mark.parametrize(("changes", "levels", "message"), DIFFERENCES)
def test_another_module_is_refused_with_both_numbers(
    published: Callable[..., Any],
    tensors_of: Keys,
    save: Save,
    changes: dict[str, Any],
    levels: list[Level],
    message: str,
) -> None:
    file = save(tensors_of(published()))
    with pytest.raises(ConfigError, match=message) as caught:
        load_plug_in(file, replace(PARITY, **changes), levels)
    assert "\n" not in str(caught.value)
    assert "best.pt" in str(caught.value)
    assert "allow_mismatch" in str(caught.value)


def test_other_classes_are_refused(published: Callable[..., Any], tensors_of: Keys, save: Save) -> None:
    with pytest.raises(ConfigError, match="5 classes there, 7 here, so change the data; or set allow_mismatch: true"):
        load_plug_in(save(tensors_of(published())), PARITY, n_classes=7)


def test_for_other_classes_only_the_classifiers_start_afresh(
    published: Callable[..., Any], tensors_of: Keys, save: Save
) -> None:
    tensors = tensors_of(published())
    model = load(save(tensors), n_classes=7, allow_mismatch=True)
    own = cast(PimBackbone, model.backbone).plug_in.state_dict()
    fresh = {
        key
        for key, tensor in tensors.items()
        if not key.startswith(("backbone.", "combiner.classifier"))
        and (
            own[translated(key)].numel() != tensor.numel()
            or not own[translated(key)].equal(tensor.view_as(own[translated(key)]))
        )
    }
    assert fresh == {f"fpn_classifier_layer{number}.3.{kind}" for number in range(1, 5) for kind in ("weight", "bias")}
    notes = " ".join(model.backbone.notes)
    assert "5 classes there, 7 here" in notes
    assert "combiner's classifier starts afresh" in notes
    assert model({"photo": pictures()}).shape == (3, 7)


def test_a_larger_model_leaves_the_classifier_out_and_says_so(
    published: Callable[..., Any], tensors_of: Keys, save: Save
) -> None:
    backbone = BackboneConfig(name=NAME, weights=save(tensors_of(published())), features="pim", pim=PARITY)
    config = RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone, tied=True)
    model = build_rvernet(config, DataConfig(image_size=SIDE), CLASSES)
    (note,) = model.roi_backbone.notes
    assert "the combiner's classifier is not taken, since the model has a head of its own" in note


def broken() -> Iterator[tuple[str, Callable[[dict[str, Tensor]], object], str]]:
    yield (
        "no backbone",
        lambda t: [t.pop(key) for key in list(t) if key.startswith("backbone.")],
        "hold no tensors of a",
    )
    yield "half a head", lambda t: t.pop("combiner.classifier.bias"), "hold no weight and bias of combiner.classifier"
    yield "a missing part", lambda t: t.pop("combiner.adj1"), r"1 missing: combiner\.adjacency"
    yield "a strange part", lambda t: t.update({"combiner.conv9.bias": torch.ones(2)}), r"1 unexpected: combiner\.conv9"


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in broken()], ids=[case[0] for case in broken()])
def test_a_damaged_checkpoint_is_refused(
    published: Callable[..., Any],
    tensors_of: Keys,
    save: Save,
    change: Callable[[dict[str, Tensor]], object],
    message: str,
) -> None:
    tensors = tensors_of(published())
    change(tensors)
    with pytest.raises(ConfigError, match=message):
        load_plug_in(save(tensors), PARITY)


def test_a_strange_layer_of_the_backbone_is_refused(
    published: Callable[..., Any], tensors_of: Keys, save: Save
) -> None:
    tensors = tensors_of(published()) | {"backbone.layers.3.blocks.1.norm1.bias": torch.ones(64)}
    with pytest.raises(ConfigError, match=r"1 unexpected: layers\.3\.blocks\.1\.norm1\.bias"):
        load(save(tensors))


def test_a_run_hands_on_its_plug_in_module(tmp_path: Path) -> None:
    pim = PimConfig(levels=[-2, -1], width=8, counts=0.5, positions_per_joint=2)
    backbone = BackboneConfig(name="test_resnet.r160_in1k", pretrained=False, features="pim", pim=pim)
    config, data = OffTheShelfModelConfig(backbone=backbone), OneViewDataConfig(view="photo", image_size=SIDE)
    first = build_off_the_shelf(config, data, 3)
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    record = {"model": {"backbone": {"name": backbone.name}}, "data": {"view": "photo"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    second = build_off_the_shelf(replace(config, backbone=replace(backbone, weights=str(tmp_path))), data, 3)
    expected = first.backbone.state_dict()
    assert all(tensor.equal(expected[key]) for key, tensor in second.backbone.state_dict().items())
    assert (second.backbone.source, second.backbone.origin.kind) == (str(tmp_path), "run")


def test_a_class_token_that_counted_as_a_place_is_told_of() -> None:
    tensors = {"patch.weight": torch.ones(3, 3), "patch.bias": torch.ones(3)}
    for has_token in (True, False):
        model = nn.Sequential()
        model.add_module("patch", nn.Linear(3, 3))
        model.pretrained_cfg, model.num_prefix_tokens = {}, int(has_token)  # type: ignore[assignment]
        trunk = SimpleNamespace(model=model, name="test_vit", notes=[])
        config = BackboneConfig(name="test_vit", weights="best.pt", features="pim")
        PimWeights(Weights(tensors, "best.pt"), {}).load_trunk(cast(PimBackbone, trunk), config)
        assert ["counts the class token of test_vit among the places" in note for note in trunk.notes] == (
            [True] if has_token else []
        )
