"""A generated archive with the photos, pairs and co-occurrence of FoodSeg103, from its published statistics.

The statistics hold one row per (photo, class): size of the photo, box and area of the class. Which photo belongs to
which split they do not say, so the split is drawn: 4,983 training and 2,135 test photos, every class in training.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.class_file import load_class_file
from datasets.workers import StopSignals, available_cores, map_unordered
from utils.errors import DataError

OBJECTS, CLASS_FILE = "foodseg103_objects.csv", "foodseg103_category_id.txt"
TRAIN_SHARE = 4983 / 7118
MARK = 6  # pixels; each class keeps a square of this side, which survives resizing to two thirds and more
QUALITY = 90


@dataclass(frozen=True)
class Food:
    """One class in one photo: label id, width and height of its box, and its area, as parts of the photo, 0..1."""

    label_id: int
    width: float
    height: float
    area: float


@dataclass(frozen=True)
class PlannedPhoto:
    """One photo: stem, split, width over height, and its foods, the largest first."""

    stem: str
    split: str
    aspect: float
    foods: tuple[Food, ...]


def read_plan(data: Path, photos: int | None = None) -> list[PlannedPhoto]:
    """Read the statistics; ``photos`` takes an even sample of that many of them.

    Raises:
        DataError: where a file is missing or a class of the statistics is not in the class file.
    """
    for name in (OBJECTS, CLASS_FILE):
        if not (data / name).is_file():
            raise DataError(f"{data / name} is missing; RVERNET_DATA names the folder that holds it")
    # The two files spell one class differently: "french beans" and "French beans".
    ids = {name.lower(): label_id for label_id, name in load_class_file(data / CLASS_FILE).items()}
    by_photo: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (data / OBJECTS).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["class"].lower() not in ids:
                raise DataError(f"{data / OBJECTS}: class '{row['class']}' is not in {data / CLASS_FILE}")
            by_photo[row["image"]].append(row)
    names = sorted(by_photo)
    if photos is not None:
        names = [names[place] for place in np.linspace(0, len(names) - 1, photos).round().astype(int)]
    foods = {name: _foods(by_photo[name], ids) for name in names}
    train = _training_photos(foods)
    return [
        PlannedPhoto(Path(name).stem, "train" if name in train else "test", _aspect(by_photo[name][0]), foods[name])
        for name in names
    ]


def _foods(rows: list[dict[str, str]], ids: dict[str, int]) -> tuple[Food, ...]:
    foods = []
    for row in rows:
        width, height = int(row["bbox_width_px"]) / int(row["image_width"]), int(row["bbox_height_px"]) / _height(row)
        foods.append(Food(ids[row["class"].lower()], width, height, float(row["area_percent"]) / 100))
    return tuple(sorted(foods, key=lambda food: (-food.area, food.label_id)))


def _height(row: dict[str, str]) -> int:
    return int(row["image_height"])


def _aspect(row: dict[str, str]) -> float:
    return int(row["image_width"]) / _height(row)


def _training_photos(foods: dict[str, tuple[Food, ...]]) -> set[str]:
    """Draw the training photos, always the same ones: first one of every class, then any."""
    names = np.random.default_rng(0).permutation(sorted(foods)).tolist()
    first_of: dict[int, str] = {}
    for name in names:
        for food in foods[name]:
            first_of.setdefault(food.label_id, name)
    order = dict.fromkeys([*first_of.values(), *names])
    return set(list(order)[: round(TRAIN_SHARE * len(names))])


def write_food_archive(plan: Sequence[PlannedPhoto], data: Path, folder: Path, side: int = 96) -> None:
    """Write the archive of a plan; ``side`` is the longer side of photos in pixels. The same bytes each time.

    ``folder`` must not exist. Boxes and areas are roughly those of the plan; every class of a photo is in its mask.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    for split in ("train", "test"):
        for kind in ("img_dir", "ann_dir"):
            (partial / "Images" / kind / split).mkdir(parents=True)
        names = "".join(f"{photo.stem}.jpg\n" for photo in plan if photo.split == split)
        (partial / "ImageSets").mkdir(exist_ok=True)
        (partial / "ImageSets" / f"{split}.txt").write_text(names, encoding="utf-8")
    (partial / "category_id.txt").write_bytes((data / CLASS_FILE).read_bytes())
    with StopSignals() as stop:
        parts = [(tuple(plan[start : start + 64]), partial, side) for start in range(0, len(plan), 64)]
        workers = available_cores() if len(parts) > 8 else 1
        for _ in map_unordered(_write_part, parts, workers=workers, setup=_nothing, setup_arguments=(), stop=stop):
            pass
        if stop.number:
            raise KeyboardInterrupt
    partial.rename(folder)


def _nothing() -> None:
    pass


def _write_part(part: tuple[tuple[PlannedPhoto, ...], Path, int]) -> None:
    photos, folder, side = part
    for photo in photos:
        picture, mask = draw(photo, side)
        place = f"{photo.split}/{photo.stem}"
        Image.fromarray(picture).save(folder / "Images" / "img_dir" / f"{place}.jpg", quality=QUALITY)
        Image.fromarray(mask).save(folder / "Images" / "ann_dir" / f"{place}.png")


def draw(photo: PlannedPhoto, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a photo H×W×3 and its mask H×W of label ids; each food is a rectangle, its color that of its class."""
    rng = np.random.default_rng([1, int(photo.stem)])
    width, height = (side, round(side / photo.aspect)) if photo.aspect >= 1 else (round(side * photo.aspect), side)
    mask = np.zeros((height, width), dtype=np.uint8)
    columns = math.ceil(math.sqrt(len(photo.foods) * width / height))
    rows = math.ceil(len(photo.foods) / columns)
    cells = rng.permutation(columns * rows)[: len(photo.foods)]
    centres = [((cell % columns + 0.5) * width / columns, (cell // columns + 0.5) * height / rows) for cell in cells]
    for food, centre in zip(photo.foods, centres, strict=True):  # the smaller ones lie on the larger ones
        shrink = min(1.0, math.sqrt(food.area / max(1e-6, food.width * food.height)))
        mask[_rectangle(centre, food.width * shrink * width, food.height * shrink * height, mask.shape)] = food.label_id
    for food, centre in zip(photo.foods, centres, strict=True):
        mask[_rectangle(centre, MARK, MARK, mask.shape)] = food.label_id
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    colors = np.random.default_rng(2).integers(30, 226, (256, 3), dtype=np.int16)[mask]
    noise = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
    return np.clip((smooth + 2 * colors) // 3 + noise, 1, 255).astype(np.uint8), mask


def _rectangle(centre: tuple[float, float], width: float, height: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the pixels of a rectangle, moved inside the picture where it sticks out."""
    parts = []
    for middle, extent, room in ((centre[1], height, shape[0]), (centre[0], width, shape[1])):
        size = min(room, max(1, round(extent)))
        start = min(max(0, round(middle - size / 2)), room - size)
        parts.append(slice(start, start + size))
    return parts[0], parts[1]
