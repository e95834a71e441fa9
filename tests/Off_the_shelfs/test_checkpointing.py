"""Activations computed again, and modules that keep none."""

import pytest
import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from utils.errors import ConfigError


def build(name: str, again: bool, frozen: bool = False) -> Backbone:
    torch.manual_seed(0)
    rate = 0.1 if "vit" in name or "efficientnet" in name else 0.0
    config = BackboneConfig(name=name, pretrained=False, grad_checkpointing=again, frozen=frozen, drop_path_rate=rate)
    return build_backbone(config, role="roi", image_size=32)


def pictures(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def features(backbone: Backbone) -> tuple[Tensor, int]:
    """Return the features and the bytes that were kept for the backward pass."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        return backbone(pictures()), kept


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_resnet"])
def test_the_same_numbers_from_fewer_bytes(name: str) -> None:
    """Stochastic depth draws the same, and BatchNorm's averages count each batch once."""
    plain, again = build(name, False), build(name, True)
    kept = []
    for backbone in (plain, again):
        for _ in range(2):
            found, size = features(backbone)
            torch.autograd.backward(found.square().mean())
        kept.append(size)
    assert kept[1] < 0.7 * kept[0]
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad), key
    for (key, buffer), counted in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(buffer, counted), key
    momenta = [
        [layer.momentum for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
        for backbone in (plain, again)
    ]
    assert momenta[0] == momenta[1]


def test_two_views_through_one_backbone_count_twice() -> None:
    plain, again = build("test_resnet", False), build("test_resnet", True)
    for backbone in (plain, again):
        both = backbone(pictures()), backbone(pictures(3))
        torch.autograd.backward(both[0].mean() + both[1].square().mean())
    for (key, buffer), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(buffer, other), key
        if key.endswith("num_batches_tracked"):
            assert buffer == 2


def test_nothing_is_computed_again_outside_training() -> None:
    """Hooks of an explanation see one forward pass."""
    backbone = build("test_vit", True).eval()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    backbone.model.get_submodule("blocks.0").register_forward_pre_hook(count)
    torch.autograd.backward(backbone(pictures()).square().mean())
    assert calls == 1
    torch.autograd.backward(backbone.train()(pictures()).square().mean())
    assert calls == 3


def test_a_model_without_it_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^backbone 'dla46_c' cannot compute its activations again .* grad_check"):
        build("dla46_c", True)


def test_a_frozen_module_keeps_nothing() -> None:
    found, kept = features(build("test_efficientnet", False, frozen=True).train())
    assert kept == 0
    assert not found.requires_grad
    moving, kept = features(build("test_efficientnet", False))
    assert kept > 0
    assert moving.requires_grad


def test_a_frozen_module_passes_gradients_that_are_asked_for() -> None:
    frozen = build("test_efficientnet", False, frozen=True)
    asked = pictures().requires_grad_()
    torch.autograd.backward(frozen(asked).square().mean())
    assert asked.grad is not None
    assert asked.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())
