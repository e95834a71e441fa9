from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.findings import Finding
from Off_the_shelfs.model import OffTheShelf, TrainingAnswer
from Off_the_shelfs.salience.config import SalienceConfig
from Off_the_shelfs.salience.model import SalienceClassifier
from utils.errors import ConfigError
from utils.optimisers import make_optimizer
from utils.sections import TrainConfig

if TYPE_CHECKING:
    from tests.Off_the_shelfs.salience.conftest import Build


def criterion(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), label, reduction="none")


def train_steps(model: SalienceClassifier, steps: int = 2, pairs: int = 4) -> torch.optim.Optimizer:
    """Take optimiser steps on noise as the engine takes them."""
    train = TrainConfig(optimizer="sgd", backbone_lr=0.1, head_lr=0.1, weight_decay=0.0)
    optimizer = make_optimizer(train, list(model.backbones.values()), model.head_parts)
    side = model.view_specs["photo"].size
    for step in range(steps):
        model.train().set_progress(step / steps)
        pictures, label = torch.randn(pairs, 3, side, side), torch.arange(pairs) % 2
        optimizer.zero_grad()
        torch.autograd.backward(model.losses(model({"photo": pictures}), label, criterion).mean())
        optimizer.step()
    return optimizer


def test_pictures_are_loaded_so_that_parts_have_the_classifiers_size(build: "Build") -> None:
    model = build()
    spec = model.view_specs["photo"]
    assert (model.side, spec.size, spec.least_side, model.n_views) == (32, 48, 48, 6)
    assert spec.mean == model.backbone.view_spec().mean != (0.0, 0.0, 0.0)
    assert build(data={"normalise": "none"}).view_specs["photo"].mean == (0.0, 0.0, 0.0)
    assert build(data={"image_size": None}).view_specs["photo"].size == 240  # 160 is the backbone's own


@pytest.mark.parametrize(("crops", "side", "fraction"), [(1, 32, 0.5), (4, 33, 0.75), (9, 40, 0.4), (5, 64, 0.9)])
@pytest.mark.parametrize("pairs", [1, 3])
def test_any_number_of_views_and_any_size(build: "Build", crops: int, side: int, fraction: float, pairs: int) -> None:
    model = build(data={"image_size": side}, crops=crops, crop_fraction=fraction, training_weights="soft")
    pictures = {"photo": torch.randn(pairs, 3, round(side / fraction), round(side / fraction))}
    for mode in (True, False):
        if mode and pairs == 1:
            model.train().backbone.eval()  # whose BatchNorm has one position left here
        assert model.train(mode and pairs > 1)(pictures).shape == (pairs, 5)
    assert model.look(pictures["photo"]).picture.shape == (pairs, 3, side, side)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "swin"])
def test_any_classifier_runs_forward_and_backward(build: "Build", build_around: "Build", name: str) -> None:
    if name == "swin":
        network = SwinTransformer(
            img_size=32, window_size=2, embed_dim=16, depths=(1, 1), num_heads=(1, 2), num_classes=0
        )
        model = build_around(network, 32)
    else:
        model = build(backbone={"name": name}, n_classes=2)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    train_steps(model)
    changed = {
        key.partition(".")[0] for key, weight in model.named_parameters() if not torch.equal(weight, before[key])
    }
    assert changed == {"backbone", "head", "selector"}


def test_evaluation_is_one_pass_over_the_largest_logits_view(build: "Build") -> None:
    model = build().eval()
    pictures = torch.randn(6, 3, 48, 48)
    logits = model.salience(model.grey_copies(pictures))
    views = [
        model.colour_view(one, int(row.argmax())) for one, row in zip(torch.split(pictures, 1), logits, strict=True)
    ]
    seen: list[Tensor] = []
    model.backbone.register_forward_hook(lambda _module, arguments, _output: seen.append(arguments[0]))
    answer = model({"photo": pictures})
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.cat(views))
    torch.testing.assert_close(answer, model.head(model.backbone(torch.cat(views))))


def test_evaluation_is_bit_identical_whatever_the_seed_and_independent_of_the_batch(build: "Build") -> None:
    for choose in ("learned", "random"):
        model = build(choose=choose).eval()
        pictures = torch.randint(0, 256, (8, 3, 48, 48)) / 128 - 1
        torch.manual_seed(0)
        first, choice = model({"photo": pictures}), model.look(pictures).choice
        torch.manual_seed(1)
        assert torch.equal(model({"photo": pictures}), first)
        assert torch.equal(torch.cat([model.look(one).choice for one in torch.split(pictures, 1)]), choice)
        alone = torch.cat([model({"photo": one}) for one in torch.split(pictures, 1)])
        torch.testing.assert_close(alone, first)
        assert len(set(choice.tolist())) > 1 or choose == "learned"


