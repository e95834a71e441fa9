"""Trees of pairs for benchmarks: many files that are hard links to few pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.classes import ClassMap
from datasets.cutouts import encode
from datasets.manifest import ManifestRow, write_manifest

MASK_BOX = (60, 40, 90, 70)  # left, top, width, height of the roi at 224 pixels; scaled with the picture


def write_cutouts(folder: Path, width: int, height: int) -> tuple[Path, Path]:
    """Write one roi and one extra-roi as JPEG, of smooth noise with a box cut out, and return their paths."""
    coarse = np.random.default_rng(0).integers(1, 256, (15, 20, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(coarse).resize((width, height)))
    left, top, box_width, box_height = (round(part * width / 224) for part in MASK_BOX)
    inside = np.zeros((height, width, 1), dtype=bool)
    inside[top : top + box_height, left : left + box_width] = True
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"roi_{width}.jpg", folder / f"extra-roi_{width}.jpg"
    for path, keep in zip(paths, (inside, ~inside), strict=True):
        path.write_bytes(encode(photo * keep, "jpg"))
    return paths


def link_tree(root: Path, cutouts: tuple[Path, Path], photos: dict[str, int], classes: int, per_photo: int) -> int:
    """Write a tree with its manifest and return the number of its pairs.

    Args:
        root: folder of the tree.
        cutouts: the roi and the extra-roi that all files are links to.
        photos: number of photos in each split.
        classes: number of classes.
        per_photo: pairs of each photo, of neighbouring classes.
    """
    names = [f"class {number:03d}" for number in range(classes)]
    width, height = Image.open(cutouts[0]).size
    rows = []
    for split, count in photos.items():
        for view in ("roi", "extra-roi"):
            for name in names:
                (root / split / view / name).mkdir(parents=True)
        for photo in range(count):
            for number in range(per_photo):
                row = _row(split, names[(photo + number) % classes], f"photo_{photo:06d}", width, height)
                for view, picture in zip(("roi", "extra-roi"), cutouts, strict=True):
                    (root / split / view / row.class_name / f"{row.stem}.jpg").hardlink_to(picture)
                rows.append(row)
    ClassMap.from_names(names).save(root / "classes.yaml")
    write_manifest(root / "manifest.csv", rows, names)
    return len(rows)


def _row(split: str, class_name: str, stem: str, width: int, height: int) -> ManifestRow:
    return ManifestRow(
        split=split,
        class_name=class_name,
        stem=stem,
        group=f"{split}/{stem}",
        photo=f"Images/img_dir/{split}/{stem}.jpg",
        width=width,
        height=height,
        content_width=width,
        content_height=height,
        area_fraction=0.1,
        box_left=0,
        box_top=0,
        box_width=10,
        box_height=10,
        photo_sha256="0" * 64,
        mask_sha256="0" * 64,
    )
