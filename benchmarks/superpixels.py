"""Superpixels of photos for pre-training: what SLIC costs beside the rest of loading, and whether a run waits for it.

Photos are loaded one after the other in one process, as views of 224 px: with SLIC, with superpixels from the cache on
disk, and without any superpixels. Times are those of the process alone, which other work on the machine does not
lengthen. Then the tiny recipe is run with everything on ``auto``: the part of its last epoch in which the model had no
batch to work on.
"""

import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.archive import write_source
from benchmarks.common import Recorded, Result, Row, in_turn, publish
from datasets.archive import PHOTO_FOLDER
from datasets.plates import PlatesConfig, generate_plates
from datasets.probe import MARGIN
from datasets.two_views.dataset import TwoViewDataset
from datasets.two_views.photos import PhotoIndex, index_photos
from experiments.pretraining.task import SCRIPT, pretrain
from R2O.config import R2OConfig
from utils.config import parse_config
from utils.photo_sections import PhotoDataConfig

RECIPE = "R2O/train_cfgs/tiny_cpu.yaml"
SIDE, PHOTOS, REPEATS = 224, 24, 5
MOST_WAITING = 2.0  # % of the epoch
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _None:
    """Divides nothing: one superpixel as large as the photo."""

    def divide(self, photo: NDArray[np.uint8]) -> NDArray[np.int16]:
        return np.zeros(photo.shape[:2], np.int16)


def datasets(index: PhotoIndex, cache: Path) -> tuple[TwoViewDataset, TwoViewDataset, TwoViewDataset]:
    """Return the photos with SLIC, with a cache of it, and without superpixels."""
    data = PhotoDataConfig(root=str(index.root), image_size=SIDE)
    made = [
        TwoViewDataset(index, data, seed=0, mean=MEAN, std=STD, superpixel_cache=folder)
        for folder in (None, cache, None)
    ]
    made[2]._divider = _None()  # type: ignore[assignment]  # in the place of SLIC
    return made[0], made[1], made[2]


def loading(index: PhotoIndex, cache: Path, reads: str, repeats: int = REPEATS) -> list[Row]:
    """Measure a photo's loading with and without SLIC, and what is kept."""
    items = [(0, row) for row in range(len(index))]
    computed, cached, bare = (lambda d=d: d.__getitems__(items) for d in datasets(index, cache))
    kept, slic = in_turn(cached, computed, repeats, clock=time.process_time)
    with_cache, alone = in_turn(cached, bare, repeats, clock=time.process_time)
    each = 1000 / len(index)
    slic_ms, kept_ms, alone_ms = (each * statistics.median(times) for times in (slic, with_cache, alone))
    # Repeat by repeat, so that what the machine does meanwhile touches both sides.
    added = statistics.median(100 * (a - b) / b for a, b in zip(with_cache, alone, strict=True))
    size = statistics.mean(path.stat().st_size for path in cache.rglob("*.slic"))
    rates = f"{1000 / slic_ms:.0f} photos/s of a core with SLIC, {1000 / kept_ms:.0f} with the cache"
    return [
        Result(f"loading {len(index)} photos, {SIDE} px", "cached", "SLIC", kept, slic, reads=reads),
        Recorded("SLIC of a photo", slic_ms - alone_ms, "ms", note=f"100 superpixels asked for, {SIDE} px, one core"),
        Recorded("the rest of its loading", alone_ms, "ms", note=f"decoding, two views; {rates}"),
        Recorded("cached superpixels beside the rest of loading", added, "%", note="more than without any"),
        Recorded("a photo's superpixels on disk", size / 1000, "kB"),
        *workers_needed(slic_ms, kept_ms),
    ]


def workers_needed(slic_ms: float, kept_ms: float) -> list[Row]:
    """Return the workers that keep ahead of a model, for some rates of it, with and without the cache."""
    rows: list[Row] = []
    for rate in (50, 200, 800):
        found = [MARGIN * rate * ms / 1000 for ms in (slic_ms, kept_ms)]
        note = f"{found[0]:.1f} where SLIC is computed; {MARGIN} times as fast as the model"
        rows.append(Recorded(f"workers for {rate} photos/s, cached", found[1], note=note))
    return rows


def waiting(folder: Path, *, photos: int, epochs: int, options: tuple[str, ...] = ()) -> Row:
    """Run the tiny recipe with everything on ``auto``; return the part of its last epoch without a batch."""
    generate_plates(PlatesConfig(photos=photos, side=128, test_share=0.1), folder / "plates")
    root, run = folder / "plates" / PHOTO_FOLDER / "train", folder / "run"
    argv = ["--config", RECIPE, "--data.root", str(root), "--run.dir", str(run), "--train.epochs", str(epochs)]
    argv += ["--train.picture_every", str(epochs), *options]
    config, _ = parse_config(R2OConfig, argv, program=SCRIPT, flags={})
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        pretrain(config)
    row = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    kept = "kept on disk" if "so they are kept in" in said.getvalue() else "computed anew"
    note = f"{RECIPE}, {photos} plates of 128 px, last of {epochs} epochs; superpixels are {kept}"
    share = 100 * row["waited_seconds"] / row["seconds"]
    return Recorded("waiting for data, everything on auto", share, "% of the epoch", target=MOST_WAITING, note=note)


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        source = write_source(folder / "archive")
        photos = index_photos(PhotoDataConfig(root=str(folder / "archive" / PHOTO_FOLDER / "train")))
        rows = loading(first(photos, PHOTOS), folder / "cache", f"JPEG photos of {source} at their own size")
        publish("superpixels", [*rows, waiting(folder, photos=360, epochs=3)])


def first(index: PhotoIndex, count: int) -> PhotoIndex:
    """Return the index of the first photos alone."""
    return PhotoIndex(index.root, list(index.names[:count]), index.sizes[:count], index.digests[:count], index.limit)


if __name__ == "__main__":
    main()
