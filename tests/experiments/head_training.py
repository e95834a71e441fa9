"""Two epochs of a small head on frozen backbones, with and without a bank, in one process and in several."""

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from datasets.index import PairIndex
from datasets.loaders import evaluation_loader, training_loader
from datasets.pairs import PairDataset
from datasets.sampling import OrderedBatches, StepSampler
from experiments.feature_bank import BankedModel, BankLoader, FeatureBanks, HeadAverage, PictureSource
from experiments.micro_batch import largest_micro_batch
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import RveRNet, build_rvernet
from tests.experiments.start_processes import start_processes, wait_for
from utils.batch import ViewSpec
from utils.data_sections import AugmentConfig, DataConfig
from utils.devices import make_accelerator
from utils.engine import Meter, Training, compute_logits, train_one_epoch
from utils.errors import ConfigError
from utils.schedule import Schedule
from utils.sections import TrainConfig
from utils.seeding import seed_everything
from utils.transfer import on_device

EPOCHS = 2


@dataclass
class HeadRun:
    """What training left.

    Attributes:
        weights: the classifier's state dict.
        averaged: that of the averaged weights.
        logits: of the test split.
        losses: of each epoch.
        seen: pairs that each backbone has seen, by view.
    """

    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    logits: np.ndarray
    losses: list[float]
    seen: Counter[str] = field(default_factory=Counter)


def build(
    root: Path, augment: AugmentConfig | None = None, *, image_size: int = 32, dropout: float = 0.2
) -> tuple[RveRNet, DataConfig]:
    """Return frozen backbones with a head, and the configuration of its data."""
    data = DataConfig(root=str(root), image_size=image_size, augment=augment or AugmentConfig(flip=0.0))
    config = RveRNetModelConfig(
        roi_backbone=BackboneConfig(name="test_resnet", pretrained=False, frozen=True),
        extra_roi_backbone=BackboneConfig(name="test_vit", pretrained=False, frozen=True),
        hidden_width=16,
        dropout=dropout,
    )
    seed_everything(7, "weights")
    return build_rvernet(config, data, n_classes=3), data


def banks_of(model: RveRNet, data: DataConfig, accelerator: Accelerator) -> FeatureBanks:
    """Return the banks of both splits: training pairs with what is certain of their augmentation."""

    def source(split: str) -> PictureSource:
        index = PairIndex.from_tree(Path(data.root), split)
        dataset = PairDataset(index, model.view_specs, data, training=split == "train", seed=3)
        world, rank = accelerator.num_processes, accelerator.process_index
        return PictureSource(index, lambda: evaluation_loader(dataset, batch_size=8, world_size=world, rank=rank))

    return FeatureBanks(model, accelerator, {split: source(split) for split in ("train", "test")})


def train(root: Path, accelerator: Accelerator, *, banked: bool, **options: Any) -> HeadRun:  # noqa: ANN401
    """Train the head; ``options`` are those of ``build`` and of the sampler."""
    of_model = {name: options.pop(name) for name in ("augment", "image_size", "dropout") if name in options}
    model, data = build(root, **of_model)
    seen = count_pairs(model)
    world = {"world_size": accelerator.num_processes, "rank": accelerator.process_index}
    index, test = (PairIndex.from_tree(root, split) for split in ("train", "test"))
    sampler = StepSampler(index.label, **({"batch_size": 9, "seed": 3} | options), **world)
    average = ModelEmaV3(model, decay=0.9, use_warmup=True)
    banks = banks_of(model, data, accelerator)
    taught: Any = BankedModel(model) if banked else model
    loader: Any = banks.loader("train", sampler)
    if not banked:
        loader = training_loader(PairDataset(index, model.view_specs, data, training=True, seed=3), sampler)
    optimizer = torch.optim.Adam([{"params": list(model.head.parameters()), "peak_lr": 1e-2, "role": "head"}], lr=1e-2)
    prepared, prepared_optimizer = accelerator.prepare(taught, optimizer)
    training = Training(
        prepared,
        prepared_optimizer,
        accelerator,
        Schedule(1000, 0, 0.0, 1000, "step"),
        taught.prepare,
        average=HeadAverage(average) if banked else average,
        seed=5,
    )
    losses = []
    for epoch in range(EPOCHS):
        sampler.set_position(epoch)
        meter, plan = Meter(accelerator.device), sampler.plan_sizes()
        batches = on_device(loader, accelerator.device)
        train_one_epoch(training, batches, plan, epoch * len(plan), meter, lambda *_: None, lambda: False)
        losses.append(meter.means()["loss"])
    scored: Any = BankedModel(average.module) if banked else average.module
    in_order = OrderedBatches(len(test), 8, **world)
    shown = BankLoader(lambda: banks.of("test"), in_order) if banked else banks.sources["test"].open()
    logits = compute_logits(scored, shown, scored.prepare, accelerator, len(test), 3)
    return HeadRun(model.state_dict(), average.module.state_dict(), logits, losses, seen)


