"""Masks to look at: where prompts did worst, and what edits do."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from datasets.cutouts import Mask, Photo, mask_box
from datasets.index import PairIndex
from datasets.readers import open_reader
from datasets.transforms import compose
from experiments.figures import BLUE, VERMILION, draw, elide
from experiments.mask_quality.edits import Edit
from experiments.mask_quality.plan import Plan
from experiments.mask_quality.prompted import Compared, answers, open_annotated
from segmenters.segmenter import Segmenter, iou

_WORST, _ACROSS = 8, 4
_LONGEST = 480  # pixels of a drawn photo
_EMPTY = 240

Tile = tuple[str, Photo, Mask, Mask]


def save_worst(plan: Plan, segmenter: Segmenter, compared: Sequence[Compared], path: Path) -> None:
    """Draw the pairs below the median IoU of the first kind of prompt, at most eight, worst first."""
    assert plan.archive is not None
    asking, options = plan.options.asks[0], plan.options
    worst, median = worst_pairs(compared, asking.name)
    photos = {(photo.split, photo.stem): photo for photo in plan.photos}
    ids = {name: label for label, name in plan.archive.label_ids.items()}
    tiles = []
    for one in worst:
        opened = open_annotated(plan.archive, photos[one.split, one.stem], options.mask_orientation, plan.limit)
        pixels, truth = np.asarray(opened.photo.image), opened.labels == ids[one.class_name]
        named = answers(
            pixels,
            {one.class_name: truth},
            {one.class_name: one.key},
            segmenter,
            asking,
            options.segmenter.choice,
            options.seed,
        )
        title = f"{elide(one.class_name, 16)} in {elide(one.stem, 18)}: {one.iou[asking.name]:.2f}"
        tiles.append((title, *_around(pixels, truth, named[one.class_name][asking.name])))
    title = (
        f"{asking.name}: the worst {len(tiles)} of {len(compared):,} pairs (photo and class), median IoU {median:.2f}"
    )
    _draw_tiles(tiles, path, title, ("annotation", "prompted mask"))


def worst_pairs(compared: Sequence[Compared], column: str) -> tuple[list[Compared], float]:
    """Return the pairs of smallest IoU, worst first, and the median IoU of all.

    They are eight at most, all below the median; where none is, as all are alike, the first pair stands for them.
    """
    ordered = sorted(compared, key=lambda one: one.iou[column])
    median = float(np.median([one.iou[column] for one in ordered]))
    return [one for one in ordered[:_WORST] if one.iou[column] < median] or ordered[:1], median


def _around(pixels: Photo, truth: Mask, found: Mask) -> tuple[Photo, Mask, Mask]:
    """Return a square of a photo around two masks, small enough to be drawn; pale grey where the photo ends."""
    left, top, width, height = mask_box(truth | found)
    side = max(width, height)
    side += 2 * max(8, side // 6)
    rows = _span(top + height // 2, side, pixels.shape[0])
    columns = _span(left + width // 2, side, pixels.shape[1])
    step = max(1, math.ceil(side / _LONGEST))
    photo, *masks = (part[rows, columns][::step, ::step] for part in (pixels, truth, found))
    return _squared(photo, _EMPTY), _squared(masks[0], 0), _squared(masks[1], 0)


def _span(middle: int, side: int, length: int) -> slice:
    """Return ``side`` places around one of ``length``, moved inwards at an end; all where there are no more."""
    start = min(max(0, middle - side // 2), max(0, length - side))
    return slice(start, min(start + side, length))


def _squared(picture: NDArray[Any], value: int) -> NDArray[Any]:
    """Return a picture H×W or H×W×3 in the middle of a square of its longer side."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, *picture.shape[2:]), value, dtype=picture.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def save_edits(index: PairIndex, edits: Sequence[Edit], path: Path) -> None:
    """Draw the strongest edit of each kind on one pair, whose area is the median of the first hundred."""
    rows = range(min(100, len(index)))
    stored = list(open_reader(index).read(rows))
    areas = [int(np.count_nonzero(pair.mask)) for pair in stored]
    row = int(np.argsort(areas, kind="stable")[len(areas) // 2])
    pair = stored[row]
    photo = compose(pair.pictures["roi"], pair.pictures["extra_roi"], pair.channel_mask()).transpose(1, 2, 0)
    strongest = {edit.kind: edit for edit in sorted(edits, key=lambda edit: edit.level)}
    tiles = [_edit_tile(edit, photo, pair.mask, edit(pair.mask, index.draw_key(row))) for edit in strongest.values()]
    _, class_name, stem = index.key(row)
    title = f"{elide(class_name, 30)} in {elide(stem, 30)}: what the strongest edits do to a mask"
    _draw_tiles(tiles, path, title, ("stored mask", "edited mask"))


def _edit_tile(edit: Edit, photo: Photo, stored: Mask, edited: Mask) -> Tile:
    title = f"{edit.kind} {edit.level:g}: IoU {iou(edited, stored):.2f}"
    return title, photo, stored, edited


def _draw_tiles(tiles: Sequence[Tile], path: Path, heading: str, lines: tuple[str, str]) -> None:
    """Draw tiles of one shape with two contours each, the first full, the second dashed; ``lines`` names them."""
    height, width = tiles[0][1].shape[:2]
    tall = 2.8 * min(max(height / width, 0.3), 2.0)
    across = min(_ACROSS, len(tiles))
    down = -(-len(tiles) // across)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.05, h_pad=0.05)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (title, photo, first, second) in zip(grid.flat, tiles, strict=False):
            axes.imshow(photo)
            # Both rims first, so that the gaps of the dashes show the full line where the two masks agree.
            for mask in (first, second):
                _contour(axes, mask, "white", "solid", 3.0)
            _contour(axes, first, BLUE, "solid", 1.8)
            _contour(axes, second, VERMILION, "dashed", 1.8)
            axes.set_title(title, size=8)
        figure.suptitle("\n".join(wrap(heading, 30 * across)), size=10, weight="bold", x=0.01, ha="left")
        handles = [Line2D([], [], color=BLUE, lw=1.8), Line2D([], [], color=VERMILION, lw=1.8, ls="dashed")]
        figure.legend(handles, lines, loc="outside lower center", ncols=2, frameon=False)

    draw(path, (2.8 * across, (tall + 0.2) * down + 0.7), fill)


def _contour(axes: Axes, mask: Mask, color: str, dash: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[color], linewidths=width, linestyles=[dash])
