"""Whether the means over seeds follow from the runs of the seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from experiments.verification.checks import (
    Check,
    alike,
    file_differences,
    key_differences,
    score_differences,
    shortened,
)
from utils.run_directory import METRICS_FILE, RunDirectory


def check_seeds(folder: Path) -> Check:
    """Compare the means, intervals and single values of a folder of seeds with ``metrics.json`` of each run.

    Raises:
        DataError: a ``metrics.json`` is damaged.
    """
    summary = RunDirectory(folder).read_metrics()
    seeds = summary.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        return Check("seeds", "", [f"{METRICS_FILE} is the mean of no runs: its seeds are {seeds}"])
    check = Check("seeds", f"means and intervals follow from the {len(seeds)} runs")
    absent = [f"seed{seed}" for seed in seeds if not (folder / f"seed{seed}" / METRICS_FILE).is_file()]
    if absent:
        check.differences.append(f"{METRICS_FILE} is the mean of runs that are not there: {', '.join(absent)}")
        return check
    check.differences += _other_files(folder, seeds, summary.get("computed_from"))
    single = {seed: RunDirectory(folder / f"seed{seed}").read_metrics()["test"] for seed in seeds}
    recorded = summary["test"]
    unusable = _unusable(single) if isinstance(recorded, dict) else [f"test of {METRICS_FILE} holds no scores"]
    check.differences += unusable
    if not unusable:
        computed = _over(list(single.values()))
        check.differences += score_differences(recorded, computed, f"the {len(seeds)} runs")
        check.differences += key_differences(recorded, computed)
    measures = [RunDirectory(folder / f"seed{seed}").read_metrics().get("measures", {}) for seed in seeds]
    check.differences += _measure_differences(summary.get("measures", {}), measures)
    return check


def _measure_differences(recorded: object, single: Sequence[object]) -> list[str]:
    """Compare the means of what the models measured of their parts; without such measures nothing differs."""
    measures = [one for one in single if isinstance(one, dict)]
    if not isinstance(recorded, dict) or len(measures) < len(single):
        return [f"measures of {METRICS_FILE} are of another kind"]
    if any(one.keys() != recorded.keys() for one in measures):
        return [f"measures of {METRICS_FILE} have other names than those of the runs"]
    found = []
    for name, cells in recorded.items():
        values = [one[name].get("value") if isinstance(one[name], dict) else None for one in measures]
        wanted: dict[str, Any] = {"value": None, "low": None, "high": None, "by_run": values}
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if len(numbers) == len(values):
            low, high = _interval(numbers) or (None, None)
            wanted |= {"value": statistics.fmean(numbers), "low": low, "high": high}
        found += [
            f"{key} of {name} is not what the runs give, {value}"
            for key, value in wanted.items()
            if not isinstance(cells, dict) or not alike(cells.get(key), value)
        ]
    return shortened(found, "measures")


def _other_files(folder: Path, seeds: Sequence[int], named: object) -> list[str]:
    """Compare the runs with the hashes that the summary names; an earlier version named none."""
    if named is None:
        return []
    if not isinstance(named, dict):
        return [f"computed_from of {METRICS_FILE} names no files"]
    wanted = [f"seed{seed}/{METRICS_FILE}" for seed in seeds]
    unnamed = [f"{METRICS_FILE} names no hash of {name}" for name in wanted if name not in named]
    return unnamed + file_differences(folder, named, "the means were")


def _unusable(single: Mapping[int, Any]) -> list[str]:
    """Say why no mean can be taken over the scores of the runs."""
    (first, scores), *others = single.items()
    if not all(isinstance(one, dict) for one in single.values()):
        return ["the runs hold no scores"]
    found = [f"seed{seed} has other scores than seed{first}" for seed, one in others if _kinds(one) != _kinds(scores)]
    kinds = _kinds(scores).items()
    return found or [f"{name} of seed{first} is no number" for name, kind in kinds if kind not in ("number", "null")]


def _kinds(scores: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: "null" if value is None else "number" if type(value) in (int, float) else "other"
        for name, value in scores.items()
        if not name.endswith("_ci")
    }


def _over(single: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, first in single[0].items():
        if name.endswith("_ci"):
            continue
        if name.startswith("n_") or first is None:
            found[name] = first
            continue
        values = [float(one[name]) for one in single]
        found[f"{name}_by_seed"], found[name] = values, statistics.fmean(values)
        found[f"{name}_ci"] = _interval(values)
    return found


def _interval(values: Sequence[float]) -> list[float] | None:
    if len(values) == 1:
        return None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.975, df=len(values) - 1)) * error
    return [mean - reach, mean + reach]