def count_pairs(model: RveRNet) -> Counter[str]:
    """Count the pairs that each backbone sees from now on, by view."""
    seen: Counter[str] = Counter()
    for name, backbone in model.backbones.items():

        def count(_module: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
            seen[name] += len(inputs[0])

        backbone.register_forward_pre_hook(count)
    return seen


class Limited(nn.Module):
    """A network with BatchNorm that runs out of memory above ``most`` pairs."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.norm, self.linear = most, nn.BatchNorm1d(48), nn.Linear(48, 3)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        if len(views["roi"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        logits: Tensor = self.linear(self.norm(views["roi"].flatten(1)))
        return logits


def find_micro_batch(accelerator: Accelerator, most: int) -> int | str:
    """Return the answer of this process, whose device holds ``most`` pairs, or the error's message."""
    model = Limited(most)
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    schedule = Schedule(10, 0, 0.0, 10, "step")
    training = Training(prepared, optimizer, accelerator, schedule, lambda batch: {"roi": batch.views["roi"].float()})
    try:
        return largest_micro_batch(training, {"roi": ViewSpec(4, (0.0,) * 3, (1.0,) * 3)}, 3, 8)
    except ConfigError as error:
        return str(error)


def assert_same_run(one: HeadRun, other: HeadRun) -> None:
    """Compare weights, logits and losses of two runs."""
    for mine, theirs in ((one.weights, other.weights), (one.averaged, other.averaged)):
        assert list(mine) == list(theirs)
        for name, tensor in mine.items():
            assert torch.allclose(tensor, theirs[name], atol=1e-5, rtol=0), name
    assert other.logits == pytest.approx(one.logits, abs=1e-5)
    assert other.losses == pytest.approx(one.losses, abs=1e-5)


def _train_one_of(root: Path, out: Path) -> None:
    accelerator = make_accelerator(TrainConfig(device="cpu", precision="fp32"))
    world, rank = accelerator.num_processes, accelerator.process_index
    run = train(root, accelerator, banked=True, dropout=0.0, micro_batch=3)  # else each draws its own
    torch.save(vars(run), out / f"run-{world}-{rank}.pt")
    if world == 2:
        found = [find_micro_batch(accelerator, most) for most in ((3, 7)[rank], (8, 0)[rank])]
        (out / f"found-{rank}.json").write_text(json.dumps(found))
        accelerator.end_training()


def train_heads(root: Path, out: Path) -> None:
    """Train with a bank in one process and in two, and let two devices of unequal memory agree."""
    out.mkdir()
    for count in (1, 2):
        logs = out / f"errors-{count}"
        ended = wait_for(start_processes(count, partial(_train_one_of, root, out), logs))
        assert not any(status for _, status in ended), [log.read_text() for log in logs.iterdir()]
