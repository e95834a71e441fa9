import re
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from utils.errors import ConfigError


def backbone(name: str, image_size: int | None = None, **options: object) -> Backbone:
    settings = {"pretrained": False, **options}
    return build_backbone(BackboneConfig(name=name, **settings), role="roi", image_size=image_size)  # type: ignore[arg-type]  # mixed options


# Length of the feature vector and side of a small picture; the lengths are those of the models' papers or cards.
FAMILIES = {
    "test_efficientnet.r160_in1k": (256, 64),
    "test_resnet.r160_in1k": (96, 64),
    "test_vit.r160_in1k": (64, 32),
    "mobilenetv2_035": (1280, 32),
    "mobilenetv3_small_050.lamb_in1k": (1024, 32),
    "deit_tiny_distilled_patch16_224.fb_in1k": (192, 32),
    "mixer_s32_224": (512, 64),
    "swin_tiny_patch4_window7_224.ms_in1k": (768, 32),
    "convnext_atto.d2_in1k": (320, 32),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_announced_feature_length_is_that_of_a_forward_pass(name: str) -> None:
    length, side = FAMILIES[name]
    module = backbone(name, side)
    for training in (True, False):
        features = module.train(training)(torch.rand(2, 3, side, side))
        assert features.shape == (2, length)
    assert module.num_features == length
    assert not any(tensor.shape[:1] == (1000,) for tensor in module.state_dict().values())


def test_logits_are_the_thousand_imagenet_classes() -> None:
    module = backbone("test_vit.r160_in1k", 32, features="logits")
    assert module.num_features == 1000
    assert module(torch.rand(2, 3, 32, 32)).shape == (2, 1000)
    assert module.state_dict()["model.head.weight"].shape == (1000, 64)


def test_logits_need_a_classifier() -> None:
    with pytest.raises(ConfigError, match="logits asks for an ImageNet classifier"):
        backbone("convnextv2_atto.fcmae", 32, features="logits")


def test_distilled_deit_pools_the_mean_of_class_and_distillation_token() -> None:
    module = backbone("deit_tiny_distilled_patch16_224.fb_in1k", 32).eval()
    picture = torch.rand(2, 3, 32, 32)
    tokens = module.model.forward_features(picture)  # type: ignore[operator]  # a method, which nn.Module hides
    assert tokens.shape == (2, 2 + 4, 192)
    expected = (tokens[:, 0] + tokens[:, 1]) / 2
    torch.testing.assert_close(module(picture), expected)
    assert not torch.allclose(expected, tokens[:, 0])


def test_view_specs_differ_by_model_as_their_weights_expect() -> None:
    inception = backbone("test_vit.r160_in1k").view_spec()
    assert (inception.size, inception.mean, inception.std) == (160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    imagenet = backbone("mobilenetv2_035").view_spec()
    assert (imagenet.size, imagenet.interpolation) == (224, "bicubic")
    assert imagenet.mean == (0.485, 0.456, 0.406)
    assert imagenet.std == (0.229, 0.224, 0.225)


def test_view_spec_without_normalisation_leaves_pixels_alone() -> None:
    spec = backbone("test_vit.r160_in1k", 64).view_spec(64, "none")
    assert (spec.size, spec.mean, spec.std) == (64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_fixed_size_model_is_built_for_the_size_asked_for() -> None:
    module = backbone("deit_tiny_distilled_patch16_224.fb_in1k", 64)
    assert module.state_dict()["model.pos_embed"].shape == (1, 2 + 4 * 4, 192)
    assert module.view_spec().size == 64
    with pytest.raises(ConfigError, match="cannot take pictures of 96 px"):
        module.view_spec(96)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("test_vit.r160_in1k", 100, "multiple of its patch, 16 px, such as 96 or 112; its own size is 160"),
        ("test_vit.r160_in1k", 8, "such as 16; its own size"),
        ("levit_128s", 100, "cannot take pictures of 100 px .* its own size is 224"),
        ("test_efficientnet", 0, "image_size is 0; it must be at least 1 px"),
    ],
)
def test_impossible_sizes_say_what_is_possible(name: str, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone(name, size)


def test_models_without_a_feature_vector_are_refused() -> None:
    module = backbone("test_resnet.r160_in1k", 64)
    module.model.global_pool = nn.Identity()
    with pytest.raises(ConfigError, match=r"shape \(2, 96, 3, 3\) where one vector of 96 numbers"):
        module.view_spec(96)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_225", "unknown backbone 'vit_base_patch16_225'; did you mean 'vit_base_patch16_224"),
        ("MobileNetV2_100", "unknown backbone 'MobileNetV2_100'; did you mean 'mobilenetv2_100'"),
        ("mobilenetv2_100.ra_in22k", "unknown weight tag 'ra_in22k' .*mobilenetv2_100.ra_in1k"),
        ("hf-hub:timm/test_vit.r160_in1k", "unknown backbone 'hf-hub"),
        ("", r"unknown backbone ''\. Allowed is any of timm's"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone(name)


def test_a_name_without_published_weights_cannot_be_pretrained() -> None:
    unpublished = next(name for name in timm.list_models() if not timm.models.is_model_pretrained(name))
    with pytest.raises(ConfigError, match="no published weights of backbone"):
        backbone(unpublished, pretrained=True)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_outside_their_range_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"drop_path_rate of backbone 'test_vit' is .* at least 0 and below 1"):
        backbone("test_vit", drop_path_rate=rate)


def test_rates_that_the_model_does_not_know_are_refused_unless_zero() -> None:
    assert backbone("densenet121", 64).num_features == 1024
    with pytest.raises(ConfigError, match="does not take drop_path_rate; set it to 0"):
        backbone("densenet121", drop_path_rate=0.1)


@pytest.mark.parametrize(("name", "rate"), [("swin_tiny_patch4_window7_224.ms_in1k", 0.0), ("test_vit", 0.3)])
def test_stochastic_depth_is_what_was_asked_for_whatever_the_models_default(name: str, rate: float) -> None:
    module = backbone(name, 32, drop_path_rate=rate)
    rates = [getattr(part, "drop_prob", 0.0) for part in module.modules() if type(part).__name__ == "DropPath"]
    assert max(rates, default=0.0) == pytest.approx(rate)


def test_dropout_reaches_the_pooled_features_in_training_only() -> None:
    module = backbone("test_efficientnet.r160_in1k", 64, drop_rate=0.5)
    picture = torch.rand(4, 3, 64, 64)
    dropped = (module.train()(picture) == 0).float().mean()
    assert 0.4 < dropped < 0.6
    assert (module.eval()(picture) == 0).float().mean() < 0.1


def test_a_frozen_backbone_does_not_move_under_training() -> None:
    picture = torch.rand(4, 3, 64, 64)
    frozen, free = (backbone("test_efficientnet.r160_in1k", 64, frozen=frozen) for frozen in (True, False))
    for module in (frozen, free):
        before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
        outer = nn.Sequential(module, nn.Linear(module.num_features, 2)).train()
        optimiser = torch.optim.SGD([weight for weight in outer.parameters() if weight.requires_grad], lr=0.1)
        outer(picture).sum().backward()
        optimiser.step()
        moved = [key for key, tensor in module.state_dict().items() if not torch.equal(tensor, before[key])]
        if module is frozen:
            assert moved == []
            assert not any(part.training for part in module.modules())
            assert not any(weight.requires_grad for weight in module.parameters())
        else:
            assert any("running_mean" in key for key in moved)
            assert any("conv" in key for key in moved)


def test_gradients_pass_through_a_frozen_backbone_to_its_input() -> None:
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    backbone("test_vit.r160_in1k", 32, frozen=True)(picture)[0, 0].backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_random_weights_depend_on_the_global_seed_alone() -> None:
    states = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        states.append(backbone("test_vit.r160_in1k", 32).state_dict())
    first, again, other = (state["model.patch_embed.proj.weight"] for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_loaded_when_a_checkpoint_is_about_to_be() -> None:
    config = BackboneConfig(name="test_vit.r160_in1k", pretrained=True, weights="absent.pth")
    module = build_backbone(config, role="roi", image_size=32, initialise=False)
    assert module.source == "random"


def test_published_weights_come_from_the_cache_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("test_vit.r160_in1k").state_dict()
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published, file)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))

    module = backbone("test_vit.r160_in1k", pretrained=True)
    assert module.source == "timm test_vit.r160_in1k"
    for key, tensor in module.model.state_dict().items():
        assert torch.equal(tensor, published[key])

    del published["norm.weight"]
    safetensors.torch.save_file(published, file)
    with pytest.raises(ConfigError, match=r"'test_vit.r160_in1k' could not be loaded .*Missing key.*norm\.weight"):
        backbone("test_vit.r160_in1k", pretrained=True)

    file.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"could not be loaded .* set weights: PATH"):
        backbone("test_vit.r160_in1k", pretrained=True)


def test_without_network_the_message_says_how_to_use_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "http://127.0.0.1:9/refused")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("went on to download"))
    message = "weights of 'test_vit.r160_in1k' could not be downloaded from timm/test_vit.r160_in1k"
    with pytest.raises(ConfigError, match=re.escape(message) + ".* set weights: PATH"):
        backbone("test_vit.r160_in1k", pretrained=True)
