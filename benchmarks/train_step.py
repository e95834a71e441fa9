"""The engine against a bare forward, backward and step on tensors that are already in memory."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import Result, in_turn, publish
from experiments.kinds import RVERNET
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.batch import Batch
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.engine import Meter, Training, train_one_epoch
from utils.optimisers import make_optimizer
from utils.schedule import Schedule
from utils.sections import TrainConfig

STEPS, PAIRS, CLASSES, SIDE = 12, 50, 11, 64


def random_batch() -> Batch:
    """Return a batch of random pixels."""
    views = {name: torch.randint(0, 256, (PAIRS, 3, SIDE, SIDE), dtype=torch.uint8) for name in ("roi", "extra_roi")}
    box = dict.fromkeys(views, torch.zeros(PAIRS, 4, dtype=torch.int16))
    flip = dict.fromkeys(views, torch.rand(PAIRS) < 0.5)
    return Batch(views, torch.randint(0, CLASSES, (PAIRS,)), torch.arange(PAIRS), box, flip)


def build() -> Training:
    """Build a two-module network and its optimiser."""
    backbone = BackboneConfig(name="test_efficientnet", pretrained=False)
    model_config = RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone)
    config = RveRNetConfig(data=DataConfig(image_size=SIDE), model=model_config, train=TrainConfig(device="cpu"))
    accelerator = make_accelerator(config.train)
    torch.manual_seed(0)
    model = RVERNET.build(config, CLASSES, False).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(config.train, list(model.backbones.values()), model.head)
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    return Training(prepared, prepared_optimizer, accelerator, Schedule(10**6, 0, 1.0, STEPS, "step"), model.prepare)


def main(repeats: int = 7) -> None:
    """Print the ratio; the baseline normalises once, beforehand, and neither flips nor counts hits."""
    ours, bare = build(), build()
    batch = random_batch()
    resident: dict[str, Tensor] = bare.prepare(batch)
    model = bare.accelerator.unwrap_model(bare.model)
    optimizer = bare.optimizer

    def engine() -> None:
        meter = Meter(torch.device("cpu"))
        batches = iter([batch] * STEPS)
        train_one_epoch(ours, batches, [[PAIRS]] * STEPS, 0, meter, lambda _steps, _means: None, lambda: False)

    def bare_loop() -> None:
        model.train()
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(resident), batch.label))
            optimizer.step()

    times = in_turn(engine, bare_loop, repeats)
    publish("train_step", [Result("training step", "engine", "bare loop", *times, target=0.97)])


if __name__ == "__main__":
    main()
