"""Photos that the page offers to click on, some with a region whose surroundings can be lent to another photo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.archive import PHOTO_SUFFIXES, read_archive
from datasets.cutouts import resize_labels, resize_photo
from datasets.decode import align_labels, decode_labels, decode_photo
from datasets.picture_size import PixelLimit
from datasets.plates import CLASS_NAMES, PLATES_FILE, SAUCES, PlatesConfig, draw_plate, plan_plate
from datasets.sources import is_archive
from utils.errors import DataError

MOST = 8
_LOOKED_AT = 60  # photos of an archive among which those of different foods are looked for
LONGEST_SIDE = 960  # pixels of a photo on the page; segmenters and models want fewer

_Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Example:
    """A photo on offer.

    Attributes:
        name: as it is shown.
        photo: uint8 H×W×3, shrunk.
        mask: bool H×W, of one food where it is known.
        file: name of its file; empty where it has none.
        size: width and height in pixels of the file; null where they are the photo's.
    """

    name: str
    photo: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    file: str = ""
    size: tuple[int, int] | None = None


def find_examples(
    folder: Path | None,
    run: Path,
    classes: Sequence[str],
    limit: PixelLimit,
    tell: Callable[[str], object] = lambda _line: None,
) -> list[Example]:
    """Return the photos on offer, at most eight.

    Those of ``folder``; without one, test plates of the demo that ``run`` belongs to; without a demo a few plates are
    drawn, and where the model knows other foods than plates have, there are none. ``tell`` is given a line that says
    of how many photos they are.

    Raises:
        DataError: the folder holds no photo, or one that cannot be used.
    """
    if folder is not None:
        return _of_archive(folder, limit, tell) if is_archive(folder) else _of_folder(folder, limit, tell)
    archive = run.absolute().parent / "archive"
    if (archive / PLATES_FILE).is_file():
        return _of_archive(archive, limit, tell)
    return _drawn() if set(classes) <= set(CLASS_NAMES) else []


def shrunk(photo: Image.Image, longest_side: int = LONGEST_SIDE) -> NDArray[np.uint8]:
    """Return the pixels H×W×3 of a photo whose longer side is at most ``longest_side``."""
    smaller = resize_photo(photo, longest_side) if max(photo.size) > longest_side else photo
    return np.array(smaller, dtype=np.uint8)


def _of_folder(folder: Path, limit: PixelLimit, tell: Callable[[str], object]) -> list[Example]:
    if not folder.is_dir():
        raise DataError(f"--examples {folder} is not a folder; give one of photos, or an archive")
    suffixes = {*PHOTO_SUFFIXES, ".webp"}
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise DataError(f"--examples {folder} holds no photo ({', '.join(sorted(suffixes))}); give one that does")
    images = ((file, decode_photo(file.read_bytes(), str(file), limit).image) for file in files[:MOST])
    found = [Example(file.stem, shrunk(image), file=file.name, size=image.size) for file, image in images]
    tell(f"{len(found)} of {len(files)} photos of {folder} are offered, the first by name")
    return found


def _of_archive(root: Path, limit: PixelLimit, tell: Callable[[str], object]) -> list[Example]:
    """Take photos of different foods among the first sixty of the test split, or of all splits where it is empty.

    Photos that are stored turned are passed over; those of the plates' sauces come first.
    """
    archive = read_archive(root)
    listed = [photo for photo in archive.photos if photo.split == "test"] or list(archive.photos)
    sauces = {label for label, name in archive.label_ids.items() if name in SAUCES}
    found: dict[int, Example] = {}
    for one in listed[:_LOOKED_AT]:
        photo = decode_photo((root / one.photo).read_bytes(), one.photo, limit)
        labels = decode_labels((root / one.mask).read_bytes(), one.mask, limit)
        labels = align_labels(labels, photo, "stored", one.photo, one.mask)
        region = _region(labels, sauces, set(found))
        if region is None or photo.orientation != 1:
            continue
        pixels = shrunk(photo.image)
        mask = resize_labels(labels == region, max(pixels.shape[:2]))
        found[region] = Example(_short(one.stem), pixels, mask, Path(one.photo).name, photo.image.size)
        if len(found) == MOST:
            break
    split = "test photos" if listed[0].split == "test" else "photos"
    tell(f"{len(found)} of {len(listed)} {split} of {root} are offered, each with another food")
    return [found[region] for region in sorted(found, key=lambda region: region not in sauces)]


def _short(stem: str) -> str:
    return f"photo {int(stem)}" if stem.isdecimal() else stem


def _region(labels: _Labels, sauces: set[int], seen: set[int]) -> int | None:
    """Return the id of a food that no photo before had: a sauce, or else the largest; null where there is none."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    new = [(int(one) in sauces, int(count), int(one)) for one, count in zip(ids, counts, strict=True)]
    return max((one for one in new if one[2] not in seen), default=(False, 0, None))[2]


def _drawn() -> list[Example]:
    config = PlatesConfig(seed=1)
    sauces = {CLASS_NAMES.index(name) + 1 for name in SAUCES}
    found: dict[int, Example] = {}
    for index in range(_LOOKED_AT):
        photo, labels = draw_plate(plan_plate(config, index))
        region = _region(labels, sauces, set(found))
        if region is not None and len(found) < MOST:
            found[region] = Example(f"photo {index}", photo, labels == region)
    return [found[region] for region in sorted(found, key=lambda region: region not in sauces)]
