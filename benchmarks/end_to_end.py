"""A whole small run, against computing alone and against the released code's way.

Generated plates, two ``test_efficientnet`` at 64 pixels, the tiny recipe of this project. Ours is ``fit``: index,
workers, training, scores with intervals, checkpoints, tables and figures. The bare loop takes the same steps of the
same network, and scores the same pairs, on tensors that lie in memory ready to use.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.common import Recorded, Result, publish
from benchmarks.released import ReleasedPairs, released_item
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.fit import fit
from experiments.kinds import RVERNET, Model
from experiments.setup import unique_modules
from RveRNets.config import RveRNetConfig
from utils.batch import prepare_views
from utils.config import parse_config
from utils.optimisers import make_optimizer

PHOTOS, PLATE_SIDE, SIDE, EPOCHS, BATCH = 150, 480, 64, 2, 50
RELEASED_WORKERS = 2

Resident = tuple[dict[str, Tensor], Tensor]


def make_data(folder: Path) -> None:
    """Write the plates, our pairs of 64 pixels and the released code's cut-outs of full size."""
    generate_plates(PlatesConfig(photos=PHOTOS, side=PLATE_SIDE), folder / "plates")
    for name, size in (("pairs", SIDE), ("full", 0)):
        options = PreprocessOptions(src=folder / "plates", dst=folder / name, size=size, format="jpg")
        preprocess(options, say=lambda _line: None)


def configuration(folder: Path) -> RveRNetConfig:
    """Return the tiny recipe on our pairs."""
    argv = ["--config", "RveRNets/train_cfgs/tiny_cpu.yaml", "--data.root", str(folder / "pairs")]
    argv += ["--run.dir", str(folder / "run"), "--train.epochs", str(EPOCHS), "--train.batch_size", str(BATCH)]
    config, _ = parse_config(RveRNetConfig, argv, program="benchmark", flags={})
    return config


def build(config: RveRNetConfig, classes: int) -> tuple[Model, torch.optim.Optimizer]:
    """Return the network and its optimiser."""
    torch.manual_seed(0)
    train = dataclasses.replace(config.train, fused=False)
    model = RVERNET.build(config, classes, False).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(train, unique_modules(model.backbones.values()), model.head_parts)
    return model, optimizer


def resident(config: RveRNetConfig, index: PairIndex, model: Model) -> Resident:
    """Return every pair of a split as the network takes it, and the labels."""
    dataset = PairDataset(index, model.view_specs, config.data, training=False, seed=0)
    batch = dataset.__getitems__([(0, row) for row in range(len(index))])
    return prepare_views(batch, model.view_specs), batch.label


def take_step(model: Model, optimizer: torch.optim.Optimizer, views: dict[str, Tensor], label: Tensor) -> Tensor:
    """Take one optimiser step and return the loss."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(views), label)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


def bare_run(config: RveRNetConfig, classes: int, train: Resident, test: Resident) -> float:
    """Take all steps and score on tensors in memory; return the seconds of the steps."""
    model, optimizer = build(config, classes)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.split(torch.randperm(len(train[1])), BATCH):
            take_step(model, optimizer, {name: pixels[rows] for name, pixels in train[0].items()}, train[1][rows])
    seconds = time.perf_counter() - started
    score(model, test)
    return seconds


@torch.inference_mode()
def score(model: Model, pairs: Resident) -> None:
    """Compute the logits of all pairs."""
    model.eval()
    for rows in torch.split(torch.arange(len(pairs[1])), BATCH):
        model({name: pixels[rows] for name, pixels in pairs[0].items()}).argmax(dim=1)


def released_run(config: RveRNetConfig, root: Path, classes: list[str]) -> None:
    """Train and score as the released code does; it scores the test split after every epoch."""
    model, optimizer = build(config, len(classes))
    sets = {}
    for split in ("train", "test"):
        files = [sorted((root / split / view).glob("*/*.jpg")) for view in ("roi", "extra-roi")]
        for path in files[1]:  # its table of pairs
            released_item(path, SIDE, mirrored=split == "train")
        labels = [classes.index(path.parent.name) for path in files[0]]
        sets[split] = ReleasedPairs(files[0], files[1], labels, SIDE, mirrored=split == "train")
    loaders = {
        "train": DataLoader(sets["train"], BATCH, shuffle=True, num_workers=RELEASED_WORKERS),
        "test": DataLoader(sets["test"], BATCH, shuffle=True),
    }
    for _ in range(EPOCHS):
        model.train()
        for roi, extra_roi, label in loaders["train"]:
            take_step(model, optimizer, {"roi": roi, "extra_roi": extra_roi}, label).item()
        model.eval()
        with torch.no_grad():
            for roi, extra_roi, label in loaders["test"]:
                logits = model({"roi": roi, "extra_roi": extra_roi})
                F.cross_entropy(logits, label).item()


def main(repeats: int = 2) -> None:
    """Print how much slower than computing alone a run is, and how much faster than the released way."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        make_data(folder)
        config = configuration(folder)
        indices = [PairIndex.from_tree(folder / "pairs", split) for split in ("train", "test")]
        names = list(indices[0].classes.names)
        model, _ = build(config, len(names))
        train, test = (resident(config, index, model) for index in indices)
        whole: dict[str, list[float]] = {"ours": [], "bare": [], "released": []}
        steps: dict[str, list[float]] = {"ours": [], "bare": []}

        def ours() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                fit(RVERNET, config)
            timing = json.loads((folder / "run" / "timing.json").read_text(encoding="utf-8"))
            steps["ours"].append(sum(timing["epoch_seconds"]))
            shutil.rmtree(folder / "run")

        def bare() -> None:
            steps["bare"].append(bare_run(config, len(names), train, test))

        sides: dict[str, Callable[[], object]] = {
            "ours": ours,
            "bare": bare,
            "released": lambda: released_run(config, folder / "full", names),
        }
        bare()  # the first steps of a process are slow
        steps["bare"].clear()
        for _, (side, call) in itertools.product(range(repeats), sides.items()):
            started = time.perf_counter()
            call()
            whole[side].append(time.perf_counter() - started)
    pairs = f"{len(indices[0]):,} training pairs, {EPOCHS} epochs"
    reads = f"ours {SIDE} px JPEG pairs; bare loop nothing; released way JPEG cut-outs of {PLATE_SIDE} px plates"
    not_computing = [100 * (1 - b / a) for a, b in zip(steps["ours"], steps["bare"], strict=True)]
    publish(
        "end_to_end",
        [
            Result(f"whole run, {pairs}", "fit", "released way, no figures", whole["ours"], whole["released"]),
            Result("the same", "fit, with scores and figures", "bare loop", whole["ours"], whole["bare"]),
            Result("its epochs alone", "fit's epochs", "bare loop", steps["ours"], steps["bare"]),
            Recorded("part of an epoch that is not computing", statistics.median(not_computing), "%"),
        ],
        reads=reads,
        notes=["loader processes share the cores with the network here; on a GPU they do not"],
    )


if __name__ == "__main__":
    main()
