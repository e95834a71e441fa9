"""New photos answered against the bare forward pass of the same model on tensors that are ready."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Result, in_turn, publish
from datasets.cutouts import cut, encode
from datasets.picture_size import PREPROCESSING_LIMIT
from datasets.workers import available_cores
from experiments.kinds import RVERNET
from experiments.prediction.command import Writer
from experiments.prediction.description import Description
from experiments.prediction.document import csv_text
from experiments.prediction.inputs import Inputs
from experiments.prediction.jobs import PhotoJob, Way
from experiments.prediction.options import PredictOptions
from experiments.prediction.predictor import Predictor
from experiments.prediction.ready import plain_jobs
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from RveRNets.model import build_rvernet
from segmenters.grabcut import GrabCut
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.sections import TrainConfig

TINY, SMALL = "deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224"
SIDE, CLASSES = 224, 103
PHOTOS, REGIONS, BATCH = 50, 4, 32
WIDTH, HEIGHT = 800, 600
TARGET = 0.9


def make_predictor(name: str) -> Predictor:
    """Return a RveRNet of two transformers of one name with random weights."""
    backbone = BackboneConfig(name=name, pretrained=False)
    config = RveRNetConfig(
        model=RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone),
        data=DataConfig(image_size=SIDE),
        train=TrainConfig(device="cpu"),
    )
    model = build_rvernet(config.model, config.data, CLASSES, initialise=False).eval()
    names = tuple(f"class_{number}" for number in range(CLASSES))
    where = Path("none")
    description = Description(where, "random", RVERNET, config, names, (), SIDE, 1.0, "not fitted: random", where)
    return Predictor(description, model, make_accelerator(config.train))


def write_photos(folder: Path) -> None:
    """Write JPEG photos with masks of several labels, and the same regions as ready pairs of 224 pixels."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks", "pairs/roi", "pairs/extra-roi"):
        (folder / name).mkdir(parents=True)
    for number in range(PHOTOS):
        coarse = rng.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3)).astype(np.uint8)
        photo = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        photo.save(folder / "photos" / f"{number}.jpg", quality=90)
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        for region in range(REGIONS):
            left = 20 + region * (WIDTH - 40) // REGIONS
            labels[100 : int(rng.integers(300, 500)), left : left + 150] = region + 1
        Image.fromarray(labels).save(folder / "masks" / f"{number}.png")
        small, small_labels = (
            np.asarray(picture.resize((SIDE, SIDE * HEIGHT // WIDTH), how))
            for picture, how in ((photo, Image.Resampling.BICUBIC), (Image.fromarray(labels), Image.Resampling.NEAREST))
        )
        for region in range(REGIONS):
            halves = cut(small, small_labels == region + 1)
            for view, half in zip(("roi", "extra-roi"), halves, strict=True):
                (folder / "pairs" / view / f"{number}_{region}.jpg").write_bytes(encode(half, "jpg"))


def answering(
    predictor: Predictor, inputs: Callable[[bool], Inputs], folder: Path, *, pictures: bool
) -> Callable[[], None]:
    """Return a call that answers inputs and writes CSV and, when asked, pictures."""
    options = PredictOptions(run="none", photo="none", pictures=pictures, batch_size=BATCH)

    def answer() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            writer = Writer(predictor, options, Path(out))
            writer.answer(inputs(pictures), available_cores())
            assert len(writer.regions) == PHOTOS * REGIONS
            (Path(out) / "predictions.csv").write_text(csv_text(writer.regions, options.top_k, predictor.views))

    return answer


def bare(predictor: Predictor) -> Callable[[], None]:
    """Return a call that passes as many pairs, normalised and in batches, through the model."""
    pairs = PHOTOS * REGIONS
    batches = [
        {view: torch.randn(min(BATCH, pairs - start), 3, SIDE, SIDE) for view in predictor.views}
        for start in range(0, pairs, BATCH)
    ]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                predictor.model(batch)

    return forward


def main() -> None:
    """Run the benchmark."""
    predictor, larger = make_predictor(TINY), make_predictor(SMALL)
    stored = replace(predictor, description=replace(predictor.description, size=0))
    forward, larger_forward = bare(predictor), bare(larger)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder)

        def photos(drawn: bool) -> Inputs:
            way = Way(SIDE, PREPROCESSING_LIMIT, drawn, GrabCut)
            masks = folder / "masks"
            paths = [folder / "photos" / f"{number}.jpg" for number in range(PHOTOS)]
            return Inputs([PhotoJob(path, way, mask=masks / f"{path.stem}.png") for path in paths])

        def pairs(drawn: bool) -> Inputs:
            return Inputs(list(plain_jobs(folder / "pairs", PREPROCESSING_LIMIT, drawn)))

        forward()
        with_masks = answering(predictor, photos, folder, pictures=False)
        cases = [
            ("of 50 photos with masks, small model", answering(larger, photos, folder, pictures=False), 1, TARGET),
            ("of 50 photos with masks, tiny model", with_masks, 2, TARGET),
            ("of ready JPEG files, tiny model", answering(stored, pairs, folder, pictures=False), 2, TARGET),
            ("of 50 photos, tiny model, pictures drawn", answering(predictor, photos, folder, pictures=True), 1, None),
        ]
        results = []
        for what, answer, repeats, target in cases:
            baseline = larger_forward if "small" in what else forward
            ours, theirs = in_turn(answer, baseline, repeats, warm_up=False)
            title = f"predict: {PHOTOS * REGIONS} pairs {what}"
            results.append(Result(title, "answers", "bare forward pass", ours, theirs, target=target))
    model = f"two {TINY} or {SMALL} at {SIDE} px, {CLASSES} classes, random weights, batches of {BATCH}, fp32"
    publish(
        "predict",
        results,
        reads=f"ours: JPEG photos of {WIDTH}×{HEIGHT} with PNG masks, or JPEG pairs of {SIDE} px; baseline: none",
        notes=[f"model: {model}; loaded once before, on both sides"],
    )


if __name__ == "__main__":
    main()
