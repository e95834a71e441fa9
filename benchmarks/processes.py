"""Two processes against one with the same effective batch: what they lose, and how far apart their losses run.

Generated plates at 64 pixels, decoded while they train. Two processes have one thread each, one process has two. Both
groups start once and train when they are told to, in turn. Without BatchNorm (``test_vit``) the losses must be the
same; with it (``test_efficientnet``) each process takes its statistics from its own half of a batch.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Recorded, Result, publish
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.kinds import RVERNET
from experiments.loading import load_splits
from experiments.setup import build_setup
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.engine import LOSS_UNITS, Meter, train_one_epoch
from utils.sections import TrainConfig
from utils.transfer import on_device

PHOTOS, PLATE_SIDE, SIDE, BATCH = 110, 128, 64, 50
EPOCHS, REPEATS = 2, 3
WITH_BATCHNORM, WITHOUT = "test_efficientnet", "test_vit"
TARGET = 1e-5


def configuration(root: str, name: str) -> RveRNetConfig:
    """Return two backbones of a name, without dropout; Adam would blow rounding errors up."""
    backbone = BackboneConfig(name=name, pretrained=False)
    train = TrainConfig(
        device="cpu", batch_size=BATCH, epochs=EPOCHS, optimizer="sgd", backbone_lr=5e-2, head_lr=5e-2, log_every=1
    )
    model = RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone, dropout=0.0)
    return RveRNetConfig(data=DataConfig(root=root, image_size=SIDE, workers=0), model=model, train=train)


def train(root: str, name: str) -> dict[str, Any]:
    """Train from the start and return the mean loss of every step and the seconds of all of them."""
    config = configuration(root, name)
    accelerator = make_accelerator(config.train)
    setup = build_setup(RVERNET, config, load_splits(config.data, 0), accelerator, initialise=True)
    losses: list[float] = []
    accelerator.wait_for_everyone()
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        setup.sampler.set_position(epoch)
        plan = setup.sampler.plan_sizes()
        meter, sums = Meter(accelerator.device), [0.0]
        batches = on_device(setup.train_batches, accelerator.device)
        first = epoch * len(plan)
        train_one_epoch(
            setup.training,
            batches,
            plan,
            first,
            meter,
            lambda _steps, _means, meter=meter, sums=sums: sums.append(meter.loss_units / LOSS_UNITS),  # type: ignore[misc]
            lambda: False,
        )
        losses += [float(loss) / sum(parts) for loss, parts in zip(np.diff(sums), plan, strict=True)]
    return {"losses": losses, "seconds": time.perf_counter() - started, "pairs": EPOCHS * len(setup.sampler.labels)}


def serve() -> None:
    """Train what each line of the standard input names, and answer in a line; what a started process does."""
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            answer = train(*json.loads(line))
        print(json.dumps(answer), flush=True)


class Group:
    """Processes that train together, and wait in between."""

    def __init__(self, count: int, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        if count > 1:
            shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
            shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.processes", "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}),
            )
            for rank in range(count)
        ]

    def train(self, root: str, name: str) -> dict[str, Any]:
        """Let them train and return what the first of them answers."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps([root, name]) + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        answer: dict[str, Any] = json.loads(answers[0])
        return answer


@contextlib.contextmanager
def group(count: int, threads: int) -> Iterator[Group]:
    """Start processes and end them with the block."""
    started = Group(count, threads)
    try:
        yield started
        for process in started.processes:
            process.communicate(timeout=60)  # they end with their input
    finally:
        for process in started.processes:
            process.kill()


def gap(one: dict[str, Any], two: dict[str, Any]) -> float:
    """Return the largest difference between the losses of a step."""
    return float(np.abs(np.subtract(one["losses"], two["losses"])).max())


def main() -> None:
    """Print the gaps and the ratio of times."""
    with tempfile.TemporaryDirectory() as name, group(2, 1) as two, group(1, 2) as one:
        folder = Path(name)
        generate_plates(PlatesConfig(photos=PHOTOS, side=PLATE_SIDE), folder / "plates")
        preprocess(PreprocessOptions(src=folder / "plates", dst=folder / "pairs", size=SIDE), say=lambda _line: None)
        root = str(folder / "pairs")
        without = [side.train(root, WITHOUT) for side in (one, two)]
        runs: dict[Group, list[dict[str, Any]]] = {one: [], two: []}
        for repeat in range(REPEATS + 1):
            for side in (one, two) if repeat % 2 else (two, one):
                runs[side].append(side.train(root, WITH_BATCHNORM))
    steps, pairs = len(without[0]["losses"]), without[0]["pairs"]
    losses = runs[one][0]["losses"]
    note = f"largest difference in {steps} steps of {BATCH} pairs, the last of an epoch short"
    ours, theirs = ([run["seconds"] for run in runs[side][1:]] for side in (two, one))  # the first warms up
    publish(
        "processes",
        [
            Result(f"train {pairs} pairs", "two processes, 1 thread each", "one process, 2 threads", ours, theirs),
            Recorded("loss without BatchNorm, two against one", gap(*without), target=TARGET, note=note),
            Recorded("loss with BatchNorm, two against one", gap(runs[one][0], runs[two][0]), note=note),
        ],
        reads="both sides: 64 px JPEG pairs of generated plates",
        notes=[
            f"with BatchNorm the loss fell from {losses[0]:.3f} to {losses[-1]:.3f}; each process takes statistics "
            f"from its half of a batch, train.sync_batchnorm takes them from all of it, on GPUs",
        ],
    )


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
