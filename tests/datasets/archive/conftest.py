from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.preprocess import PreprocessOptions, preprocess

CLASS_FILE = "0 background\n1 candy\n2 egg tart\n5 pie/cake\n7 soup\n"
GROUPS = {"train": ("a", "a", "b", "c", "c", "d"), "test": ("x", "y", "y", "z")}
EXIF_ORIENTATION = 0x0112


def save(
    root: Path, split: str, stem: str, photo: Image.Image, labels: NDArray[np.integer], *, turn: int | None = None
) -> None:
    """Write a photo as JPEG where it can be one, turned by its EXIF block if asked to, and its mask."""
    photos, masks = (root / "Images" / kind / split for kind in ("img_dir", "ann_dir"))
    for folder in (photos, masks):
        folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turn is not None:
        exif[EXIF_ORIENTATION] = turn
    if photo.mode in ("L", "RGB"):
        photo.save(photos / f"{stem}.jpg", quality=80, exif=exif)
    else:
        photo.save(photos / f"{stem}.png", exif=exif)
    Image.fromarray(labels).save(masks / f"{stem}.png")


def blocks(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Label ids in 8×8 blocks, with a few single pixels of soup (7), which vanish when the mask shrinks."""
    rng = np.random.default_rng(seed)
    ids = np.array([0, 1, 2, 5], np.uint8)[rng.integers(0, 4, (height // 8 + 1, width // 8 + 1))]
    labels = ids.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()
    labels[1 : 1 + seed, 2] = 7  # of 61 columns made 48, the third is passed over
    return labels


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth photo with a black band, where a stored pair cannot tell roi from surroundings."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).copy()
    photo[height // 2 : height // 2 + 9] = 0
    return photo


def write_archive(root: Path) -> Path:
    """Write ten photos in the habits of real archives: turned, grey, transparent, 16 bits, palette and wide masks."""
    root.mkdir(parents=True)
    (root / "category_id.txt").write_text(CLASS_FILE)
    for split, first in (("train", 1), ("test", 11)):
        photos = [Image.fromarray(noise(first + n, 40 + 3 * n, 61 - 2 * n)) for n in range(4)]
        save(root, split, "p1", photos[0], blocks(first, 40, 61))
        save(root, split, "p2.x", photos[1], blocks(first + 1, 59, 43), turn=6)
        save(root, split, "p3", photos[2].convert("L"), blocks(first + 2, 46, 57).astype(np.uint16))
        transparent = photos[3].convert("RGBA")
        transparent.putalpha(Image.fromarray(blocks(first, 49, 55) * 30 + 30))
        save(root, split, "p4", transparent, blocks(first + 3, 49, 55))
        if split == "train":
            sixteen = Image.fromarray(np.random.default_rng(3).integers(0, 65536, (30, 44)).astype(np.uint16))
            save(root, split, "p5", sixteen, blocks(5, 30, 44))
            save(root, split, "p6", photos[0], blocks(6, 40, 61), turn=3)
    lines = [
        f"{split},{stem},{group}"
        for split, groups in GROUPS.items()
        for stem, group in zip(("p1", "p2.x", "p3", "p4", "p5", "p6"), groups, strict=False)
    ]
    (root / "groups.csv").write_text("\n".join(["split,image,group", *lines]) + "\n")
    return root


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "archive")


@pytest.fixture(scope="session")
def trees(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Lossless trees of the archive by size, with groups, and with a least area where the size is not 0."""
    found = {}
    for size in (0, 48):
        found[size] = tmp_path_factory.mktemp("tree") / f"tree{size}"
        options = PreprocessOptions(
            src=archive,
            dst=found[size],
            size=size,
            format="png",
            workers=1,
            groups=archive / "groups.csv",
            mask_orientation="stored",
            min_area=0.02 if size else 0.0,
            ambiguous=("candy", "soup"),
        )
        preprocess(options, say=lambda _line: None)
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the scans of each test apart."""
    monkeypatch.setenv("RVERNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
