"""The two maps of a timm model, against what timm's own layers give."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors.torch
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from R2O.config import R2OModelConfig
from R2O.trunk import Trunk, build_trunk
from utils.errors import ConfigError

# name: channels and cells of the last map, channels and cells of the clustered one, at 64 px.
FAMILIES = {
    "test_resnet": (96, 2, 192, 4),
    "test_vit": (64, 4, 64, 4),
    "distilled": (32, 4, 32, 4),
    "swin": (64, 2, 32, 4),
    "mobilenetv2_050": (1280, 2, 48, 4),
    "test_convnext": (64, 2, 48, 4),
}
SMALL: dict[str, Callable[[], nn.Module]] = {  # of families whose smallest named model takes seconds
    "distilled": lambda: cast(Any, VisionTransformerDistilled)(
        img_size=64, depth=3, embed_dim=32, num_heads=2, num_classes=0
    ),
    "swin": lambda: SwinTransformer(
        img_size=64, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, num_classes=0
    ),
}


def trunk_of(name: str, size: int = 64, **settings: Any) -> Trunk:  # noqa: ANN401  # of any field
    if name in SMALL:
        return Trunk(Backbone(SMALL[name](), BackboneConfig(name=name), size), 16)
    return build_trunk(R2OModelConfig(backbone=name, **settings), size)


@pytest.fixture(scope="module")
def trunks() -> Callable[[str], Trunk]:
    """Return a function that builds a family's trunk once."""
    return cache(trunk_of)


def children(model: nn.Module, *names: str) -> nn.Sequential:
    return nn.Sequential(*(model.get_submodule(name) for name in names))


