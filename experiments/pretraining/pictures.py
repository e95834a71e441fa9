"""Pictures of what is being learned: photos, superpixels, the regions that the target sees, and the two views."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datasets.two_views.views import VIEWS
from experiments.figures import BLUE, INK, ORANGE, draw
from experiments.pretraining.setup import PretrainSetup
from utils.batch import Batch
from utils.seeding import seed_everything

REGIONS_FOLDER = "regions"
SHOWN = 6  # photos
TOGETHER = 32  # photos that are clustered at once, at most
FEWEST_STEPS = 6  # numbers of groups in the last picture
SIDE, GAP, TITLE = 256, 6, 26  # pixels of a cell, between cells, and above the first row
DPI = 130
FRAMES = dict(zip(VIEWS, (BLUE, ORANGE), strict=True))
FRAME, CORNER = 3, 14  # pixels: the width of a frame, the side of its marked corner
_TURN = 0.618034  # of the circle of hues, so that neighbouring numbers differ
_TONES = (1.0, 1.0), (0.5, 1.0), (1.0, 0.6)  # saturation and value in turn: hues that come close differ in them
_YELLOW, _WHITE = (1.0, 1.0, 0.0), (1.0, 1.0, 1.0)

Pixels = NDArray[np.float64]
Labels = NDArray[np.int64]
Colour = tuple[float, float, float]


class Column(NamedTuple):
    """One column of a picture.

    Attributes:
        title: above it.
        cells: a picture per photo, SIDE×SIDE×3 in 0..1.
        colour: of the title.
    """

    title: str
    cells: list[Pixels]
    colour: str = INK


def save_regions(setup: PretrainSetup, clusters: int | None, path: Path) -> None:
    """Draw some photos, their superpixels and their regions, one row each, as a PNG; the run is left as it is.

    Args:
        setup: of the run.
        clusters: K, or null where superpixels are the regions.
        path: of the PNG; its folder is made.
    """
    batch = sample(setup)
    title = "regions: superpixels" if clusters is None else f"regions, K = {clusters}"
    _save_grid([*_given(batch), Column(title, _regions(setup, batch, clusters))], path)


def save_regions_over_clusters(setup: PretrainSetup, path: Path) -> None:
    """Draw how the regions of some photos grow as K falls over the run, with the weights as they are."""
    schedule, epochs = setup.schedule, setup.config.train.epochs
    wanted = [schedule.clusters(epoch * schedule.steps_per_epoch) for epoch in range(epochs)]
    numbers = list(dict.fromkeys(wanted))
    if len(numbers) > FEWEST_STEPS:
        numbers = [numbers[round(place)] for place in np.linspace(0, len(numbers) - 1, FEWEST_STEPS)]
    batch = sample(setup)
    columns = _given(batch)
    for clusters in numbers:
        title = "no clustering" if clusters is None else f"K = {clusters}"
        columns.append(Column(title, _regions(setup, batch, clusters)))
    _save_grid(columns, path)


def save_views(setup: PretrainSetup, path: Path) -> None:
    """Draw the first photos of the first batch and their random views as a PNG.

    Frames show what each view is cut from, with a mark on the corner that is the view's top left one; the superpixels'
    borders are carried over to the views by their record alone, so that they lie on the same things where it is right.
    """
    batch = setup.dataset.__getitems__(next(iter(setup.sampler))[:SHOWN])
    records, labels = batch.extras["record"].numpy(), _whole(batch.extras["superpixels"])
    framed = [_framed(photo, record) for photo, record in zip(_pixels(batch.views["photo"]), records, strict=True)]
    columns = [Column("photo; cut: 1 blue, 2 orange", framed), _given(batch)[1]]
    for number, (name, colour) in enumerate(FRAMES.items()):
        views, title = _pixels(batch.views[name]), name.replace("_", " ")
        seen = [_carried(of, record[number]) for of, record in zip(labels, records, strict=True)]
        columns.append(Column(title, views, colour))
        columns.append(Column(f"{title}, superpixels", list(map(_outlined, views, seen)), colour))
    _save_grid(columns, path)


def sample(setup: PretrainSetup) -> Batch:
    """Return a batch of photos spread over the index, always the same: those shown first, then those beside them."""
    count = min(TOGETHER, len(setup.photos))
    rows = np.unique(np.linspace(0, len(setup.photos) - 1, count).round().astype(int))
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))]
    rest = [row for row in rows.tolist() if row not in set(shown.tolist())]
    return setup.dataset.__getitems__([(0, row) for row in [*shown.tolist(), *rest]])


def _pixels(pictures: Tensor) -> list[Pixels]:
    """Return the first pictures of uint8 B×3×S×S in the size in which they are shown."""
    shown = pictures[:SHOWN].permute(0, 2, 3, 1).numpy()
    return [
        np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255.0 for picture in shown
    ]


def _whole(labels: Tensor) -> Labels:
    return labels[:SHOWN].cpu().numpy().astype(np.int64)


def _carried(labels: Labels, record: NDArray[np.float32] | None = None) -> Labels:
    """Return labels S×S in the size in which they are shown: of the whole photo, or of a view by its record."""
    top, left, bottom, right, flip = (0.0, 0.0, 1.0, 1.0, 0.0) if record is None else record.tolist()
    centres = (np.arange(SIDE) + 0.5) / SIDE
    across = 1 - centres if flip else centres
    last = len(labels) - 1
    rows, columns = top + (bottom - top) * centres, left + (right - left) * across
    rows, columns = (np.minimum(part * len(labels), last).astype(np.int64) for part in (rows, columns))
    return np.asarray(labels[rows[:, None], columns])


def _outlined(picture: Pixels, labels: Labels, colour: Colour = _YELLOW) -> Pixels:
    """Return a picture with lines of one pixel where labels of its size change."""
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return np.where(border[..., None], np.array(colour), picture)


def _framed(photo: Pixels, record: NDArray[np.float32]) -> Pixels:
    drawn = photo.copy()
    for (top, left, bottom, right, flip), colour in zip(record.tolist(), map(to_rgb, FRAMES.values()), strict=True):
        edges = (round(edge * SIDE) for edge in (top, bottom, left, right))
        first, last, start, end = edges
        for rows, columns in (
            (slice(first, first + FRAME), slice(start, end)),
            (slice(max(0, last - FRAME), last), slice(start, end)),
            (slice(first, last), slice(start, start + FRAME)),
            (slice(first, last), slice(max(0, end - FRAME), end)),
            (slice(first, first + CORNER), slice(max(0, end - CORNER), end) if flip else slice(start, start + CORNER)),
        ):
            drawn[rows, columns] = colour
    return drawn


def _given(batch: Batch) -> list[Column]:
    photos = _pixels(batch.views["photo"])
    labels = map(_carried, _whole(batch.extras["superpixels"]))
    return [Column("photo", photos), Column("superpixels", list(map(_outlined, photos, labels)))]


def _regions(setup: PretrainSetup, batch: Batch, clusters: int | None) -> list[Pixels]:
    """Return photos tinted by region; the same colour means the same group in all photos."""
    accelerator = setup.training.accelerator
    gpus = range(torch.cuda.device_count())  # seeding is that of all of them
    with torch.no_grad(), accelerator.autocast(), torch.random.fork_rng(devices=gpus):
        seed_everything(setup.config.train.seed, "picture")
        inputs = setup.model.prepare(batch.to(accelerator.device))
        ids = _whole(setup.model.regions_of(inputs["photo"], inputs["superpixels"], clusters))
    names, numbers = np.unique(ids, return_inverse=True)  # colours are those of the groups that are seen
    colours = _tints(len(names))
    drawn = []
    for photo, labels in zip(_pixels(batch.views["photo"]), numbers.reshape(ids.shape), strict=True):
        large = _carried(labels)
        drawn.append(_outlined(colours[large] * _shade(photo), large, _WHITE))
    return drawn


def _tints(count: int) -> Pixels:
    """Return so many colours, count×3."""
    numbers = np.arange(count)
    tones = np.array(_TONES)[numbers % len(_TONES)]
    return np.asarray(hsv_to_rgb(np.column_stack([numbers * _TURN % 1.0, tones])))


def _shade(photo: Pixels) -> Pixels:
    """Return the light and dark of a photo, from half to full light whatever its own brightness is."""
    grey = photo.mean(axis=-1, keepdims=True)
    low, high = np.percentile(grey, (2, 98))
    return np.asarray(0.5 + 0.5 * ((grey - low) / max(high - low, 0.1)).clip(0, 1))


def _save_grid(columns: Sequence[Column], path: Path) -> None:
    """Write the columns beside each other, each of their pixels as one of the PNG."""
    count, step = len(columns[0].cells), SIDE + GAP
    canvas = np.ones((TITLE + count * step, GAP + len(columns) * step, 3))
    for place, column in enumerate(columns):
        for row, cell in enumerate(column.cells):
            top, left = TITLE + row * step, GAP + place * step
            canvas[top : top + SIDE, left : left + SIDE] = cell
    height, width = canvas.shape[:2]

    def fill(figure: Figure) -> None:
        figure.figimage(canvas.clip(0, 1))
        for place, column in enumerate(columns):
            x, y = (GAP + place * step) / width, 1 - TITLE / 2 / height
            figure.text(x, y, column.title, color=column.colour, weight="bold", va="center")

    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path, (width / DPI, height / DPI), fill, dpi=DPI)
