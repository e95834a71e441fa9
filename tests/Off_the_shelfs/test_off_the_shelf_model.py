from dataclasses import replace

import pytest
import torch

from Off_the_shelfs.backbones import Normalise
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from utils.batch import ViewName
from utils.errors import ConfigError

VIT = BackboneConfig(name="test_vit.r160_in1k", pretrained=False)


def build(
    view: ViewName = "roi",
    backbone: BackboneConfig = VIT,
    dropout: float = 0.0,
    image_size: int | None = 32,
    normalise: Normalise = "backbone",
) -> OffTheShelf:
    data = OneViewDataConfig(view=view, image_size=image_size, normalise=normalise)
    return build_off_the_shelf(OffTheShelfModelConfig(backbone=backbone, dropout=dropout), data, n_classes=5)


@pytest.mark.parametrize("view", ["roi", "extra_roi", "photo"])
def test_logits_are_one_linear_layer_on_the_features_of_the_one_view(view: ViewName) -> None:
    model = build(view).eval()
    picture = torch.rand(3, 3, 32, 32)
    features = model.backbone(picture)
    linear = model.state_dict()
    expected = features @ linear["head.1.weight"].T + linear["head.1.bias"]
    torch.testing.assert_close(model({view: picture}), expected)
    torch.testing.assert_close(model.fuse(model.features({view: picture})), expected)
    assert list(model.features({view: picture})) == list(model.backbones) == list(model.view_specs) == [view]
    assert not model.tied


def test_other_views_of_a_batch_are_not_looked_at() -> None:
    model = build("roi").eval()
    roi, first, second = torch.rand(3, 2, 3, 32, 32)
    assert torch.equal(model({"roi": roi, "extra_roi": first}), model({"roi": roi, "extra_roi": second}))


def test_the_view_spec_is_the_backbones() -> None:
    assert build("extra_roi", image_size=None).view_specs["extra_roi"].size == 160
    spec = build("photo").view_specs["photo"]
    assert (spec.size, spec.mean) == (32, (0.5, 0.5, 0.5))
    assert build(normalise="none").view_specs["roi"].mean == (0.0, 0.0, 0.0)


def test_keys_of_the_state_dict() -> None:
    keys = build().state_dict().keys()
    assert {key.split(".")[0] for key in keys} == {"backbone", "head"}
    assert "backbone.model.pos_embed" in keys
    assert {key for key in keys if key.startswith("head.")} == {"head.1.weight", "head.1.bias"}


def test_parameters_are_counted_by_module() -> None:
    counts = build().parameter_counts()
    assert counts["head"] == 64 * 5 + 5
    assert counts["total"] == counts["backbone"] + counts["head"] == counts["trainable"]
    frozen = build(backbone=replace(VIT, frozen=True)).parameter_counts()
    assert frozen["trainable"] == frozen["head"]
    assert frozen["total"] == counts["total"]


def test_dropout_acts_on_the_features_in_training() -> None:
    model = build(dropout=0.5)
    features = {"roi": torch.ones(1, 64)}
    assert len({model.train().fuse(features)[0, 0].item() for _ in range(5)}) == 5
    assert len({model.eval().fuse(features)[0, 0].item() for _ in range(5)}) == 1


def test_imagenet_logits_as_features_widen_the_head() -> None:
    assert build(backbone=replace(VIT, features="logits")).state_dict()["head.1.weight"].shape == (5, 1000)


@pytest.mark.parametrize("dropout", [-0.5, 1.0, float("nan")])
def test_impossible_dropout_is_refused(dropout: float) -> None:
    with pytest.raises(ConfigError, match=r"model\.dropout is .* at least 0 and below 1"):
        build(dropout=dropout)
