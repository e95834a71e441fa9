from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from Off_the_shelfs.backbones import build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.feature_maps import SpatialLayer, find_spatial_layer
from utils.errors import ConfigError


def timm_model(name: str, side: int = 64) -> nn.Module:
    config = BackboneConfig(name=name, pretrained=False)
    return build_backbone(config, role="roi", image_size=side).model


def swin(size: tuple[int, int] = (64, 64)) -> nn.Module:
    heads, depths = (1, 1, 2, 2), (1, 1, 1, 1)
    return SwinTransformer(
        img_size=size, patch_size=4, embed_dim=16, depths=depths, num_heads=heads, window_size=4, num_classes=0
    )


def mixer() -> nn.Module:
    return MlpMixer(img_size=64, patch_size=16, num_blocks=2, embed_dim=32, num_classes=0)


def output_of(model: nn.Module, layer: SpatialLayer, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer's output as it is, and the model's features."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = layer.module.register_forward_hook(keep)
    features = model.eval()(pictures)
    handle.remove()
    assert len(kept) == 1
    return kept[0], features


@pytest.mark.parametrize(
    ("name", "layer", "layout", "channels"),
    [
        ("test_efficientnet", "bn2", "channels first", 256),
        ("test_resnet", "layer4", "channels first", 96),
        ("test_convnext", "norm_pre", "channels first", 64),
        ("mobilenetv3_small_050", "blocks", "channels first", 288),  # its classifier has layers after the pooling
        ("mobilenetv2_035", "bn2", "channels first", 1280),
    ],
)
def test_last_map_of_convolutional_networks(name: str, layer: str, layout: str, channels: int) -> None:
    found = find_spatial_layer(timm_model(name), 64, 64)
    assert (found.name, found.layout, found.channels) == (layer, layout, channels)
    assert (found.height, found.width, found.prefix_tokens) == (2, 2, 0)


@pytest.mark.parametrize(
    ("name", "layer", "prefix"), [("test_vit", "blocks.5.norm1", 1), ("deit_tiny_distilled_patch16_224", None, 2)]
)
def test_class_token_models_take_the_norm_before_the_last_attention(name: str, layer: str | None, prefix: int) -> None:
    model = timm_model(name)
    found = find_spatial_layer(model, 64, 64)
    assert found.name == (layer or "blocks.11.norm1")
    assert (found.layout, found.prefix_tokens, found.height, found.width) == ("tokens", prefix, 4, 4)
    # What makes it the right one: patches still move the features there, and no more after the attention.
    for place, alive in ((found.name, True), (found.name.replace("norm1", "norm2"), False)):
        layer_there = replace(found, name=place, module=model.get_submodule(place))
        values, features = output_of(model, layer_there, torch.randn(1, 3, 64, 64))
        torch.autograd.backward((features * torch.randn_like(features)).sum())
        assert values.grad is not None
        assert bool(layer_there.to_map(values.grad).count_nonzero()) == alive


@pytest.mark.parametrize(
    "build", [lambda: timm_model("test_efficientnet"), mixer, swin, lambda: timm_model("test_vit4")]
)
def test_average_pooled_features_are_the_mean_over_the_cells(build: Callable[[], nn.Module]) -> None:
    model = build()
    layer = find_spatial_layer(model, 64, 64)
    output, features = output_of(model, layer, torch.randn(3, 3, 64, 64))
    values = layer.to_map(output)
    assert values.shape == (3, layer.channels, layer.height, layer.width)
    if type(model).__name__ != "VisionTransformer":  # which normalises after its mean
        torch.testing.assert_close(values.mean(dim=(2, 3)), features)


def test_prefix_tokens_are_dropped_and_patches_lie_row_by_row() -> None:
    layer = SpatialLayer("norm1", nn.Identity(), "tokens", 2, 2, 3, 1)
    tokens = torch.tensor([100.0, 200, 0, 1, 2, 10, 11, 12])[None, :, None]
    assert layer.to_map(tokens).tolist() == [[[[0, 1, 2], [10, 11, 12]]]]


def test_channels_last_becomes_channels_first() -> None:
    layer = SpatialLayer("norm", nn.Identity(), "channels last", 0, 2, 3, 5)
    output = torch.arange(60.0).reshape(2, 2, 3, 5)
    assert layer.to_map(output).shape == (2, 5, 2, 3)
    assert layer.to_map(output)[1, 4, 1, 2] == output[1, 1, 2, 4]


def test_grids_that_are_not_square() -> None:
    found = find_spatial_layer(swin((64, 128)), 64, 128)
    assert (found.layout, found.height, found.width) == ("channels last", 2, 4)
    found = find_spatial_layer(timm_model("test_resnet"), 96, 64)
    assert (found.height, found.width) == (3, 2)


@pytest.mark.parametrize(
    ("name", "layer", "cells"), [("test_efficientnet", "blocks.3", 4), ("test_resnet", "layer2", 8)]
)
def test_finer_maps_come_from_earlier_stages(name: str, layer: str, cells: int) -> None:
    found = find_spatial_layer(timm_model(name), 64, 64, least_cells=cells)
    assert (found.name, found.height, found.width) == (layer, cells, cells)


def test_a_single_cell_is_the_last_map_all_the_same() -> None:
    found = find_spatial_layer(timm_model("test_resnet", 32), 32, 32)
    assert (found.name, found.height, found.width) == ("layer4", 1, 1)


def test_search_leaves_the_model_and_random_state_as_they_were() -> None:
    model = timm_model("test_efficientnet").train()
    model.get_submodule("blocks").eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    find_spatial_layer(model, 64, 64)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_model_without_a_map_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    with pytest.raises(ConfigError, match=r"no layer of Sequential gives a map of features .*32×32 px.*choose a model"):
        find_spatial_layer(flat, 32, 32)
    with pytest.raises(ConfigError, match=r"of at least 40×40 cells .*ask for fewer cells"):
        find_spatial_layer(timm_model("test_efficientnet"), 64, 64, least_cells=40)
