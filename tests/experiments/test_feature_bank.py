"""Features of frozen backbones computed once, against the same training with pictures."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn

from datasets.index import PairIndex
from experiments import feature_bank
from experiments.feature_bank import (
    BankedModel,
    FeatureBank,
    FeatureBanks,
    HeadAverage,
    bank_applies,
    banks_for,
    oversize_note,
)
from experiments.loading import load_splits
from RveRNets.config import RveRNetConfig
from RveRNets.model import RveRNet
from tests.experiments.head_training import EPOCHS, assert_same_run, banks_of, build, count_pairs, train
from utils.data_sections import AugmentConfig, DataConfig
from utils.devices import make_accelerator
from utils.sections import TrainConfig


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator(TrainConfig(device="cpu", precision="fp32"))


@pytest.mark.parametrize(
    "options",
    [
        {"sampling": "balanced", "micro_batch": 4},
        {"augment": AugmentConfig(flip=1.0, blank_extra_roi=1.0)},
    ],
    ids=["balanced", "certain changes"],
)
def test_training_on_a_bank_is_training_on_pictures(
    pair_tree: Path, accelerator: Accelerator, options: dict[str, Any]
) -> None:
    """Same order, same dropout, same averaged weights: 48 pairs in steps of 9, so the last step has 3."""
    pictures = train(pair_tree, accelerator, banked=False, **options)
    bank = train(pair_tree, accelerator, banked=True, **options)
    assert_same_run(pictures, bank)
    before = build(pair_tree)[0].state_dict()
    moved = {name for name, tensor in bank.weights.items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith("head.")}
    assert bank.seen == {"roi": 48 + 20, "extra_roi": 48 + 20}
    assert pictures.seen == {"roi": 48 * EPOCHS + 20, "extra_roi": 48 * EPOCHS + 20}


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({}, True),
        ({"flip": 1.0}, True),
        ({"blank_roi": 1.0}, True),
        ({"flip_views": "separate", "policy_magnitude": 3}, True),
        ({"flip": 0.5}, False),
        ({"blank_roi": 0.1}, False),
        ({"blank_extra_roi": 0.1}, False),
        ({"min_crop_area": 0.9}, False),
        ({"rotate_degrees": 5.0}, False),
        ({"color_jitter": 0.2}, False),
        ({"policy": "randaugment"}, False),
    ],
)
def test_a_bank_needs_pictures_without_chance(changes: dict[str, Any], applies: bool) -> None:
    def model(**frozen: bool) -> Any:  # noqa: ANN401  # stands in for a classifier
        return SimpleNamespace(still=all(frozen.values()))

    augment = AugmentConfig(**({"flip": 0.0} | changes))
    assert bank_applies(model(roi=True, extra_roi=True), augment) is applies
    assert bank_applies(model(roi=True), augment) is applies
    assert not bank_applies(model(roi=True, extra_roi=False), augment)


def test_every_kind_of_augmentation_is_looked_at() -> None:
    """A new option must be added to ``bank_applies`` first, or features would be kept that change."""
    assert {field.name for field in dataclasses.fields(AugmentConfig)} == {
        *("flip", "flip_views", "blank_roi", "blank_extra_roi", "min_crop_area", "rotate_degrees", "color_jitter"),
        *("policy", "policy_magnitude"),
    }


def test_uncounted_rows_bring_their_features_and_label() -> None:
    bank = FeatureBank({"roi": torch.arange(8.0).view(4, 2)}, torch.tensor([5, 6, 7, 8]))
    batch = bank.batch(torch.tensor([2, ~3, ~0]))
    assert batch.views["roi"].tolist() == [[4, 5], [6, 7], [0, 1]]
    assert batch.label.tolist() == [7, 8, 5]
    assert batch.index.tolist() == [2, -1, -1]
    assert len(batch) == 3


def test_a_bank_is_made_once_and_moves_no_mode(pair_tree: Path, accelerator: Accelerator) -> None:
    model, data = build(pair_tree)
    banks, seen = banks_of(model, data, accelerator), count_pairs(model)
    model.train()
    random = torch.get_rng_state()
    first = banks.of("test")
    assert banks.of("test") is first
    assert seen == {"roi": 20, "extra_roi": 20}
    assert model.head.training
    assert torch.equal(torch.get_rng_state(), random)
    index = PairIndex.from_tree(pair_tree, "test")
    assert first.label.tolist() == index.label.tolist()
    assert all(values.dtype == torch.float32 and not values.requires_grad for values in first.features.values())


@pytest.fixture(scope="module")
def model(pair_tree: Path) -> RveRNet:
    return build(pair_tree)[0]


def test_averaging_the_head_is_averaging_the_whole(model: RveRNet) -> None:
    whole, part = (ModelEmaV3(model, decay=0.9, use_warmup=True) for _ in range(2))
    heads = HeadAverage(part)
    for step in range(4):
        with torch.no_grad():
            for weight in model.head.parameters():
                weight.add_(0.1)
        whole.update(model, step=step)
        heads.update(BankedModel(model), step=step)
    assert all(map(torch.equal, whole.module.state_dict().values(), part.module.state_dict().values()))


def test_the_banked_model_has_the_classifiers_tensors_in_order(model: RveRNet) -> None:
    """timm pairs the tensors of two models by their place alone."""
    banked = BankedModel(model)
    assert [id(tensor) for tensor in banked.parameters()] == [id(tensor) for tensor in model.parameters()]
    assert [name.removeprefix("classifier.") for name in banked.state_dict()] == list(model.state_dict())
    banked.train()
    assert {name: part.training for name, part in model.named_children()} == {
        "roi_backbone": False,
        "extra_roi_backbone": False,
        "head": True,
    }
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_a_bank_larger_than_half_of_a_free_device_stays_in_the_machine(
    model: RveRNet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    somewhere: Any = SimpleNamespace(device=torch.device("meta"), is_main_process=True)
    banks = FeatureBanks(model, somewhere, {})
    needed = 20 * sum(backbone.num_features for backbone in model.backbones.values()) * 4
    monkeypatch.setattr(feature_bank, "free_memory", lambda _device: 2 * needed)
    assert banks._place("test", 20) == torch.device("meta")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(feature_bank, "free_memory", lambda _device: 2 * needed - 1)
    assert banks._place("test", 20) == torch.device("cpu")
    assert (
        "note: the features of the 20 test pairs, 0.0 GiB, are kept in the machine's memory" in capsys.readouterr().out
    )


def test_more_pairs_than_the_machine_can_keep_are_said(model: RveRNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_bank, "machine_memory", lambda: 16 * 2**30)
    assert oversize_note(model, 26_000) is None
    note = oversize_note(model, 100_000_000)
    assert note is not None
    width = sum(backbone.num_features for backbone in model.backbones.values())
    assert f"features of 100000000 pairs would take {100_000_000 * width * 4 / 2**30:.1f} GiB" in note
    assert "more than half of this machine's 16.0 GiB: they are computed anew in each epoch" in note
    monkeypatch.setattr(feature_bank, "machine_memory", lambda: None)
    assert oversize_note(model, 100_000_000) is None


def test_the_banks_of_a_run(model: RveRNet, pair_tree: Path, accelerator: Accelerator) -> None:
    """Training pairs keep a flip that is certain; pairs that are scored have none."""

    def made(flip: float) -> tuple[FeatureBanks | None, list[str]]:
        data = DataConfig(
            root=str(pair_tree), image_size=32, workers=0, validation_fraction=0.2, augment=AugmentConfig(flip=flip)
        )
        notes: list[str] = []
        return banks_for(RveRNetConfig(data=data), model, load_splits(data, 0), accelerator, notes), notes

    plain, mirrored = made(0.0)[0], made(1.0)[0]
    assert plain is not None
    assert mirrored is not None
    assert set(plain.sources) == {"train", "validation", "test"}
    for split, same in (("train", False), ("test", True)):
        features = [banks.of(split).features["roi"] for banks in (plain, mirrored)]
        assert torch.equal(*features) is same
    rows = torch.cat([batch.index for batch in plain.in_order("test", 8)])
    assert rows.tolist() == list(range(20))
    assert made(0.0)[1] == [
        "all backbones are frozen and no augmentation is random: each split's features are computed once"
    ]
    assert made(0.5) == (None, [])


def test_a_run_too_large_for_a_bank_goes_without(
    model: RveRNet, pair_tree: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_bank, "machine_memory", lambda: 1000)
    data, notes = DataConfig(root=str(pair_tree), augment=AugmentConfig(flip=0.0)), list[str]()
    assert banks_for(RveRNetConfig(data=data), model, load_splits(data, 0), accelerator, notes) is None
    assert len(notes) == 1
    assert "features of 68 pairs would take" in notes[0]
