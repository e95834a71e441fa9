"""Masks to look at: where prompts did worst, and what edits do."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.cutouts import Mask, Photo, mask_box
from datasets.index import PairIndex
from datasets.readers import open_reader
from datasets.transforms import compose
from experiments.figures import BLUE, VERMILION, draw, elide
from experiments.mask_quality.edits import Edit
from experiments.mask_quality.plan import Plan
from experiments.mask_quality.prompted import Compared, answers, open_annotated
from segmenters.segmenter import Segmenter

_WORST, _ACROSS = 8, 4
_LONGEST = 480  # pixels of a drawn photo


def save_worst(plan: Plan, segmenter: Segmenter, compared: Sequence[Compared], path: Path) -> None:
    """Draw the pairs on which the first kind of prompt has the smallest IoU, worst first."""
    assert plan.archive is not None
    asking, options = plan.options.asks[0], plan.options
    worst = sorted(compared, key=lambda one: one.iou[asking.name])[:_WORST]
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
    _draw_tiles(tiles, path)


def _around(pixels: Photo, truth: Mask, found: Mask) -> tuple[Photo, Mask, Mask]:
    """Return the part of a photo around two masks, small enough to be drawn."""
    left, top, width, height = mask_box(truth | found)
    margin = max(8, max(width, height) // 6)
    rows = slice(max(0, top - margin), top + height + margin)
    columns = slice(max(0, left - margin), left + width + margin)
    step = max(1, math.ceil(max(width, height) / _LONGEST))
    return (
        pixels[rows, columns][::step, ::step],
        truth[rows, columns][::step, ::step],
        found[rows, columns][::step, ::step],
    )


def save_edits(index: PairIndex, edits: Sequence[Edit], path: Path) -> None:
    """Draw the strongest edit of each kind on one pair, whose area is the median of the first hundred."""
    rows = range(min(100, len(index)))
    stored = list(open_reader(index).read(rows))
    areas = [int(np.count_nonzero(pair.mask)) for pair in stored]
    row = int(np.argsort(areas, kind="stable")[len(areas) // 2])
    pair = stored[row]
    photo = compose(pair.pictures["roi"], pair.pictures["extra_roi"], pair.channel_mask()).transpose(1, 2, 0)
    strongest = {edit.kind: edit for edit in sorted(edits, key=lambda edit: edit.level)}
    tiles = [
        (f"{edit.kind} {edit.level:g}", photo, pair.mask, edit(pair.mask, index.draw_key(row)))
        for edit in strongest.values()
    ]
    _draw_tiles(tiles, path)


def _draw_tiles(tiles: Sequence[tuple[str, Photo, Mask, Mask]], path: Path) -> None:
    across = min(_ACROSS, len(tiles))
    down = -(-len(tiles) // across)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.05, h_pad=0.05)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (title, photo, first, second) in zip(grid.flat, tiles, strict=False):
            axes.imshow(photo)
            _contour(axes, first, BLUE, "solid")
            _contour(axes, second, VERMILION, "dashed")
            axes.set_title(title, size=8)

    draw(path, (2.8 * across, 2.9 * down), fill)


def _contour(axes: Axes, mask: Mask, color: str, dash: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=["white"], linewidths=2.6, alpha=0.6)
        axes.contour(mask.astype(float), levels=[0.5], colors=[color], linewidths=1.6, linestyles=[dash])
