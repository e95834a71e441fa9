"""An archive of FoodSeg103's true size and co-occurrence: what it costs, and whether the cost model foresaw it.

7,118 generated photos with 26,016 pairs, from the published statistics in RVERNET_DATA. Everything is measured on a
tenth of the photos first; the cost model, told what a photo and a pair of that tenth cost, predicts the whole. A part
that grew faster than the number of pairs would show here. Takes minutes, so it runs by name only:
``RVERNET_DATA=... python -m benchmarks full_size``.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks import cost_model
from benchmarks.common import Recorded, publish
from benchmarks.cost_constants import Constants
from benchmarks.food_archive import PlannedPhoto, read_plan, write_food_archive
from benchmarks.measure import Totals, constants_of, listed, measure
from datasets.archive_cache import CACHE_VARIABLE
from utils.data_sections import DataConfig
from utils.errors import ConfigError, run_script

SIDE, SIZE = 96, 64  # longer side in pixels: of the photos, and of the pairs
WARM_UP, SAMPLE = 100, 712  # photos; what a process does for the first time is slow
FOLDER = Path("build/full_size")


@dataclass(frozen=True)
class Prediction:
    """One quantity: what the model says of so many pairs, what was found, and how it is written."""

    name: str
    predicted: Callable[[float, Constants], float]
    measured: Callable[[Totals], float]
    text: Callable[[float], str]


def _loading(source: str) -> Callable[[float, Constants], float]:
    return lambda _pairs, constants: cost_model.pair_ms(source, constants)


def _ms(value: float) -> str:
    return f"{value:.3g} core ms a pair"


def _folder(totals: Totals) -> int:
    return totals.pair_bytes + totals.manifest_bytes


def _whole(totals: Totals) -> int:
    return totals.photo_bytes + totals.mask_bytes


def _small(totals: Totals) -> int:
    return totals.small_photo_bytes + totals.small_mask_bytes


PREDICTIONS = (
    Prediction("photos", cost_model.photos, lambda t: t.photos, cost_model.number),
    Prediction("folder pairs", cost_model.folder_bytes, _folder, cost_model.size),
    Prediction("archive", partial(cost_model.archive_bytes, small=False), _whole, cost_model.size),
    Prediction("small archive", partial(cost_model.archive_bytes, small=True), _small, cost_model.size),
    Prediction("preprocessing", cost_model.preprocessing_seconds, lambda t: t.cut_seconds, cost_model.duration),
    Prediction("first scan", cost_model.scan_seconds, lambda t: t.scan_seconds, cost_model.duration),
    Prediction("start with a manifest", cost_model.start_seconds, lambda t: t.index_seconds, cost_model.duration),
    Prediction("index in memory", cost_model.index_bytes, lambda t: t.index_bytes, cost_model.size),
    Prediction("loading, folders", _loading("folders"), lambda t: t.folder_ms, _ms),
    Prediction("loading, archive", _loading("archive"), lambda t: t.archive_ms, _ms),
    Prediction("loading, archive by photo", _loading("grouped"), lambda t: t.grouped_ms, _ms),
)


def made(plan: Sequence[PlannedPhoto], data: Path, folder: Path) -> float:
    """Write an archive anew and return the seconds that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.with_name(f".{folder.name}.partial"), ignore_errors=True)
    started = time.perf_counter()
    write_food_archive(plan, data, folder, SIDE)
    return time.perf_counter() - started


def compared(predicted: Constants, totals: Totals) -> list[Recorded]:
    """Return measured over predicted, one row for each quantity."""
    rows = []
    for item in PREDICTIONS:
        foreseen, found = item.predicted(totals.pairs, predicted), item.measured(totals)
        note = f"predicted {item.text(foreseen)}, measured {item.text(found)}"
        rows.append(Recorded(f"{item.name}, measured / predicted", found / foreseen, note=note))
    return rows


def first_scan_seconds(archive: Path) -> float:
    """Return the seconds that the first look at both splits takes with all cores, start of processes included."""
    data = DataConfig(source="archive", root=str(archive))
    with patch.dict(os.environ, {CACHE_VARIABLE: str(FOLDER / "work" / "first")}):
        started = time.perf_counter()
        listed(data)
        return time.perf_counter() - started


def figures(totals: Totals, made_seconds: float, scanned_seconds: float) -> list[Recorded]:
    """Return what was measured on the whole archive."""
    folder, whole, small = _folder(totals), _whole(totals), _small(totals)
    pairs, photos = totals.pairs, totals.photos
    return [
        Recorded("archive generated", made_seconds, "s", target=120, note=f"{photos:,} photos, {pairs:,} pairs"),
        Recorded("preprocessing", 1e3 * totals.cut_seconds / photos, "core ms a photo"),
        Recorded("preprocessing", 1e3 * totals.cut_seconds / pairs, "core ms a pair"),
        Recorded(
            "folder pairs / small archive, bytes", folder / small, note=f"{folder / 1e6:.1f} / {small / 1e6:.1f} MB"
        ),
        Recorded("folder pairs / archive, bytes", folder / whole, note=f"{folder / 1e6:.1f} / {whole / 1e6:.1f} MB"),
        Recorded("files of folder pairs / of an archive", totals.files / (2 * photos), note=f"{totals.files:,} files"),
        Recorded("first scan of the archive, all cores", scanned_seconds, "s"),
        Recorded("first scan of the small archive", totals.scan_seconds, "core s"),
        Recorded("the same from the cache", totals.cached_seconds, "core s"),
        Recorded("start with a manifest, both splits", totals.index_seconds, "core s"),
        Recorded("index in memory", totals.index_bytes / pairs, "bytes a pair"),
        Recorded("loading, folders", 1e3 / totals.folder_ms, "pairs/s a core"),
        Recorded("loading, archive", 1e3 / totals.archive_ms, "pairs/s a core"),
        Recorded("loading, archive by photo", 1e3 / totals.grouped_ms, "pairs/s a core"),
        Recorded("photos decoded for a pair, by photo", totals.decoded, note="1 without data.group_by_photo"),
    ]


def main(_arguments: list[str]) -> None:
    """Generate, measure and compare.

    Raises:
        ConfigError: where RVERNET_DATA is not set.
    """
    if not os.environ.get("RVERNET_DATA"):
        raise ConfigError("RVERNET_DATA is not set; it names the folder that holds foodseg103_objects.csv")
    data = Path(os.environ["RVERNET_DATA"])
    for photos in (WARM_UP, SAMPLE):
        made(read_plan(data, photos), data, FOLDER / "tenth")
        tenth = measure(FOLDER / "tenth", FOLDER / "work", SIZE)
    seconds = made(read_plan(data), data, FOLDER / "archive")
    whole = measure(FOLDER / "archive", FOLDER / "work", SIZE)
    scanned = first_scan_seconds(FOLDER / "archive")
    shutil.rmtree(FOLDER / "work")
    base = Constants()
    model = constants_of(tenth, replace(base, slack_bytes=replace(base.slack_bytes, value=0)))
    reads = f"a generated archive of {SIDE} px in {FOLDER}, pairs of {SIZE} px"
    publish("full_size", figures(whole, seconds, scanned), reads=reads)
    notes = [f"the model was told what {tenth.photos:,} photos with {tenth.pairs:,} pairs cost"]
    publish("full_size_model", compared(model, whole), reads=reads, notes=notes)


if __name__ == "__main__":
    run_script(main)