def test_permuted_views_permute_the_choice_and_keep_the_prediction(build: "Build") -> None:
    model = build().eval()
    pictures, order = torch.randn(4, 3, 48, 48), torch.tensor([3, 0, 5, 2, 1, 4])
    logits = model.salience(model.grey_copies(pictures))
    permuted = model.salience(model.grey_copies(pictures)[:, order])
    torch.testing.assert_close(permuted, logits[:, order])
    assert torch.equal(order[permuted.argmax(dim=1)], logits.argmax(dim=1))
    # The corners' order is the views': with them exchanged, another number stands for the same part.
    before = model({"photo": pictures})
    model.corners = [model.corners[number] for number in (4, 3, 2, 1, 0)]
    model.places = torch.tensor([(0, 0), *model.corners])
    torch.testing.assert_close(model({"photo": pictures}), before)


def test_always_the_whole_is_the_plain_classifier_on_the_resized_picture(build: "Build") -> None:
    torch.manual_seed(0)
    model = build(choose="whole").eval()
    assert "selector" not in model.parameter_counts()
    config = OffTheShelfModelConfig(backbone=BackboneConfig(name="test_resnet", pretrained=False))
    plain = build_off_the_shelf(config, OneViewDataConfig(view="photo", image_size=32), 5).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if key in plain.state_dict()})
    pictures = torch.randn(3, 3, 48, 48)
    resized = F.interpolate(pictures, size=32, mode="bilinear", antialias=True)
    assert torch.equal(model({"photo": pictures}), plain({"photo": resized}))


def test_the_random_control_chooses_every_view_and_has_no_selector(build: "Build") -> None:
    model = build(choose="random").train()
    model({"photo": torch.randn(200, 3, 48, 48)})
    shares = model.epoch_facts()["view_shares"]
    assert min(shares) > 0.08
    assert max(shares) < 0.26
    assert model.selector is None


@pytest.mark.parametrize("weights", ["straight_through", "soft"])
def test_a_frozen_classifier_stays_as_it_is_and_the_selector_learns(build: "Build", weights: str) -> None:
    model = build(backbone={"frozen": True}, training_weights=weights, n_classes=2)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = train_steps(model)
    after = model.state_dict()
    backbone = [key for key in before if key.startswith("backbone.")]
    assert any("running_mean" in key for key in backbone)
    assert all(torch.equal(before[key], after[key]) for key in backbone)
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in model.parameters() if weight.requires_grad}
    assert not held & {id(weight) for weight in model.backbone.parameters()}
    selector = {key for key, _ in model.named_parameters() if key.startswith("selector.")}
    # A bias before BatchNorm has no gradient, and what all views share does not change the choice.
    assert {key for key in selector if torch.equal(before[key], after[key])} <= {k for k in selector if "bias" in k}
    assert {group["role"] for group in optimizer.param_groups} == {"head"}


def test_features_stand_still_only_where_nothing_is_chosen(build: "Build") -> None:
    frozen = {"frozen": True}
    assert build(choose="whole", backbone=frozen).still
    assert not build(choose="whole").still
    assert not build(choose="random", backbone=frozen).still
    assert not build(backbone=frozen).still


def test_balance_adds_the_imbalance_of_the_batch_to_each_loss(build: "Build") -> None:
    pictures, label = {"photo": torch.randn(4, 3, 48, 48)}, torch.tensor([0, 1, 2, 3])
    model = build(balance=0.5).train()
    output = model(pictures)
    assert isinstance(output, TrainingAnswer)
    finding = output.findings["photo"]
    share = finding.logits.softmax(dim=1).mean(dim=0)  # type: ignore[attr-defined]
    term = torch.log(torch.tensor(6.0)) + (share * share.log()).sum()
    expected = criterion(output.logits, label) + 0.5 * term
    torch.testing.assert_close(model.losses(output, label, criterion), expected)
    assert isinstance(finding, Finding)
    assert isinstance(model.eval()(pictures), Tensor)
    assert isinstance(build().train()(pictures), Tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_finite_and_reduces_pictures_in_full(build: "Build", dtype: torch.dtype) -> None:
    model = build(backbone={"name": "test_vit"}, balance=0.1).train()
    assert model.selector is not None
    with torch.no_grad():
        model.selector.linear.weight.mul_(100)
    pictures, label = torch.randn(4, 3, 48, 48), torch.tensor([0, 1, 2, 3])
    with torch.autocast("cpu", dtype):
        output = model({"photo": pictures})
        assert model.look(pictures).picture.dtype == torch.float32
    loss = model.losses(output, label, criterion).mean()
    torch.autograd.backward(1024 * loss)  # as a loss scaler does, since fp16 loses small gradients
    gradients = [weight.grad for weight in model.selector.parameters() if weight.grad is not None]
    assert output.logits.dtype == dtype
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)


