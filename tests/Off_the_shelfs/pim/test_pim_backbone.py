"""The plug-in module on backbones: gradients, sizes, modes, precision, and what is refused."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.micro_batch import trains_batchnorm
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf, TrainingAnswer
from Off_the_shelfs.pim.config import PimConfig, PimLossConfig
from Off_the_shelfs.pim.module import PimBackbone
from utils.batch import Batch
from utils.devices import make_accelerator
from utils.errors import ConfigError
from utils.recalibration import recalibrate
from utils.sections import TrainConfig

Build = Callable[..., PimBackbone]


def criterion(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), label, reduction="none")


def loss_of(backbone: PimBackbone, pictures: Tensor, label: Tensor) -> Tensor:
    finding = backbone.find(pictures)
    return finding.features.float().square().mean(1) + backbone.own_losses(finding, label, criterion)


def build_model(**pim: Any) -> OffTheShelf:  # noqa: ANN401  # fields of the configuration
    torch.manual_seed(0)
    plug_in = PimConfig(**{"width": 16, "counts": 0.5, "positions_per_joint": 4} | pim)
    backbone = BackboneConfig(name="test_efficientnet", pretrained=False, features="pim", pim=plug_in)
    data = OneViewDataConfig(view="roi", image_size=64)
    return build_off_the_shelf(OffTheShelfModelConfig(backbone=backbone), data, n_classes=3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_efficientnet", {"levels": [-1], "counts": 1.0}),
        ("test_efficientnet", {"levels": [1, 3]}),
        ("test_efficientnet", {"levels": [0, 1, 2, 3, 4], "counts": [4, 4, 0, 0.25, 4]}),
        ("test_resnet", {"levels": [2, 3, 4], "upsample": "dense"}),
        ("test_vit", {"query_channels": "quarter"}),
    ],
)
def test_every_weight_has_a_finite_gradient(build: Build, name: str, options: dict[str, Any]) -> None:
    backbone = build(name, **options)
    n_levels = len(backbone.levels)
    finding = backbone.find(torch.rand(2, 3, 64, 64))
    assert finding.features.shape == (2, backbone.num_features) == (2, 16)
    for found, level, count in zip(finding.levels, backbone.levels, backbone.plug_in.counts, strict=True):
        assert found.logits.shape == (2, level.positions, 3)
        assert found.kept_mask.shape == (2, level.height, level.width)
        assert found.kept_mask.flatten(1).sum(1).tolist() == [count] * 2
        assert (found.kept_logits.shape[1], found.dropped_logits.shape[1]) == (count, level.positions - count)
    torch.autograd.backward(loss_of(backbone, torch.rand(2, 3, 64, 64), torch.tensor([0, 1])).sum())
    gradients = {key: weight.grad for key, weight in backbone.named_parameters() if weight.requires_grad}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)
    still = {key for key, gradient in gradients.items() if gradient is not None and not gradient.any()}
    # While alpha is 0, what it weighs learns nothing.
    assert {key for key in still if key.startswith("plug_in.combiner.")} == {
        f"plug_in.combiner.{layer}.{kind}" for layer in ("query", "key") for kind in ("weight", "bias")
    }
    assert {int(key.split(".")[2]) for key in gradients if key.startswith("plug_in.classifiers.")} == set(
        range(n_levels)
    )


@pytest.mark.parametrize(("height", "width"), [(48, 80), (75, 101), (64, 64)])
def test_pictures_need_not_be_square_nor_even(build: Build, height: int, width: int) -> None:
    backbone = build(counts=2)
    finding = backbone.find(torch.rand(2, 3, height, width))
    steps = [4, 8, 16, 32]
    assert [found.grid for found in finding.levels] == [(-(-height // step), -(-width // step)) for step in steps]
    assert torch.isfinite(finding.features).all()
    losses = finding.features.square().mean(1) + backbone.own_losses(finding, torch.tensor([0, 1]), criterion)
    torch.autograd.backward(losses.sum())
    for key, weight in backbone.named_parameters():
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key


def test_a_permuted_batch_gives_permuted_answers(build: Build) -> None:
    backbone, shuffled = build().eval(), torch.randperm(6)
    pictures = torch.rand(6, 3, 64, 64)
    with torch.no_grad():
        first, second = backbone.find(pictures), backbone.find(pictures[shuffled])
    torch.testing.assert_close(second.features, first.features[shuffled])
    for left, right in zip(first.levels, second.levels, strict=True):
        torch.testing.assert_close(right.logits, left.logits[shuffled])


def test_two_micro_batches_have_the_gradient_of_the_whole_one() -> None:
    model = build_model()
    pictures, label = torch.rand(16, 3, 64, 64), torch.arange(16) % 3
    gradients = []
    for parts in (1, 2):
        model.train()
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        model.zero_grad()
        for views, own in zip(pictures.chunk(parts), label.chunk(parts), strict=True):
            torch.autograd.backward(model.losses(model({"roi": views}), own, criterion).sum() / 16)
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    for whole, accumulated in zip(*gradients, strict=True):
        torch.testing.assert_close(accumulated, whole, rtol=1e-3, atol=1e-5)


def test_the_models_loss_is_the_levels_and_the_combiners() -> None:
    model = build_model(loss=PimLossConfig(combiner=0.25)).train()
    label = torch.tensor([0, 1])
    answer = model({"roi": torch.rand(2, 3, 64, 64)})
    assert isinstance(answer, TrainingAnswer)
    own = model.backbone.own_losses(answer.findings["roi"], label, criterion)
    torch.testing.assert_close(model.losses(answer, label, criterion), 0.25 * criterion(answer.logits, label) + own)
    assert model.eval()({"roi": torch.rand(2, 3, 64, 64)}).shape == (2, 3)


def test_half_precision_stays_close(build: Build) -> None:
    """In training, with statistics of the batch; gradients are the levels' own, since rounding changes the ranks."""
    backbone = build(counts=1.0, positions_per_joint=32).train()
    pictures, label = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
    full = loss_of(backbone, pictures, label)
    weights = [weight for weight in backbone.parameters() if weight.requires_grad]
    own = backbone.own_losses(backbone.find(pictures), label, criterion)
    exact = torch.autograd.grad(own.sum(), weights, allow_unused=True)
    with torch.autocast("cpu", torch.bfloat16):
        finding = backbone.find(pictures)
    own = backbone.own_losses(finding, label, criterion)
    half = finding.features.float().square().mean(1) + own
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.03, atol=0.03)
    rounded = torch.autograd.grad(own.sum(), weights, allow_unused=True)
    directions = [
        torch.cat([torch.zeros_like(weight).flatten() if one is None else one.flatten() for weight, one in pairs])
        for pairs in (list(zip(weights, found, strict=True)) for found in (exact, rounded))
    ]
    assert all(torch.isfinite(direction).all() for direction in directions)
    assert F.cosine_similarity(directions[0], directions[1], dim=0) > 0.98


