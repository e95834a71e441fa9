"""Whether what a model measures of its test pairs beside its logits follows from a run's files, and from the model."""

import csv
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.measures import (
    COLUMNS,
    PAIRS_FILE,
    TABLE_FILE,
    Measures,
    Summary,
    measures_csv,
    measures_with_intervals,
    read_measures,
)
from experiments.verification.checks import Check, alike, shortened
from experiments.verification.reading import Recorded, read_table
from utils.errors import DataError, RunError
from utils.run_directory import LOGITS_FILE, METRICS_FILE

_REACH = 0.01  # of a mean, where another machine tips a few pairs
_MODEL = "model's measures"


def check_measures(run: Recorded) -> list[Check]:
    """Compare the measures of ``metrics.json`` and ``measures.csv`` with the numbers of each pair.

    No check of a run without measures.
    """
    recorded, found = run.metrics.get("measures"), (run.path / PAIRS_FILE).exists()
    if recorded is None:
        told = f"is there, and {METRICS_FILE} has no measures"
        return [Check(PAIRS_FILE, "", [told])] if found else []
    try:
        pairs = read_measures(run.path / PAIRS_FILE)
    except DataError as error:
        return [Check(PAIRS_FILE, "", [str(error)])]
    if run.arrays is None:
        return [Check(PAIRS_FILE, f"{LOGITS_FILE}, which has the groups of the pairs, cannot be read", done=False)]
    groups = run.arrays["test_group"]
    if not pairs or len(next(iter(pairs.values()))) != groups.size:
        return [Check(PAIRS_FILE, "", [f"does not hold numbers of the {groups.size} pairs of {LOGITS_FILE}"])]
    try:
        computed = measures_with_intervals(pairs, groups, resamples=run.resamples)
    except RunError as error:
        return [Check(PAIRS_FILE, "", [str(error)])]
    check = Check(PAIRS_FILE, f"gives the {len(computed)} measures of {METRICS_FILE} with their intervals")
    check.differences = _differences(recorded, computed)
    return [check, _check_table(run, computed)]


def _differences(recorded: Mapping[str, Any], computed: Summary) -> list[str]:
    found = [f"{name} is in {METRICS_FILE} alone" for name in recorded if name not in computed]
    for name, cells in computed.items():
        if not isinstance(recorded.get(name), dict):
            found.append(f"{name} is not in {METRICS_FILE}")
            continue
        found += [
            f"{key} of {name} is {recorded[name].get(key)} in {METRICS_FILE}, but {value} from {PAIRS_FILE}"
            for key, value in cells.items()
            if key not in recorded[name] or not alike(recorded[name][key], value)
        ]
    return shortened(found, "measures")


def _check_table(run: Recorded, computed: Summary) -> Check:
    check = Check(TABLE_FILE, f"says the same as {PAIRS_FILE}")
    try:
        table = read_table(run.path / TABLE_FILE)
    except (OSError, ValueError, csv.Error) as error:
        check.differences.append(f"cannot be read ({error})")
        return check
    wanted = list(csv.DictReader(measures_csv(computed).splitlines()))
    if [line.get("measure") for line in table] != [line["measure"] for line in wanted]:
        check.differences.append(f"has other lines than {PAIRS_FILE} has measures")
        return check
    found = [
        f"{expected['measure']}: {column} is {line.get(column)}, and {PAIRS_FILE} gives {expected[column]}"
        for line, expected in zip(table, wanted, strict=True)
        for column in COLUMNS
        if line.get(column) != expected[column]
    ]
    check.differences = shortened(found, "cells")
    return check


def compare_measures(run: Recorded, computed: Measures, *, exact: bool) -> list[Check]:
    """Compare the numbers of each pair with those that the model gives now; no check where it has none.

    Args:
        run: the files of the run.
        computed: by name, N numbers.
        exact: whether the machine and the software are those of the run, so that the very bits must be found.
    """
    if "measures" not in run.metrics:
        return [Check(_MODEL, "", [f"the model has measures, and {METRICS_FILE} has none"])] if computed else []
    try:
        recorded = read_measures(run.path / PAIRS_FILE)
    except DataError:
        return []  # the check of the files tells
    if recorded.keys() != computed.keys():
        return [Check(_MODEL, "", [f"those of {PAIRS_FILE} have other names than those of the model"])]
    check = Check(_MODEL, f"are those of {PAIRS_FILE} bit for bit")
    changed = [name for name in computed if not np.array_equal(recorded[name], computed[name], equal_nan=True)]
    if not changed:
        return [check]
    means = {name: (_mean(recorded[name]), _mean(computed[name])) for name in changed}
    furthest = max(means, key=lambda name: abs(means[name][0] - means[name][1]))
    before, after = means[furthest]
    told = f"{len(changed)} of {len(computed)} differ, most of all {furthest}: {before:.6f} recorded, {after:.6f} here"
    if exact:
        told += "; the processor, the threads and the versions are those of the run, so that there should be none"
    elif abs(before - after) <= max(_REACH, 2 / max(1, recorded[furthest].size)):  # not for NaN
        return [Check(_MODEL, f"{told}, which is rounding")]
    check.differences = [told]
    return [check]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)].astype(np.float64)
    return float(known.mean()) if known.size else 0.0
