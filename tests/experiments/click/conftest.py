"""A small trained model with its archive's photos on offer."""

from pathlib import Path

import pytest

from datasets.picture_size import PixelLimit
from experiments.click.answer import Answerer
from experiments.click.examples import find_examples
from experiments.prediction.predictor import load_predictor
from segmenters.grabcut import GrabCut


@pytest.fixture(scope="session")
def answerer(tiny_runs: Path, pair_tree: Path) -> Answerer:
    limit = PixelLimit(1.0, "--max_megapixels")
    predictor = load_predictor(tiny_runs / "both" / "seed0", device="cpu", precision="fp32")
    examples = find_examples(pair_tree.parent / "archive", predictor.path, predictor.classes, limit)
    return Answerer(predictor, {"grabcut": GrabCut()}, examples, limit=limit)
