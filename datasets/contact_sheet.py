"""A picture of a few pairs that a person can look at: photo, roi and extra-roi side by side."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.classes import ClassMap
from datasets.cut_photo import archive_paths, pair_paths
from datasets.cutouts import Photo, cut, recover_mask
from datasets.decode import decode_labels, decode_photo
from datasets.manifest import ManifestRow
from datasets.picture_size import PixelLimit
from utils.files import write_atomic

GREY = (128, 128, 128)
INK = (255, 255, 255)
FRAME = (255, 200, 0)
CELL, GAP, TEXT = 224, 8, 22
ViewsOf = Callable[[ManifestRow], list[Photo]]  # of a pair: photo, roi and extra-roi, H×W×3
VIEWS = ("photo", "roi", "extra-roi")
_ANY_SIZE = PixelLimit(math.inf)  # of files that were just written


def choose_examples(rows: Sequence[ManifestRow], count: int = 8) -> list[ManifestRow]:
    """Choose pairs from the smallest to the largest roi, of as many classes and photos as there are.

    The pairs are put in the order of their area and cut into ``count`` equal runs; from the middle of each run
    outwards the first pair of the class, and then of the photo, that was shown least is taken. Nothing is drawn.
    """
    ordered = sorted(rows, key=lambda row: (row.area_fraction, row.key))
    chosen: list[ManifestRow] = []
    bounds = np.linspace(0, len(ordered), min(count, len(ordered)) + 1).astype(int).tolist()
    for low, high in pairwise(bounds):
        middle = (low + high - 1) / 2
        classes = [row.class_name for row in chosen]
        photos = [row.photo for row in chosen]
        best = min(
            range(low, high),
            key=lambda i: (
                classes.count(ordered[i].class_name),
                photos.count(ordered[i].photo),
                abs(i - middle),
            ),
        )
        chosen.append(ordered[best])
    return chosen


def write_contact_sheet(path: Path, rows: Sequence[ManifestRow], views_of: ViewsOf) -> None:
    """Write a PNG of eight pairs, two beside each other, labelled with class, area and photo, on mid-grey.

    A frame in the photo shows the roi's box, since small regions are hard to find.

    Args:
        path: the PNG to write.
        rows: the tree's pairs.
        views_of: returns the views of a row.
    """
    blocks = [_block(row, views_of(row)) for row in choose_examples(rows)]
    lines = [blocks[i : i + 2] for i in range(0, len(blocks), 2)]
    heights = [max(block.height for block in line) + GAP for line in lines]
    width = len(lines[0]) * (blocks[0].width + 2 * GAP) + 2 * GAP
    sheet = Image.new("RGB", (width, sum(heights) + 2 * GAP), GREY)
    top = 2 * GAP
    for line, height in zip(lines, heights, strict=True):
        for column, block in enumerate(line):
            sheet.paste(block, (2 * GAP + column * (block.width + 2 * GAP), top))
        top += height
    write_atomic(path, lambda temporary: sheet.save(temporary, "PNG", compress_level=1))


def views_of_pairs(classes: ClassMap, roots: Sequence[Path], suffix: str) -> ViewsOf:
    """Return what reads the views of a stored pair, blackened again along the recovered mask.

    Args:
        classes: for the folder names.
        roots: folders in which the cut-outs may lie, searched in this order.
        suffix: of the cut-outs, without dot.
    """

    def views(row: ManifestRow) -> list[Photo]:
        folder = classes.folders[classes.index(row.class_name)]
        paths = pair_paths(row.split, folder, row.stem, suffix)
        roi, extra_roi = (_read(next(root / path for root in roots if (root / path).exists())) for path in paths)
        inside = recover_mask(roi, extra_roi)[..., None]
        return [np.where(inside, roi, extra_roi), roi * inside, extra_roi * ~inside]

    return views


def views_of_archive(label_ids: dict[int, str], root: Path, suffix: str) -> ViewsOf:
    """Return what cuts the views of a row out of photo and mask.

    Args:
        label_ids: class name by label id.
        root: folder of the archive.
        suffix: of the photos, without dot.
    """
    ids = {name: label for label, name in label_ids.items()}

    def views(row: ManifestRow) -> list[Photo]:
        photo_file, mask_file = (root / path for path in archive_paths(row.split, row.stem, suffix))
        photo, labels = _read(photo_file), decode_labels(mask_file.read_bytes(), str(mask_file), _ANY_SIZE)
        return [photo, *cut(photo, labels == ids[row.class_name])]

    return views


def _read(file: Path) -> Photo:
    return np.asarray(decode_photo(file.read_bytes(), str(file), _ANY_SIZE).image)


def _block(row: ManifestRow, views: list[Photo]) -> Image.Image:
    scale = CELL / max(row.content_width, row.content_height)
    size = (max(1, round(row.content_width * scale)), max(1, round(row.content_height * scale)))
    block = Image.new("RGB", (3 * CELL + 2 * GAP, 2 * TEXT + size[1]), GREY)
    draw, font, small = ImageDraw.Draw(block), ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((0, 2), f"{row.class_name}: {100 * row.area_fraction:.2f} % of the photo", INK, font)
    for number, (name, view) in enumerate(zip(VIEWS, views, strict=True)):
        left = number * (CELL + GAP)
        title = f"{name}  {row.split}/{row.stem}"[:38] if name == "photo" else name
        draw.text((left, TEXT + 4), title, INK, small)
        block.paste(Image.fromarray(view).resize(size, Image.Resampling.LANCZOS), (left, 2 * TEXT))
    box_left, box_top = row.box_left * scale - 2, 2 * TEXT + row.box_top * scale - 2
    right, bottom = box_left + row.box_width * scale + 3, box_top + row.box_height * scale + 3
    draw.rectangle((max(0, box_left), max(2 * TEXT, box_top), min(size[0] - 1, right), bottom), outline=FRAME)
    return block
