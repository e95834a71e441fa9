"""A picture of a few pairs that a person can look at: photo, roi and extra-roi side by side."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.classes import ClassMap
from datasets.cut_photo import pair_paths
from datasets.cutouts import Photo, recover_mask
from datasets.decode import decode_photo
from datasets.manifest import ManifestRow
from utils.files import write_atomic

GREY = (128, 128, 128)
INK = (255, 255, 255)
FRAME = (255, 200, 0)
CELL, GAP, TEXT = 224, 8, 22
VIEWS = ("photo", "roi", "extra-roi")


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


def write_contact_sheet(
    path: Path, rows: Sequence[ManifestRow], classes: ClassMap, roots: Sequence[Path], suffix: str
) -> None:
    """Write a PNG of eight pairs, two beside each other, labelled with class, area and photo, on mid-grey.

    A frame in the photo shows the roi's box, since small regions are hard to find.

    Args:
        path: the PNG to write.
        rows: the tree's pairs.
        classes: for the folder names.
        roots: folders in which the cut-outs may lie, searched in this order.
        suffix: of the cut-outs, without dot.
    """
    blocks = [_block(row, _views(row, classes, roots, suffix)) for row in choose_examples(rows)]
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


def _views(row: ManifestRow, classes: ClassMap, roots: Sequence[Path], suffix: str) -> list[Photo]:
    """Return photo, roi and extra-roi of a stored pair, blackened again along the recovered mask."""
    folder = classes.folders[classes.index(row.class_name)]
    paths = pair_paths(row.split, folder, row.stem, suffix)
    files = [next(root / path for root in roots if (root / path).exists()) for path in paths]
    roi, extra_roi = (np.asarray(decode_photo(file.read_bytes(), str(file)).image) for file in files)
    inside = recover_mask(roi, extra_roi)[..., None]
    return [np.where(inside, roi, extra_roi), roi * inside, extra_roi * ~inside]


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
