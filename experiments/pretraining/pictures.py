"""Pictures of what is being learned: photo, superpixels, and the regions that the target sees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.segmentation import mark_boundaries

from experiments.figures import draw
from experiments.pretraining.setup import PretrainSetup
from utils.batch import Batch
from utils.seeding import seed_everything

REGIONS_FOLDER = "regions"
SHOWN = 6  # photos
TOGETHER = 32  # photos that are clustered at once, at most
FEWEST_STEPS = 6  # numbers of groups in the last picture
CELL, TITLE = 1.8, 0.35  # inches
_TURN = 0.618034  # of the circle of hues, so that neighbouring numbers differ

Pixels = NDArray[np.float64]


def save_regions(setup: PretrainSetup, clusters: int | None, path: Path) -> None:
    """Draw some photos, their superpixels and their regions, one row each, as a PNG; the run is left as it is.

    Args:
        setup: of the run.
        clusters: K, or null where superpixels are the regions.
        path: of the PNG; its folder is made.
    """
    batch = sample(setup)
    title = "regions: superpixels" if clusters is None else f"regions, K = {clusters}"
    columns = [("photo", _photos(batch)), ("superpixels", _divided(batch)), (title, _regions(setup, batch, clusters))]
    _save_grid(columns, path)


def save_regions_over_clusters(setup: PretrainSetup, path: Path) -> None:
    """Draw how the regions of some photos grow as K falls over the run, with the weights as they are."""
    schedule, epochs = setup.schedule, setup.config.train.epochs
    wanted = [schedule.clusters(epoch * schedule.steps_per_epoch) for epoch in range(epochs)]
    numbers = list(dict.fromkeys(wanted))
    if len(numbers) > FEWEST_STEPS:
        numbers = [numbers[round(place)] for place in np.linspace(0, len(numbers) - 1, FEWEST_STEPS)]
    batch = sample(setup)
    columns = [("photo", _photos(batch)), ("superpixels", _divided(batch))]
    for clusters in numbers:
        title = "no clustering" if clusters is None else f"K = {clusters}"
        columns.append((title, _regions(setup, batch, clusters)))
    _save_grid(columns, path)


def sample(setup: PretrainSetup) -> Batch:
    """Return a batch of photos spread over the index, always the same: those shown first, then those beside them."""
    count = min(TOGETHER, len(setup.photos))
    rows = np.unique(np.linspace(0, len(setup.photos) - 1, count).round().astype(int))
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))]
    rest = [row for row in rows.tolist() if row not in set(shown.tolist())]
    return setup.dataset.__getitems__([(0, row) for row in [*shown.tolist(), *rest]])


def _photos(batch: Batch) -> list[Pixels]:
    photos = batch.views["photo"][:SHOWN].permute(0, 2, 3, 1).numpy()
    return [photo / 255.0 for photo in photos]


def _divided(batch: Batch) -> list[Pixels]:
    labels = batch.extras["superpixels"][:SHOWN].numpy()
    return [_outlined(photo, of, (1, 1, 0)) for photo, of in zip(_photos(batch), labels, strict=True)]


def _regions(setup: PretrainSetup, batch: Batch, clusters: int | None) -> list[Pixels]:
    """Return photos tinted by region; the same colour means the same group in all photos."""
    device = setup.training.accelerator.device
    moved = batch.to(device)
    with torch.no_grad(), setup.training.accelerator.autocast():
        state = torch.get_rng_state()
        seed_everything(setup.config.train.seed, "picture")
        inputs = setup.model.prepare(moved)
        ids = setup.model.regions_of(inputs["photo"], inputs["superpixels"], clusters)
        torch.set_rng_state(state)
    drawn = []
    for photo, labels in zip(_photos(batch), ids[:SHOWN].cpu().numpy().astype(np.int64), strict=True):
        side = photo.shape[0]
        large = np.kron(labels, np.ones((side // labels.shape[0],) * 2, dtype=np.int64))
        hues = np.stack([large * _TURN % 1.0, np.full(large.shape, 0.85), np.full(large.shape, 0.95)], axis=-1)
        grey = photo.mean(axis=-1, keepdims=True)
        drawn.append(_outlined(0.35 * grey + 0.65 * hsv_to_rgb(hues) * (0.4 + 0.6 * grey), large, (1, 1, 1)))
    return drawn


def _outlined(photo: Pixels, labels: NDArray[np.integer[Any]], colour: tuple[int, int, int]) -> Pixels:
    drawn: Pixels = mark_boundaries(photo, labels, color=colour)  # type: ignore[no-untyped-call]  # untyped there
    return drawn


def _save_grid(columns: Sequence[tuple[str, list[Pixels]]], path: Path) -> None:
    count = len(columns[0][1])
    height = CELL * count + TITLE

    def fill(figure: Figure) -> None:
        # Room for one line of titles above; a layout engine would draw the whole figure twice.
        places = {
            "left": 0.01,
            "right": 0.99,
            "bottom": 0.01,
            "top": 1 - TITLE / height,
            "wspace": 0.04,
            "hspace": 0.04,
        }
        grid = figure.subplots(count, len(columns), squeeze=False, gridspec_kw=places)
        for column, (title, pictures) in enumerate(columns):
            for row, picture in enumerate(pictures):
                axes = grid[row][column]
                axes.imshow(picture.clip(0, 1), interpolation="nearest")
                axes.set_axis_off()
                if row == 0:
                    axes.set_title(title)

    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path, (CELL * len(columns), height), fill)


def save_views(setup: PretrainSetup, path: Path) -> None:
    """Draw photo, superpixels and the two random views of the first photos of the first batch as a PNG."""
    batch = setup.dataset.__getitems__(next(iter(setup.sampler))[:SHOWN])
    columns = [("photo", _photos(batch)), ("superpixels", _divided(batch))]
    for name in ("view_1", "view_2"):
        pixels = batch.views[name].permute(0, 2, 3, 1).numpy() / 255.0
        columns.append((name.replace("_", " "), list(pixels)))
    _save_grid(columns, path)
