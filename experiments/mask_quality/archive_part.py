"""Prompted masks against the annotation of an archive: every photo asked, every column summed up."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets.archive import ArchivePhoto
from experiments.mask_quality.agreement import SIZE_BINS, difference, size_bin, summaries
from experiments.mask_quality.plan import Plan
from experiments.mask_quality.prompted import Asking, Compared, baseline_name, columns_of, compare_photo, open_annotated
from segmenters.segmenter import Segmenter
from utils.errors import DataError

_TIMED, _TIMED_SECONDS = 3, 10.0  # photos behind an estimate, and after how long no further one is begun
_LONG_SECONDS = 600.0


def compare_archive(plan: Plan, segmenter: Segmenter) -> list[Compared]:
    """Ask for every object of every photo in every way.

    Raises:
        DataError: a photo or its annotation cannot be read or segmented, or nothing at all is annotated.
    """
    assert plan.archive is not None
    compared: list[Compared] = []
    for photo in tqdm(plan.photos, desc="prompted masks", unit="photo", leave=False, disable=None):
        compared += _compared(plan, segmenter, photo)
    if not compared:
        raise DataError(f"--src {plan.archive.root}: no class is annotated in its photos; name another split")
    return compared


def estimate_line(plan: Plan, segmenter: Segmenter) -> str:
    """Ask for the objects of up to three photos in every way, and say how long all photos would take.

    No further photo is begun after ten seconds.

    Raises:
        DataError: a photo or its annotation cannot be read or segmented.
    """
    count = len(plan.photos)
    places = dict.fromkeys(count * (2 * part + 1) // 6 for part in range(_TIMED))
    tried: list[float] = []
    asked = 0
    for place in places:
        started = time.perf_counter()
        asked += sum(one.objects for one in _compared(plan, segmenter, plan.photos[place]))
        tried.append(time.perf_counter() - started)
        if sum(tried) > _TIMED_SECONDS:
            break
    every = sum(tried) / len(tried) * count
    ways = len(plan.options.asks)
    objects = f"{asked} object{'s' * (asked != 1)}"
    known = f"{len(tried)} photo{'s' * (len(tried) != 1)} with {objects}, asked for in {ways} way{'s' * (ways != 1)}"
    hint = "; --photos N takes N of them, spread evenly" if every > _LONG_SECONDS else ""
    return f"time     {known}, took {sum(tried):.1f} s; all {count:,} would take about {_duration(every)} here{hint}"


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def _compared(plan: Plan, segmenter: Segmenter, photo: ArchivePhoto) -> list[Compared]:
    assert plan.archive is not None
    options = plan.options
    opened = open_annotated(plan.archive, photo, options.mask_orientation, plan.limit)
    return compare_photo(plan.archive, photo, opened, segmenter, options.asks, options.segmenter.choice, options.seed)


def describe_archive(plan: Plan, segmenter: Segmenter, compared: Sequence[Compared]) -> dict[str, Any]:
    """Sum up IoUs: over all pairs, for each class, and by the part of the photo that the annotation covers.

    Returns:
        ``overall``, and each part of ``classes`` and ``sizes``, hold ``agreement.summary`` of each column; that of a
        box also ``over_ellipse``, its gain over the ellipse in the same box. Ready for JSON.
    """
    assert plan.archive is not None
    options = plan.options
    columns = columns_of(options.asks)
    values = {name: np.array([one.iou[name] for one in compared]) for name in columns}
    groups = np.array([one.group for one in compared])
    classes = np.array([one.class_name for one in compared])
    bins = np.array([size_bin(one.area_fraction) for one in compared])

    def described(member: np.ndarray) -> dict[str, Any]:
        part = {name: np.where(member, column, np.nan) for name, column in values.items()}
        found = summaries(part, groups, resamples=options.resamples)
        for asking in options.asks:
            if asking.kind == "box":
                ellipse = part[baseline_name("ellipse", asking)]
                gain = difference(part[asking.name], ellipse, groups, resamples=options.resamples)
                found[asking.name]["over_ellipse"] = gain
        return found

    def parts(members: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        return {name: described(members == name) for name in names if (members == name).any()}

    return {
        "archive": str(plan.archive.root),
        "splits": sorted({one.split for one in compared}),
        "segmenter": dict(segmenter.settings) | {"choice": options.segmenter.choice},
        "seed": options.seed,
        "columns": [_column(name, options.asks) for name in columns],
        "n_photos": len(plan.photos),
        "n_pairs": len(compared),
        "n_groups": len(set(groups.tolist())),
        "n_objects": sum(one.objects for one in compared),
        "overall": described(np.ones(len(compared), dtype=bool)),
        "classes": parts(classes, plan.archive.class_names),
        "sizes": parts(bins, [name for _, name in SIZE_BINS]),
    }


def _column(name: str, askings: Sequence[Asking]) -> dict[str, Any]:
    asking = next((one for one in askings if one.name == name), None)
    return {"name": name, "kind": asking.kind if asking else "no segmenter", "segmenter": asking is not None}


def csv_rows(plan: Plan, compared: Sequence[Compared]) -> tuple[list[str], list[list[Any]]]:
    """Return heading and a line per pair: key, group, part of the photo, objects, the IoU of every column."""
    columns = columns_of(plan.options.asks)
    heading = ["split", "class", "stem", "group", "area_fraction", "objects", *columns]
    rows = [
        [
            *(one.split, one.class_name, one.stem, one.group, f"{one.area_fraction:.6f}", one.objects),
            *(f"{one.iou[name]:.6f}" for name in columns),
        ]
        for one in compared
    ]
    return heading, rows
