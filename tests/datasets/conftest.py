from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.classes import ClassMap
from datasets.manifest import ManifestRow, write_manifest

Picture = NDArray[np.uint8]


@dataclass
class TreeMaker:
    """Writes a tree of cut-outs with Pillow alone, so that the loaders are tested against an independent writer."""

    root: Path
    rows: list[ManifestRow] = field(default_factory=list)

    def path(self, view: str, name: str, stem: str, *, split: str = "train", suffix: str = ".png") -> Path:
        return self.root / split / view / name / f"{stem}{suffix}"

    def add(
        self,
        name: str,
        stem: str,
        photo: Picture,
        mask: NDArray[np.bool_],
        *,
        split: str = "train",
        suffix: str = ".png",
        group: str | None = None,
    ) -> None:
        """Write a pair: photo H×W×3, mask H×W."""
        for view, keep in (("roi", mask), ("extra-roi", ~mask)):
            path = self.path(view, name, stem, split=split, suffix=suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            cut_out = Image.fromarray(np.where(keep[..., None], photo, 0).astype(np.uint8))
            if suffix.lower() in (".jpg", ".jpeg"):
                cut_out.save(path, "JPEG", quality=95, subsampling=0)
            elif suffix == ".webp":
                cut_out.save(path, lossless=True)
            else:
                cut_out.save(path)
        height, width = mask.shape
        self.rows.append(
            ManifestRow(
                split,
                name,
                stem,
                group or f"{split}/{stem}",
                f"Images/img_dir/{split}/{stem}.jpg",
                width,
                height,
                width,
                height,
                round(float(mask.mean()), 6),
                *(0, 0, 1, 1),
                f"photo {stem}",
                f"mask {name} {stem}",
            )
        )

    def add_random(self, names: Iterable[str], stems: Iterable[str], size: tuple[int, int] = (24, 16)) -> None:
        """Write a pair of noise for each (class, stem), to train and with the same stems to test."""
        for split in ("train", "test"):
            for name in names:
                for stem in stems:
                    photo, mask = random_pair(hash_of(split, name, stem), *size)
                    self.add(name, stem, photo, mask, split=split)

    def write_manifest(self, names: Iterable[str]) -> None:
        write_manifest(self.root / "manifest.csv", self.rows, list(names))

    def write_classes(self, names: Iterable[str]) -> None:
        ClassMap.from_names(names).save(self.root / "classes.yaml")


def hash_of(*parts: str) -> int:
    return sum(ord(letter) * (17 * position + 1) for position, letter in enumerate("/".join(parts)))


def random_pair(seed: int, width: int, height: int) -> tuple[Picture, NDArray[np.bool_]]:
    """Noise without black pixels and a random box of at least a quarter of each side."""
    generator = np.random.default_rng(seed)
    photo = generator.integers(1, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), dtype=bool)
    left, top = generator.integers(0, width // 2), generator.integers(0, height // 2)
    mask[top : top + max(1, height // 4) + 1, left : left + max(1, width // 4) + 1] = True
    return photo, mask


@pytest.fixture
def tree(tmp_path: Path) -> TreeMaker:
    return TreeMaker(tmp_path / "tree")


@pytest.fixture
def noise() -> Callable[[int, int, int], tuple[Picture, NDArray[np.bool_]]]:
    return random_pair
