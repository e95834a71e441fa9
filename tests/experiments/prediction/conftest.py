"""A loaded model of two views, a synthetic photo, and a short way to predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from experiments.prediction.command import predict
from experiments.prediction.options import PredictOptions
from experiments.prediction.predictor import Predictor, load_predictor

Predict = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def predictor(tiny_runs: Path) -> Predictor:
    return load_predictor(tiny_runs / "both" / "seed0", device="cpu")


@pytest.fixture(scope="module")
def predicted(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Predict:
    """Predict with the run of two views; returns the JSON file's content and ``folder``."""

    def call(**options: Any) -> dict[str, Any]:  # noqa: ANN401  # whatever an option takes
        run = str(tiny_runs / "both" / "seed0")
        found = predict(PredictOptions(run=run, out=str(tmp_path_factory.mktemp("out")), device="cpu", **options))
        document: dict[str, Any] = json.loads((Path(found["folder"]) / "predictions.json").read_text(encoding="utf-8"))
        assert document == {key: value for key, value in found.items() if key != "folder"}
        return found

    return call


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.bool_]]:
    """A red disc of radius 30 around (70, 55) on noisy green, and the pixels that it covers."""
    rows, columns = np.ogrid[:120, :160]
    inside = (columns + 0.5 - 70) ** 2 + (rows + 0.5 - 55) ** 2 <= 30**2
    pixels = np.where(inside[..., None], np.array([190, 40, 40]), np.array([50, 150, 60]))
    noisy = pixels + np.random.default_rng(0).integers(-15, 16, pixels.shape)
    path = tmp_path_factory.mktemp("photos") / "disc.png"
    Image.fromarray(noisy.astype(np.uint8)).save(path)
    return path, inside
