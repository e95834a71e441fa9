"""What part of a pre-training step goes into its regions: the target's look at the photos, k-means, and the masks.

Whole steps of the engine with the optimiser, on batches that lie on the device; the refinement is timed within them,
after waiting for the device on either side. K is the largest of its schedule, which costs the most.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.common import Recorded, Row, publish
from datasets.archive import PHOTO_FOLDER
from datasets.plates import PlatesConfig, generate_plates
from datasets.two_views.photos import index_photos
from experiments.pretraining.setup import PretrainSetup, build_setup
from experiments.pretraining.task import SCRIPT
from experiments.settle import start
from R2O.config import R2OConfig
from utils.batch import Batch
from utils.config import parse_config
from utils.engine import Meter, train_one_epoch


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        recipe: file with the configuration.
        batch: photos of a step.
        clusters: K; null takes that of the schedule's first step.
        device: ``cpu`` or ``cuda``.
        most: per cent of a step that the project promises at most.
        options: further ones of the command line.
        warm_up, steps: optimiser steps, not counted and counted.
    """

    recipe: str
    batch: int
    clusters: int | None
    device: str
    most: float
    options: tuple[str, ...] = ()
    warm_up: int = 2
    steps: int = 8

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return f"regions, share of a step: {Path(self.recipe).stem}, batch {self.batch}, {self.device}"


TINY = Case("R2O/train_cfgs/tiny_cpu.yaml", 32, None, "cpu", 30)
RESNET = Case("R2O/train_cfgs/imagenet_300.yaml", 32, 127, "cuda", 15, ("--train.micro_batch", "null"), 5, 20)


def ready(case: Case, folder: Path) -> PretrainSetup:
    """Build a run on generated plates, of which nothing is measured beforehand."""
    root = folder / "plates"
    generate_plates(PlatesConfig(photos=2 * case.batch, side=256, test_share=0.25), root)
    argv = ["--config", case.recipe, "--data.root", str(root / PHOTO_FOLDER / "train"), "--data.workers", "0"]
    argv += ["--data.prefetch", "1", "--data.superpixels.cache", "never", "--train.batch_size", str(case.batch)]
    argv += ["--train.device", case.device, "--run.dir", str(folder / "run"), *case.options]
    config, _ = parse_config(R2OConfig, argv, program=SCRIPT, flags={})
    accelerator, config = start(config)
    return build_setup(config, index_photos(config.data), accelerator, initialise=True)


class Clock:
    """Seconds of steps and of what is timed within them, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.steps, self.parts = device, list[float](), list[float]()
        self._began = 0.0

    def now(self) -> float:
        """Return the time at which the device has done everything."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def begin(self) -> None:
        """Begin a step."""
        self.parts.append(0.0)
        self._began = self.now()

    def end(self) -> None:
        """End it."""
        self.steps.append(self.now() - self._began)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Time a part of the step."""
        began = self.now()
        yield
        self.parts[-1] += self.now() - began


def timed(case: Case, setup: PretrainSetup) -> Clock:
    """Take the steps; return their times and those of the refinement."""
    model, training, device = setup.model, setup.training, setup.training.accelerator.device
    clock = Clock(device)
    clusters = setup.schedule.clusters(0) if case.clusters is None else case.clusters
    refine = model._refine

    def watched(*arguments: Any) -> Any:  # noqa: ANN401
        with clock.part():
            return refine(*arguments)

    def before_step(_step: int) -> None:
        model.set_step(clusters, 0.99)
        clock.begin()

    training.before_step, training.on_step = before_step, clock.end
    batch: Batch = next(iter(setup.train_batches)).to(device)
    count = case.warm_up + case.steps
    with patch.object(model, "_refine", watched):
        train_one_epoch(
            training,
            iter([batch] * count),
            [[len(batch)]] * count,
            0,
            Meter(device),
            lambda *_: None,
            lambda: False,
        )
    return clock


def row(case: Case) -> Row:
    """Measure a case where its device is there."""
    if case.device == "cuda" and not torch.cuda.is_available():
        return Recorded(case.title, None, "%", target=case.most, note="needs a CUDA device")
    with tempfile.TemporaryDirectory() as folder:
        setup = ready(case, Path(folder))
        clock = timed(case, setup)
    steps, parts = clock.steps[case.warm_up :], clock.parts[case.warm_up :]
    shares = [100 * part / step for part, step in zip(parts, steps, strict=True)]
    size = setup.config.data.image_size
    clusters = setup.schedule.clusters(0) if case.clusters is None else case.clusters
    note = (
        f"{setup.config.model.backbone}, {size} px, K = {clusters}, {setup.config.train.precision}: "
        f"{1000 * statistics.median(parts):.0f} of {1000 * statistics.median(steps):.0f} ms; shares "
        f"{min(shares):.0f} to {max(shares):.0f} %"
    )
    return Recorded(case.title, statistics.median(shares), "%", target=case.most, note=note)


def main() -> None:
    """Measure and publish."""
    publish("refinement", [row(TINY), row(RESNET)], reads="generated plates of 256 px, loaded beforehand")


if __name__ == "__main__":
    main()