@torch.no_grad()
def by_hand(name: str, model: Any, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401  # of any family
    """Return last and clustered map by calling timm's layers one by one."""
    if name == "test_resnet":
        third = children(model, "conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3")(x)
        return model.layer4(third), third
    if name.startswith("mobilenet"):
        third = children(model, "conv_stem", "bn1", *(f"blocks.{i}" for i in range(5)))(x)
        return children(model, "blocks.5", "blocks.6", "conv_head", "bn2")(third), third
    if name == "swin":
        third = children(model, "patch_embed", "layers.0", "layers.1", "layers.2")(x)
        return model.norm(model.layers[3](third)).permute(0, 3, 1, 2), third.permute(0, 3, 1, 2)
    tokens = model._pos_embed(model.patch_embed(x))
    *blocks, last = model.blocks
    for block in blocks:
        tokens = block(tokens)
    first = {"test_vit": 1, "distilled": 2}[name]
    before, after = (each[:, first:] for each in (tokens, model.norm(last(tokens))))
    size = x.shape[-1] // 16
    return tuple(each.transpose(1, 2).reshape(len(x), -1, size, size) for each in (after, before))


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_of_a_family(trunks: Callable[[str], Trunk], name: str) -> None:
    trunk = trunks(name).eval()
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last, clustered = trunk(pictures), trunk.clustered(pictures)
    channels, cells, cluster_channels, cluster_cells = FAMILIES[name]
    assert last.shape == (2, channels, cells, cells)
    assert (trunk.channels, trunk.cells) == (channels, cells)
    assert clustered.shape == (2, cluster_channels, cluster_cells, cluster_cells)
    assert trunk.cluster_channels == cluster_channels
    if name == "test_convnext":
        return
    expected_last, expected_clustered = by_hand(name, trunk.model, pictures)
    assert torch.equal(last, expected_last)
    assert torch.equal(clustered, expected_clustered)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_takes_gradient_is_what_the_last_map_depends_on(trunks: Callable[[str], Trunk], name: str) -> None:
    trunk = trunks(name)
    trunk(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for key, parameter in trunk.model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key


def test_parameters_after_the_last_map_are_named(trunks: Callable[[str], Trunk]) -> None:
    trunk = trunks("test_convnext")
    assert [key for key, p in trunk.model.named_parameters() if not p.requires_grad] == [
        "head.norm.weight",
        "head.norm.bias",
    ]
    assert trunk.notes == [
        "backbone test_convnext: 2 parameters come after its last map and are not trained: head.norm.weight, "
        "head.norm.bias"
    ]
    assert trunks("test_resnet").notes == []


def test_the_resnet_of_the_paper() -> None:
    trunk = trunk_of("resnet50", 224)
    assert (trunk.channels, trunk.cells, trunk.cluster_channels) == (2048, 7, 1024)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 25_557_032 - 2_049_000  # the classifier's
    # As in torchvision, and other than timm does by itself, no residual branch starts closed.
    scales = [part.weight for part in trunk.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(scales) == 53
    assert all(bool((scale == 1).all()) for scale in scales)
    assert (trunk.mean, trunk.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_random_weights_depend_on_the_seed_alone() -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(trunk_of("test_resnet").model.get_parameter("layer4.0.conv1.weight"))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_its_weights_are_those_that_a_module_loads(name: str, tmp_path: Path) -> None:
    """A file of the model's state is taken by the train scripts with nothing missing and nothing left over."""
    trunk, file = trunk_of(name), tmp_path / "weights.safetensors"
    safetensors.torch.save_file(trunk.model.state_dict(), file)
    config = BackboneConfig(name=name, weights=str(file))
    module = build_backbone(config, role="extra_roi", image_size=64)
    assert module.notes == []
    loaded = module.model.state_dict()
    assert loaded.keys() == trunk.model.state_dict().keys()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in trunk.model.state_dict().items())
    again = trunk_of(name, weights=str(file))
    assert (again.origin.kind, again.source) == ("file", str(file))
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in again.model.state_dict().items())


def test_weights_that_fit_in_part_are_refused_without_an_option_that_there_is_not(tmp_path: Path) -> None:
    trunk, file = trunk_of("test_resnet"), tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv1.0.weight": trunk.model.state_dict()["conv1.0.weight"]}, file)
    with pytest.raises(ConfigError, match=r"do not match: .*; give weights of this model, or set model\.backbone to"):
        trunk_of("test_resnet", weights=str(file))


def test_scales_of_loaded_weights_stay(tmp_path: Path) -> None:
    trunk, file = trunk_of("test_resnet"), tmp_path / "weights.safetensors"
    nn.init.zeros_(trunk.model.get_parameter("layer1.0.bn2.weight"))
    safetensors.torch.save_file(trunk.model.state_dict(), file)
    again = trunk_of("test_resnet", weights=str(file))
    assert not again.model.get_parameter("layer1.0.bn2.weight").any()


def test_other_strides_can_be_clustered() -> None:
    trunk = trunk_of("test_resnet", cluster_stride=8)
    assert trunk.clustered(torch.zeros(1, 3, 64, 64)).shape == (1, 48, 8, 8)
    # The last map has that stride too, but is no earlier one.
    with pytest.raises(ConfigError, match=r"no map at that stride before its last one; .* strides 2, 4, 8, 16:"):
        trunk_of("test_resnet", cluster_stride=32)


@pytest.mark.parametrize(
    ("name", "size", "settings", "message"),
    [
        ("resnet_50", 64, {}, "unknown backbone 'resnet_50'.*resnet50"),
        ("test_vit", 64, {"cluster_stride": 8}, "model.cluster_stride is 8.* strides 16: set"),
        ("test_resnet", 32, {}, "has 1×1 cells for pictures of 32 px.*raise data.image_size"),
        ("test_vit", 72, {}, "cannot take pictures of 72 px: image_size must be a multiple of its patch"),
        ("test_resnet", 64, {"weights": "/nowhere.pth"}, "weights '/nowhere.pth' do not exist"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, size: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trunk_of(name, size, **settings)


def test_a_backbone_without_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = build_backbone(BackboneConfig(name="test_resnet", pretrained=False), role="photo", image_size=64)
    with monkeypatch.context() as patched:
        patched.setattr(ResNet, "forward_features", lambda self, x: [self.conv1(x)])  # as CrossViT has it
        with pytest.raises(ConfigError, match="ResNet gives no map of features but list"):
            Trunk(ready, 16)
    monkeypatch.delattr(ResNet, "forward_intermediates")
    with pytest.raises(ConfigError, match="'test_resnet' gives no maps of features; choose a backbone with conv"):
        Trunk(ready, 16)
