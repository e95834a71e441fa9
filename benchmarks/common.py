"""What every benchmark shares: repeats in turn, medians, a table and a JSON file."""

import json
import os
import platform
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from benchmarks.table import WIDTH, format_table
from datasets.workers import available_cores

OUT = Path("build/benchmarks")
HEADER = ("claim", "ours", "baseline", "ratio [least, most]", "target", "physical limit")
Verdict = Literal["held", "MISSED", "recorded", "not measured"]


@dataclass(frozen=True)
class Result:
    """One claim about time.

    Attributes:
        name: what was measured.
        ours, baseline: what the two sides are, in words.
        ours_seconds, baseline_seconds: one entry per repeat, measured in turn; without a baseline the times are only
            recorded, and with no times at all the claim reads "not measured".
        target: the ratio baseline / ours that the project promises, or null.
        limit: the physical limit with the seconds that it would take, or null.
        reads: which files each side reads, such as "ours: 224 px JPEG pairs; baseline: 480×360 JPEG pairs".
        limit_target: the fraction of the limit that the project promises, 0..1, or null.
    """

    name: str
    ours: str
    baseline: str = ""
    ours_seconds: list[float] = field(default_factory=list)
    baseline_seconds: list[float] = field(default_factory=list)
    target: float | None = None
    limit: tuple[str, float] | None = None
    reads: str = ""
    limit_target: float | None = None

    @property
    def ratios(self) -> list[float]:
        """Baseline over ours, repeat by repeat: above 1 means that ours is faster."""
        return [b / a for a, b in zip(self.ours_seconds, self.baseline_seconds, strict=False)]

    @property
    def fraction_of_limit(self) -> float | None:
        """The limit's seconds over ours: 1 is as fast as the machine allows."""
        if self.limit is None or not self.ours_seconds:
            return None
        return self.limit[1] / statistics.median(self.ours_seconds)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Whether the medians reach each target that there is, by the target in words."""
        ratio = statistics.median(self.ratios) if self.ratios else None
        fraction = self.fraction_of_limit
        found = {}
        if self.target is not None:
            found[f"{self.target:g}"] = _judged(None if ratio is None else ratio >= self.target)
        if self.limit_target is not None:
            found[f"{self.limit_target:.0%} of the limit"] = _judged(
                None if fraction is None else fraction >= self.limit_target
            )
        return found if self.ours_seconds else dict.fromkeys(found, "not measured")

    @property
    def verdict(self) -> Verdict:
        """The verdict on all targets together."""
        if not self.ours_seconds:
            return "not measured"
        verdicts = self.verdicts.values()
        return "MISSED" if "MISSED" in verdicts else "held" if "held" in verdicts else "recorded"

    @property
    def target_text(self) -> str:
        """Each target with its verdict, or the verdict alone."""
        return ", ".join(f"{target}: {verdict}" for target, verdict in self.verdicts.items()) or self.verdict

    @property
    def measured(self) -> str:
        """The ratio's median and spread, or the seconds alone."""
        if not self.ratios:
            return ""
        middle, least, most = (_digits(f(self.ratios)) for f in (statistics.median, min, max))
        return f"{middle} [{least}, {most}]"

    def cells(self) -> tuple[str, ...]:
        """Return the table row of this claim."""
        limit = ""
        if self.limit is not None and self.fraction_of_limit is not None:
            limit = f"{self.fraction_of_limit:.0%} of {self.limit[0]}"
        return (
            self.name,
            f"{self.ours} {_seconds(self.ours_seconds)}".strip(),
            f"{self.baseline} {_seconds(self.baseline_seconds)}".strip(),
            self.measured,
            self.target_text,
            limit,
        )


@dataclass(frozen=True)
class Recorded:
    """One number that is no ratio of times: bytes, a share, a difference.

    Attributes:
        name: what was measured.
        value: the number; null where it was not measured.
        unit: of the value and the target.
        target: the bound that the project promises, or null.
        at_least: the bound is a lower one; an upper one otherwise.
        note: how it was measured, or why not.
        reads: which files are read.
    """

    name: str
    value: float | None
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    note: str = ""
    reads: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the value keeps to the bound, where there is one."""
        if self.value is None:
            return "not measured"
        if self.target is None:
            return "recorded"
        return _judged(self.value >= self.target if self.at_least else self.value <= self.target)

    @property
    def measured(self) -> str:
        """The value with its unit."""
        return "" if self.value is None else f"{self.value:.4g} {self.unit}".strip()

    @property
    def target_text(self) -> str:
        """The bound with its verdict, or the verdict alone."""
        bound = "at least" if self.at_least else "at most"
        return self.verdict if self.target is None else f"{bound} {self.target:g}: {self.verdict}"

    def cells(self) -> tuple[str, ...]:
        """Return the table row of this number."""
        return self.name, self.note, "", self.measured, self.target_text, ""


Row = Result | Recorded


def _judged(reached: bool | None) -> Verdict:
    return "recorded" if reached is None else "held" if reached else "MISSED"


def _digits(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def _seconds(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.3f} s" if times else ""


def in_turn(
    ours: Callable[[], object],
    baseline: Callable[[], object],
    repeats: int,
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Time two callables A B, B A, A B, … so that a drifting machine touches both alike.

    Args:
        ours: our side.
        baseline: what it is compared with.
        repeats: times of each side.
        warm_up: call each side once beforehand, untimed.
        clock: seconds; ``time.process_time`` for work of this process alone, which others' work does not lengthen.

    Returns:
        Seconds of ours and of the baseline, repeat by repeat.
    """
    if warm_up:
        ours()
        baseline()
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        sides = ((0, ours), (1, baseline))
        for side, call in sides if repeat % 2 == 0 else reversed(sides):
            started = clock()
            call()
            times[side].append(clock() - started)
    return times


def publish(benchmark: str, results: Sequence[Row], *, reads: str = "", notes: Sequence[str] = ()) -> None:
    """Print the table and write ``build/benchmarks/<benchmark>.json`` with machine and versions.

    Args:
        benchmark: name of the table and of its file.
        results: the rows.
        reads: which files each side reads, where it is the same in all rows.
        notes: lines under the table.
    """
    print(f"\n== {benchmark}")
    _print_below(machine())
    print(format_table(HEADER, [result.cells() for result in results]))
    each = [f"{result.name}: {result.reads}" for result in results if result.reads]
    for line in [*(f"reads: {text}" for text in ([reads] if reads else []) + each), *notes]:
        _print_below(line)
    sys.stdout.flush()
    OUT.mkdir(parents=True, exist_ok=True)
    document = {
        "benchmark": benchmark,
        "machine": machine(),
        "reads": reads,
        "notes": list(notes),
        "results": [_document(result) for result in results],
    }
    (OUT / f"{benchmark}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _print_below(text: str) -> None:
    print(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    "))


def _document(result: Row) -> dict[str, Any]:
    entry = asdict(result) | {
        "measured": result.measured,
        "verdict": result.verdict,
        "target_text": result.target_text,
    }
    if isinstance(result, Result):
        entry |= {"ratios": result.ratios, "fraction_of_limit": result.fraction_of_limit}
    return entry


def machine() -> str:
    """Describe machine and versions in one line; the load tells whether others were at work meanwhile."""
    versions = " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm", "pillow"))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.machine()}{_processor()}"
    return f"{available_cores()} cores {system}{_gpu()}{load}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    """Return the processor's name where the system tells it in a file."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f" ({names[0]})" if names else ""


def _gpu() -> str:
    torch = sys.modules.get("torch")  # not imported for this: preprocessing is measured without it
    return f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
