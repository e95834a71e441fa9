"""The paper's suite with one seed against a loop that perturbs and runs the whole model once per condition.

Both sides get the same decoded batches and compute the same logits; what differs is how often each module is run.
"""

import dataclasses
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Result, in_turn, publish
from datasets.index import PairIndex
from experiments.kinds import RVERNET, Model
from experiments.robustness.plan import make_plan
from experiments.robustness.run import SuiteOutcome, bar_level, perturb, pictures_of, run_suite, suite_loader
from experiments.robustness.suite import Suite, load_suite
from experiments.runs import RunRecord
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.batch import Batch, normalise
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.sections import TrainConfig

PAIRS, SIDE, CLASSES = 150, 64, ("one", "two")
SUITE = Path(__file__).parents[1] / "configs" / "suites" / "paper.yaml"
BACKBONES = ("test_efficientnet", "mobilenetv2_035")


def make_pairs(root: Path) -> PairIndex:
    """Write pairs of noise, 64×48 pixels, a disc cut out of each, and list them."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :SIDE]
    for number in range(PAIRS):
        photo = rng.integers(1, 256, (48, SIDE, 3)).astype(np.uint8)
        disc = ((x - rng.integers(16, 48)) ** 2 + (y - rng.integers(12, 36)) ** 2 < 120)[:, :, None]
        for view, picture in (("roi", photo * disc), ("extra-roi", photo * ~disc)):
            folder = root / "test" / view / CLASSES[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{number:04d}.png")
    return PairIndex.from_tree(root, "test")


def make_record(backbone: str, root: Path) -> tuple[RunRecord, Model, Accelerator]:
    """Return a two-module network that was never trained, as a run."""
    part = BackboneConfig(name=backbone, pretrained=False)
    config = RveRNetConfig(
        data=DataConfig(root=str(root), image_size=SIDE, workers=0),
        model=RveRNetModelConfig(roi_backbone=part, extra_roi_backbone=part),
        train=TrainConfig(device="cpu"),
    )
    torch.manual_seed(0)
    model = RVERNET.build(config, len(CLASSES), False).to(memory_format=torch.channels_last).eval()
    return RunRecord(root, "benchmark", RVERNET, config, CLASSES, {}), model, make_accelerator(config.train)


@torch.inference_mode()
def naive(
    record: RunRecord, model: Model, index: PairIndex, suite: Suite, accelerator: Accelerator, batches: list[Batch]
) -> dict[str, NDArray[np.float32]]:
    """Perturb and run the whole model for each condition."""
    plan = make_plan(suite.conditions, list(model.backbones), suite.seeds)
    logits = {name: torch.zeros(len(index), len(CLASSES)) for name in plan.uses}
    fill = bar_level(record.config.data, suite.letterbox)
    for batch in batches:
        pictures = pictures_of(batch, index, accelerator.device, fill, suite.letterbox)
        with accelerator.autocast():
            for name, (use,) in plan.uses.items():
                views = {p.view: normalise(perturb(use[p.view], p)[0], model.view_specs[p.view]) for p in pictures}
                logits[name][batch.index] = model(views).float()
    return {name: scores.numpy() for name, scores in logits.items()}


def main(repeats: int = 5) -> None:
    """Print the ratio for two small backbones; the promise is distinct / naive passes + 0.1 of the loop's time."""
    suite = dataclasses.replace(load_suite(SUITE), seeds=(0,))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        index = make_pairs(Path(folder))
        for backbone in BACKBONES:
            record, model, accelerator = make_record(backbone, Path(folder))
            batches = list(suite_loader(record, model, index, suite.letterbox, accelerator))

            def ours(
                record: RunRecord = record,
                model: Model = model,
                accelerator: Accelerator = accelerator,
                batches: list[Batch] = batches,
            ) -> SuiteOutcome:
                with patch("experiments.robustness.run.suite_loader", return_value=batches):
                    return run_suite(record, model, index, suite, accelerator)

            def loop(
                record: RunRecord = record,
                model: Model = model,
                accelerator: Accelerator = accelerator,
                batches: list[Batch] = batches,
            ) -> dict[str, NDArray[np.float32]]:
                return naive(record, model, index, suite, accelerator, batches)

            outcome = ours()
            for name, logits in loop().items():
                assert np.array_equal(outcome.logits[name][0], logits), name
            share = outcome.distinct_passes / outcome.naive_passes
            times = in_turn(ours, loop, repeats)
            passes = f"{outcome.distinct_passes} of {outcome.naive_passes} module passes"
            name = f"paper's suite, {backbone} at {SIDE} px, {passes}"
            results.append(Result(name, "suite", "loop of forwards", *times, target=round(1 / (share + 0.1), 3)))
    reads = f"both sides: the same {PAIRS} decoded pairs of {SIDE} px PNG"
    publish("evaluate_suite", results, reads=reads)


if __name__ == "__main__":
    main()
