"""Generated plates: a FoodSeg103 archive whose cues are known, drawn from a seed.

Ten classes in five pairs of twins. Twins share everything but one cue: texture, silhouette or, for ketchup and chili
paste, their companions. ``docs/plates.md`` tells what follows from that.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import yaml
from PIL import Image
from tqdm import tqdm

from datasets.plates_draw import draw_plate
from datasets.plates_plan import CLASS_NAMES, COMPANIONS, SAUCES, Food, Plate, PlatesConfig, Sauce, plan_plate
from datasets.plates_scores import best_reachable, cue_table
from utils.errors import DataError
from utils.files import write_text

__all__ = [
    "CLASS_NAMES",
    "COMPANIONS",
    "PLATES_FILE",
    "SAUCES",
    "Food",
    "Plate",
    "PlatesConfig",
    "Sauce",
    "best_reachable",
    "cue_table",
    "draw_plate",
    "generate_plates",
    "plan_plate",
]

PLATES_FILE = "plates.yaml"
SPLITS = ("train", "test")


def generate_plates(config: PlatesConfig, root: Path, *, progress: bool = False) -> dict[str, Any]:
    """Write an archive in the layout of FoodSeg103, whole or not at all.

    Photos are JPEG (quality 95, 4:4:4) named by their number with 8 digits, masks PNG with the class id per pixel
    (0 = background). ``plates.yaml`` holds the options, the cue table and the best reachable scores. The same
    options give the same bytes under the same versions of numpy and Pillow.

    Args:
        config: what to generate.
        root: folder of the archive; it must be absent or empty.
        progress: show a bar.

    Returns:
        The content of ``plates.yaml``.

    Raises:
        DataError: ``root`` is a file or a folder that is not empty.
    """
    root = root.absolute()
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise DataError(f"{root} is not an empty folder; delete it or choose another place for the generated plates")
    partial = root.with_name(f".{root.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        plates = _write_photos(config, partial, _bar if progress else _silent)
        document = describe(config, plates)
        write_text(partial / PLATES_FILE, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return document


def _silent(indices: range) -> Iterable[int]:
    return indices


def _bar(indices: range) -> Iterable[int]:
    return tqdm(indices, desc="plates", unit=" photos")


def _write_photos(config: PlatesConfig, folder: Path, bar: Callable[[range], Iterable[int]]) -> list[Plate]:
    for split in SPLITS:
        (folder / "Images/img_dir" / split).mkdir(parents=True)
        (folder / "Images/ann_dir" / split).mkdir(parents=True)
    plates = []
    for index in bar(range(config.photos)):
        plate = plan_plate(config, index)
        photo, mask = draw_plate(plate)
        stem = stem_of(plate)
        photo_path = folder / "Images/img_dir" / plate.split / f"{stem}.jpg"
        Image.fromarray(photo).save(photo_path, quality=95, subsampling=0)
        Image.fromarray(mask).save(folder / "Images/ann_dir" / plate.split / f"{stem}.png")
        plates.append(plate)
    lists = folder / "ImageSets"
    lists.mkdir()
    for split in SPLITS:
        names = [f"{stem_of(plate)}.jpg\n" for plate in plates if plate.split == split]
        write_text(lists / f"{split}.txt", "".join(names))
    ids = ["background", *CLASS_NAMES]
    write_text(folder / "category_id.txt", "".join(f"{number}\t{name}\n" for number, name in enumerate(ids)))
    return plates


def stem_of(plate: Plate) -> str:
    """Return the file name of a plate's photo and mask without its suffix."""
    return f"{plate.index:08d}"


def describe(config: PlatesConfig, plates: list[Plate]) -> dict[str, Any]:
    """Return what ``plates.yaml`` holds.

    ``best_reachable`` is the expectation on endless plates, ``best_reachable_test`` what the same rules score on the
    test split; ``own_companions`` is the purity that the split happens to have, None without a sauce.
    """
    splits = {split: [plate for plate in plates if plate.split == split] for split in SPLITS}
    return {
        "config": asdict(config),
        "classes": list(CLASS_NAMES),
        "ambiguous": list(SAUCES),
        "companions": {name: list(pair) for name, pair in COMPANIONS[config.companions].items()},
        "cue_table": cue_table(config),
        "best_reachable": best_reachable(config),
        "best_reachable_test": best_reachable(config, splits["test"]),
        "splits": {split: _split_summary(config, members) for split, members in splits.items()},
        "versions": {"numpy": np.__version__, "pillow": PIL.__version__},
    }


def _split_summary(config: PlatesConfig, plates: list[Plate]) -> dict[str, Any]:
    counts = Counter(name for plate in plates for name in plate.names)
    own = [with_own_companions(config, plate) for plate in plates if plate.sauce]
    return {
        "photos": len(plates),
        "pairs": {name: counts[name] for name in CLASS_NAMES},
        "own_companions": round(sum(own) / len(own), 6) if own else None,
    }


def with_own_companions(config: PlatesConfig, plate: Plate) -> bool:
    """Return whether the plate's sauce comes with its own companions."""
    companions = COMPANIONS[config.companions]
    return plate.sauce is not None and any(food.name in companions[plate.sauce.name] for food in plate.foods)