def test_measures_are_what_each_view_would_have_answered(build: "Build") -> None:
    model = build(n_classes=3).eval()
    pictures, label = torch.randn(12, 3, 48, 48), torch.arange(12) % 3
    plain = [model.head(model.backbone(model.colour_view(pictures, number))) for number in range(6)]
    right = torch.stack([(logits.argmax(dim=1) == label).float() for logits in plain], dim=1)
    with torch.no_grad():
        measures = model.measures({"photo": pictures}, label)
        own = (model({"photo": pictures}).argmax(dim=1) == label).float()
    names = [
        *(f"view_{number}/share" for number in range(6)),
        "whole/top1",
        "random/top1",
        "oracle/top1",
        "learned/top1",
    ]
    assert list(measures) == names
    assert all(value.shape == (12,) for value in measures.values())
    assert torch.equal(measures["whole/top1"], right[:, 0])
    assert torch.equal(measures["oracle/top1"], right.max(dim=1).values)
    torch.testing.assert_close(measures["random/top1"], right.mean(dim=1))
    assert torch.equal(measures["learned/top1"], own)
    assert (measures["oracle/top1"] >= measures["learned/top1"]).all()
    assert torch.equal(sum(measures[f"view_{number}/share"] for number in range(6)), torch.ones(12))  # type: ignore[arg-type]


def test_an_epochs_choices_are_counted_in_training_alone_and_go_with_the_weights(build: "Build") -> None:
    model = build(temperature_start=4.0, temperature_end=1.0).train()
    pictures = {"photo": torch.randn(4, 3, 48, 48)}
    model.set_progress(0.5)
    model(pictures)
    model.eval()(pictures)
    resumed = build()
    resumed.load_state_dict(model.state_dict())
    resumed.train()(pictures)
    for counted, pairs in ((model, 4), (resumed, 8)):
        assert int(counted.chosen.sum()) == pairs
        facts = counted.epoch_facts()
        assert facts["temperature"] == 2.0
        assert sum(facts["view_shares"]) == pytest.approx(1, abs=1e-3)
        assert int(counted.chosen.sum()) == 0
    assert build(choose="whole").epoch_facts() == {}


def test_parts_tell_where_the_views_lie_and_how_likely_each_is(build: "Build") -> None:
    model = build().eval()
    pictures = torch.randn(3, 3, 48, 48)
    parts = model.parts("photo", pictures)
    assert parts.boxes[0].tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(parts.boxes[2], torch.tensor([1 / 3, 0, 2 / 3, 2 / 3]))  # top right
    torch.testing.assert_close(parts.probability.sum(dim=1), torch.ones(3))
    assert torch.equal(parts.chosen, model.look(pictures).choice)
    assert parts.small is not None
    assert parts.small.shape == (3, 6, 16, 16)
    assert build(choose="random").eval().parts("photo", pictures).small is None
    assert not build(choose="whole").chooses_part


def test_grey_copies_larger_than_the_parts_are_refused(build: "Build") -> None:
    with pytest.raises(ConfigError, match=r"grey_side is 33, more than the 32 pixels of the parts .* at most 32"):
        build(grey_side=33)
    build(grey_side=33, choose="whole")  # which asks no selector


def test_the_selector_is_not_asked_for_with_other_models() -> None:
    config = OffTheShelfModelConfig(backbone=BackboneConfig(name="test_resnet", pretrained=False), looks_at="salience")
    with pytest.raises(ConfigError, match=r"grey_side is 128, more than the 32 pixels"):
        build_off_the_shelf(config, OneViewDataConfig(view="roi", image_size=32), 5)
    small = replace(config, salience=replace(config.salience, grey_side=32))
    model = build_off_the_shelf(small, OneViewDataConfig(view="roi", image_size=32), 5)
    assert isinstance(model, SalienceClassifier)
    assert isinstance(model, OffTheShelf)
    assert list(model.view_specs) == ["roi"]


@pytest.mark.parametrize("choose", ["whole", "random"])
def test_a_control_takes_the_settings_of_the_model_beside_it_but_no_balance(choose: Literal["whole", "random"]) -> None:
    assert SalienceConfig(choose=choose, grey_side=64, training_weights="soft", temperature_end=0.1).choose == choose
    with pytest.raises(ConfigError, match=rf"balance is 1, but where .*choose is {choose} .*set the balance to 0"):
        SalienceConfig(choose=choose, balance=1)