def test_maps_of_the_module_are_the_same_twice(build: Build) -> None:
    backbone, pictures, target = (
        build(trunk={"drop_path_rate": 0.5}).eval(),
        torch.rand(2, 3, 64, 64),
        torch.tensor([0, 2]),
    )
    with torch.no_grad():
        for method in backbone.map_methods:
            first, second = (backbone.own_maps(method, pictures, target) for _ in range(2))
            assert len(first) == 4
            assert all(torch.equal(left.values, right.values) for left, right in zip(first, second, strict=True))


def test_a_frozen_backbone_stands_still_and_the_plug_in_trains(build: Build) -> None:
    backbone = build(trunk={"frozen": True}).train()
    assert not backbone.still
    assert not any(part.training for part in backbone.model.modules())
    assert all(part.training for part in backbone.plug_in.modules())
    assert not backbone.eval().plug_in.training
    torch.autograd.backward(loss_of(backbone.train(), torch.rand(2, 3, 64, 64), torch.tensor([0, 1])).sum())
    assert all(weight.grad is None for weight in backbone.model.parameters())
    assert all(weight.grad is not None for weight in backbone.plug_in.parameters())
    model = SimpleNamespace(backbones={"roi": backbone})
    assert trains_batchnorm(cast(OffTheShelf, model))  # so a single pair in a batch is refused


def test_statistics_of_a_frozen_backbone_stand_still_where_those_of_the_plug_in_are_taken_anew(build: Build) -> None:
    backbone = build(trunk={"frozen": True})
    model = OffTheShelf(backbone, "roi", backbone.view_spec(), 3, 0.0)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    rows = torch.arange(4)
    batch = Batch({"roi": torch.randint(0, 256, (4, 3, 64, 64)).byte()}, rows % 3, rows, {}, {"roi": rows < 0})
    recalibrate(model, [batch], model.prepare, make_accelerator(TrainConfig(device="cpu")))
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    norms = [*(f"classifiers.{number}.norm" for number in range(4)), "combiner.norm"]
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"backbone.plug_in.{norm}.{kind}" for norm in norms for kind in kinds}


def test_activations_that_are_computed_again_give_the_same_gradients(build: Build) -> None:
    gradients = []
    for saves_memory in (False, True):
        backbone = build("test_vit", trunk={"grad_checkpointing": saves_memory}).train()
        torch.manual_seed(1)
        torch.autograd.backward(loss_of(backbone, torch.rand(2, 3, 64, 64), torch.tensor([0, 1])).sum())
        gradients.append([weight.grad for weight in backbone.parameters()])
        assert bool(backbone.model.grad_checkpointing) == saves_memory
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_weights_depend_on_the_seed_alone_and_lie_where_they_are_looked_for(build: Build) -> None:
    first, second = build().state_dict(), build().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert {key.split(".")[0] for key in first} == {"model", "plug_in"}
    assert {key.split(".")[1] for key in first if key.startswith("plug_in")} == {"pyramid", "classifiers", "combiner"}
    model = build_model()
    assert list(model.head_parts.children()) == [model.head, model.backbone.plug_in]  # which train at the head's rate


def test_what_cannot_be_built_is_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"features: pim tells classes apart and needs at least 2; the data has 1"):
        build(n_classes=1)
    with pytest.raises(ConfigError, match=r"compile: true compiles .* set compile: false"):
        build(trunk={"compile": True})
    with pytest.raises(ConfigError, match=r"asks for 5 positions of level 4, which has 4 \(2×2\)"):
        build(counts=5)
    with pytest.raises(ConfigError, match=r"= 170 of the .* positions, too few for one joint of 1000"):
        build(positions_per_joint=1000)
    with pytest.raises(ConfigError, match=r"'test_vit' cannot take pictures of 60 px: image_size must be a multiple"):
        build("test_vit", size=60)
    backbone = build()
    assert backbone.view_spec(64).size == backbone.view_spec().size == 64
    with pytest.raises(ConfigError, match=r"was built for pictures of 64 px, not 96"):
        backbone.view_spec(96)
