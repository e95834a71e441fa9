"""Photos without labels, made here, and the shortest pre-training that still does everything."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.pretraining.command import pretrain_command
from tests.experiments.pretraining.options import options_without


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen photos of coloured discs on coloured grounds, in folders that mean nothing."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for number in range(14):
        height, width = (72, 96) if number % 2 else (90, 70)
        photo = np.full((height, width, 3), draw.integers(0, 255, 3), dtype=np.float64)
        rows, columns = np.mgrid[:height, :width]
        for _ in range(4):
            centre, radius = draw.uniform((0, 0), (height, width)), draw.uniform(10, 30)
            photo[np.hypot(rows - centre[0], columns - centre[1]) < radius] = draw.integers(0, 255, 3)
        photo += draw.normal(0, 6, photo.shape)
        place = folder / ("a" if number < 7 else "b/c") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(place)
    return folder


Pretrain = Callable[..., Path]


@pytest.fixture(scope="session")
def pretrain_tiny(photo_folder: Path) -> Pretrain:
    """Pre-train for 2 epochs of 3 steps of 4 photos: K falls from 5 to 3."""

    def run(folder: Path, *options: str) -> Path:
        pretrain_command(options_without(photo_folder, folder, *options))
        return folder

    return run


@pytest.fixture(scope="session")
def pretrained_run(pretrain_tiny: Pretrain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test changes."""
    return pretrain_tiny(tmp_path_factory.mktemp("pretrained") / "run")
