from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.two_views.dataset import TwoViewDataset
from datasets.two_views.photos import index_photos
from utils.photo_sections import PhotoDataConfig, TwoViewConfig

PLAIN = TwoViewConfig(jitter=0.0, grey=0.0, blur=[0.0, 0.0], solarise=[0.0, 0.0])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PhotoFolder:
    """Writes photos below a folder with Pillow alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, pixels: NDArray[np.uint8] | None = None, size: tuple[int, int] = (48, 40)) -> Path:
        """Write H×W×3 pixels; none stands for a picture of its own for each name, with a few coloured areas."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            generator = np.random.default_rng(list(name.encode()))
            small = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
            small.resize(size, Image.Resampling.BICUBIC).save(path)
        else:
            Image.fromarray(pixels).save(path)
        return path

    def config(self, **changes: object) -> PhotoDataConfig:
        """Return a data section for the folder, with views of 32 pixels."""
        return replace(PhotoDataConfig(root=str(self.root), image_size=32), **changes)  # type: ignore[arg-type]

    def dataset(
        self,
        data: PhotoDataConfig | None = None,
        *,
        seed: int = 0,
        slic_input: str = "rgb",
        superpixel_cache: Path | None = None,
    ) -> TwoViewDataset:
        """Return the dataset of all that lies below the folder."""
        data = data or self.config()
        return TwoViewDataset(
            index_photos(data),
            data,
            seed=seed,
            mean=MEAN,
            std=STD,
            slic_input=slic_input,
            superpixel_cache=superpixel_cache,
        )


@pytest.fixture
def folder(tmp_path: Path) -> PhotoFolder:
    return PhotoFolder(tmp_path / "photos")


@pytest.fixture
def plain_views() -> TwoViewConfig:
    """Crops and mirror images alone."""
    return PLAIN


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., str]:
    """Write a list of photos and return its path."""

    def write(*lines: str) -> str:
        path = tmp_path / "list.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    return write
