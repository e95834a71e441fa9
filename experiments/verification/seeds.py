"""Whether the means over seeds follow from the runs of the seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from experiments.verification.checks import Check, score_differences
from utils.files import sha256
from utils.run_directory import METRICS_FILE, RunDirectory


def check_seeds(folder: Path) -> Check:
    """Compare the means, intervals and single values of a folder of seeds with ``metrics.json`` of each run."""
    summary = RunDirectory(folder).read_metrics()
    seeds = list(summary.get("seeds", []))
    check = Check("seeds", f"means and intervals follow from the {len(seeds)} runs")
    absent = [seed for seed in seeds if not (folder / f"seed{seed}" / METRICS_FILE).is_file()]
    if absent or not seeds:
        names = ", ".join(f"seed{seed}" for seed in absent) or "runs"
        check.differences.append(f"{METRICS_FILE} is the mean of runs that are not there: {names}")
        return check
    for name, expected in summary.get("computed_from", {}).items():
        if sha256(folder / name) != expected["sha256"]:
            check.differences.append(f"{name} is not the file that the means were computed from")
    single = [RunDirectory(folder / f"seed{seed}").read_metrics()["test"] for seed in seeds]
    check.differences += score_differences(summary["test"], _over(single), f"the {len(seeds)} runs")
    return check


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
