"""Run benchmarks: ``python -m benchmarks`` runs all that are quick, ``python -m benchmarks loader index`` some.

Each runs in a process of its own, so that one cannot change another's memory, threads or workers, and one that fails
does not stop the rest; it is named at the end, and the exit status is 1. A missed target is printed as MISSED and
leaves the status at 0: other work on the machine must not break a build.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.table import format_table
from utils.errors import ConfigError, RunError, nearest, run_script

DEFAULT = (
    "index", "preprocess", "loader", "archive", "train_step", "evaluate_suite", "explain", "bootstrap", "end_to_end",
    "processes", "memory", "checkpoints", "prompts", "click", "predict", "pim", "salience", "kmeans_of_regions",
    "superpixels", "refinement",
)  # fmt: skip
ON_REQUEST = {
    "cost_model": "the tables of docs/scaling.md",
    "full_size": "an archive of FoodSeg103's true size; minutes, and needs RVERNET_DATA",
    "gpu": "the rows that need a GPU",
    "compiling": "torch.compile by family of backbones; most of an hour on a CPU",
}


def main(arguments: list[str]) -> None:
    """Run the benchmarks that are named, or all that are quick, and print one summary.

    Raises:
        ConfigError: where a name is unknown.
        RunError: where a benchmark failed.
    """
    if {"-h", "--help"} & set(arguments):
        print(_help())
        return
    allowed = (*DEFAULT, *ON_REQUEST)
    for name in arguments:
        if name not in allowed:
            raise ConfigError(f"unknown benchmark '{name}'{nearest(name, allowed)} (there are {', '.join(allowed)})")
    rows, failed = [], []
    started = time.perf_counter()
    for name in arguments or DEFAULT:
        found, seconds, status = run_one(name)
        rows += [summary_row(name, seconds, entry) for entry in found]
        if status:
            failed.append(f"{name} (exit status {status})")
            rows.append((name, "did not finish", "", "FAILED", f"{seconds:.0f} s"))
    print(f"\n== summary ({time.perf_counter() - started:.0f} s in all)")
    print(format_table(("benchmark", "claim", "measured", "target", "took"), rows))
    if failed:
        raise RunError(f"these benchmarks failed, see their messages above: {', '.join(failed)}")


def _help() -> str:
    more = "\n".join(f"  {name}: {text}" for name, text in ON_REQUEST.items())
    return f"{__doc__}\nQuick ones: {', '.join(DEFAULT)}\nOnly by name:\n{more}"


def run_one(name: str) -> tuple[list[dict[str, Any]], float, int]:
    """Run one benchmark; return the entries that it published, its seconds and its exit status."""
    before = _stamps()
    started = time.perf_counter()
    status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode  # noqa: S603
    seconds = time.perf_counter() - started
    written = [path for path, stamp in _stamps().items() if before.get(path) != stamp]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in written]
    return [entry for document in documents for entry in document["results"]], seconds, status


def _stamps() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(common.OUT.glob("*.json"))}


def summary_row(benchmark: str, seconds: float, entry: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the summary for an entry of a benchmark's JSON file."""
    return benchmark, entry["name"], entry["measured"], entry["target_text"], f"{seconds:.0f} s"


if __name__ == "__main__":
    run_script(main)
