"""What a model says of its pairs beside its logits: means with intervals, files and tables.

Such numbers come from ``ViewClassifier.measures``; their names have the form ``<part>/<kind>``, as in ``level_1/top1``.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from experiments.report import HEADINGS, Row
from experiments.resampling import draw_groups
from experiments.statistics import percentile_interval, t_interval
from Off_the_shelfs.meanings import MEANINGS
from utils.arrays import read_arrays
from utils.errors import DataError, RunError
from utils.files import write_atomic
from utils.metrics import Array

PAIRS_FILE, TABLE_FILE = "measures.npz", "measures.csv"
COLUMNS = ("measure", "value", "low", "high", "n")

Measures = Mapping[str, Array]
Cells = dict[str, float | int | None]
Summary = Mapping[str, Mapping[str, Any]]

_HEADINGS = HEADINGS | {"top3": "top-3", "share": "part of the pairs"}


def measures_with_intervals(
    measures: Measures, groups: Array, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Cells]:
    """Return the mean of each measure with its 95 % percentile interval from a bootstrap over groups.

    The groups are drawn as those of ``grouped_intervals`` are; with equal seeds the resamples are the same.

    Args:
        measures: by name, N numbers; NaN where a measure says nothing of a pair, which then does not count.
        groups: N, the group of each pair.
        resamples: number of resamples, at least 1.
        seed: of the draw.

    Returns:
        By name ``value``, ``low``, ``high`` and ``n``, the pairs that count. None where no pair does; ``low`` and
        ``high`` also where they lie in a single group.

    Raises:
        RunError: a number is infinite.
    """
    if not measures:
        return {}
    values = np.stack(list(measures.values())).astype(np.float64)
    if np.isinf(values).any():
        broken = [name for name, row in zip(measures, values, strict=True) if np.isinf(row).any()]
        raise RunError(
            f"{', '.join(broken)} of the model are not finite; the weights have diverged: lower the learning rate or "
            f"set train.clip_norm"
        )
    known = ~np.isnan(values)
    group_names, code = np.unique(groups, return_inverse=True)
    member = sparse.csr_array((np.ones(code.size), (np.arange(code.size), code)), (code.size, group_names.size))
    sums, counts = np.where(known, values, 0.0) @ member, known.astype(np.float64) @ member
    samples = _samples(sums, counts, resamples, seed)
    result: dict[str, Cells] = {}
    for row, name in enumerate(measures):
        n = int(known[row].sum())
        interval = percentile_interval(samples[row]) if np.count_nonzero(counts[row]) > 1 else None
        low, high = interval or (None, None)
        result[name] = {"value": float(sums[row].sum() / n) if n else None, "low": low, "high": high, "n": n}
    return result


def _samples(sums: Array, counts: Array, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the means M×R over resamples of groups, from the sums and counts M×G of each; NaN where undefined."""
    drawn = draw_groups(sums.shape[1], 2 * len(sums), resamples, seed)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(sums @ weights) / (counts @ weights) for weights in drawn], axis=1)


def save_measures(measures: Measures, path: Path) -> None:
    """Write the numbers of each pair: ``values``, float32 N×M, and ``names``, M texts."""
    arrays: dict[str, Array] = {"names": np.array(list(measures)), "values": _columns(measures)}
    write_atomic(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_measures(path: Path) -> dict[str, Array]:
    """Read what ``save_measures`` wrote: by name, float32 N.

    Raises:
        DataError: the file is missing, damaged, or no such file.
    """
    arrays = read_arrays(path, ("names", "values"))
    names, values = arrays["names"], arrays["values"]
    fits = names.dtype.kind == "U" and names.ndim == 1 and values.dtype == np.float32 and values.ndim == 2
    if not fits or values.shape[1] != names.size or len(set(names.tolist())) < names.size:
        raise DataError(f"{path} does not hold one column of numbers for each of its names; restore it")
    return dict(zip(names.tolist(), values.T, strict=True))


def _columns(measures: Measures) -> NDArray[np.float32]:
    return np.stack(list(measures.values()), axis=1).astype(np.float32)


def measures_csv(summary: Summary) -> str:
    """Return the means as CSV, six digits after the point, undefined ones empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, cells in summary.items():
        numbers = ["" if cells[key] is None else f"{cells[key]:.6f}" for key in ("value", "low", "high")]
        writer.writerow([name, *numbers, cells["n"]])
    return text.getvalue()


def measures_table(summary: Summary) -> tuple[list[Row], dict[str, str]]:
    """Return a row for each part of the model and a column for each kind of number, for ``experiments.report``."""
    rows: dict[str, dict[str, Any]] = {}
    columns = {"part": "measured"}
    for name, cells in summary.items():
        part, _, kind = name.rpartition("/") if "/" in name else (name, "", "mean")
        columns[kind] = _HEADINGS.get(kind, kind.replace("_", " "))
        row = rows.setdefault(part, {"part": part})
        row[kind] = cells["value"]
        if cells["low"] is not None:
            row[f"{kind}_ci"] = [cells["low"], cells["high"]]
    blank = dict.fromkeys(columns, "")  # a part need not have every kind
    return [blank | row for row in rows.values()], columns


def measures_over_runs(summaries: Sequence[Summary]) -> dict[str, dict[str, Any]]:
    """Return the mean of each measure over runs of one model, with Student's t-interval over training seeds.

    By name ``value``, ``low``, ``high`` (None for a single run) and ``by_run``; all None but the last where a run has
    no such number.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in summaries[0]:
        values = [one[name]["value"] for one in summaries]
        cells = (None, None, None) if None in values else t_interval(values)
        found[name] = dict(zip(("value", "low", "high"), cells, strict=True)) | {"by_run": values}
    return found


def measures_notes(names: Iterable[str]) -> list[str]:
    """Return what the names of measures mean, a sentence or two for each family of them."""
    parts = [part for name in names for part in name.split("/")[:-1]]
    families = {part.rstrip("0123456789").rstrip("_") for part in parts}
    return [text for family, text in MEANINGS.items() if family in families]
