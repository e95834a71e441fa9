"""What every benchmark shares: repeats in turn, medians, a table and a JSON file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

OUT = Path("build/benchmarks")


@dataclass(frozen=True)
class Result:
    """One claim.

    Attributes:
        name: what was measured.
        ours, baseline: what the two sides are, in words.
        ours_seconds, baseline_seconds: one entry per repeat, measured in turn.
        target: the ratio baseline / ours that the project promises, or null.
        limit: the physical limit in seconds with its name, or null.
    """

    name: str
    ours: str
    baseline: str
    ours_seconds: list[float]
    baseline_seconds: list[float]
    target: float | None = None
    limit: tuple[str, float] | None = None

    @property
    def ratios(self) -> list[float]:
        """Baseline over ours, repeat by repeat: above 1 means that ours is faster."""
        return [b / a for a, b in zip(self.ours_seconds, self.baseline_seconds, strict=True)]

    def line(self) -> str:
        """Return the table row of this claim."""
        ratios = self.ratios
        median = statistics.median(ratios)
        held = (
            "" if self.target is None else f", target {self.target:g}: {'held' if median >= self.target else 'MISSED'}"
        )
        limit = ""
        if self.limit is not None:
            limit = f", {self.limit[1] / statistics.median(self.ours_seconds):.0%} of the limit ({self.limit[0]})"
        return (
            f"{self.name}: {self.ours} {statistics.median(self.ours_seconds):.3f} s, "
            f"{self.baseline} {statistics.median(self.baseline_seconds):.3f} s, "
            f"{median:.2f} times as fast [{min(ratios):.2f}, {max(ratios):.2f}]{held}{limit}"
        )


def in_turn(
    ours: Callable[[], object], baseline: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Time two callables A B A B … after one warm-up of each, so that a drifting machine touches both alike."""
    ours()
    baseline()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, call in enumerate((ours, baseline)):
            started = time.perf_counter()
            call()
            times[side].append(time.perf_counter() - started)
    return times


def publish(benchmark: str, results: list[Result]) -> None:
    """Print the rows and write ``build/benchmarks/<benchmark>.json`` with machine and versions."""
    print(f"== {benchmark} ({machine()})")
    for result in results:
        print("  " + result.line())
    OUT.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "results": [asdict(result) | {"ratios": result.ratios} for result in results]}
    (OUT / f"{benchmark}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine() -> str:
    """Describe machine and versions in one line."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm", "pillow"))
    return f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, {versions}"
