"""Where an optimiser step goes: PyTorch's profiler over a few of them, and its answer in plain words."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, schedule

from utils.files import write_atomic, write_text

TRACE_FILE, SUMMARY_FILE = "trace.json", "summary.txt"
# The first steps allocate memory and choose kernels; the one before the first recorded warms the profiler up.
SKIPPED = 3
EXPENSIVE = 15

# What the engine and its loop call their parts.
_LABELS = {
    "wait for data": "waiting for data",
    "forward": "forward",
    "backward": "backward",
    "optimizer step": "optimiser",
}
_PARTS = ("waiting for data", "transfer", "forward", "backward", "optimiser", "other")
_COPY = "Memcpy HtoD"


@contextmanager
def step_profiler(folder: Path, steps: int, device_type: str) -> Iterator[Callable[[], None]]:
    """Record ``steps`` optimiser steps, from the fourth on; yields what has to be called after each step.

    Leaves ``trace.json`` (for chrome://tracing or ui.perfetto.dev) and ``summary.txt`` in ``folder``, which is made,
    as soon as the steps are done or, with those that there were, at the end of the block. A block with fewer than four
    steps leaves a summary that says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = 0
    recorded = False

    def write(profiler: Any) -> None:  # noqa: ANN401  # torch's own type is untyped
        nonlocal recorded
        recorded = True
        write_atomic(folder / TRACE_FILE, lambda path: profiler.export_chrome_trace(str(path)))
        write_text(folder / SUMMARY_FILE, summary(profiler.events(), profiler.key_averages(), device_type))

    activities = [ProfilerActivity.CPU]
    if device_type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    plan = schedule(wait=SKIPPED - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:

        def on_step() -> None:
            nonlocal taken
            taken += 1
            if taken <= SKIPPED + steps:
                profiler.step()

        yield on_step
    if not recorded:
        text = (
            f"Nothing was recorded: {taken} optimiser steps were taken, and recording starts with step {SKIPPED + 1}."
        )
        write_text(folder / SUMMARY_FILE, text + "\n")


def summary(events: Iterable[Any], averages: Iterable[Any], device_type: str) -> str:
    """Say in words what a profile of whole steps shows.

    Args:
        events: of ``torch.profiler.profile.events()``.
        averages: of ``torch.profiler.profile.key_averages()``.
        device_type: ``cuda`` takes times from the GPU's kernels, anything else from the host.
    """
    events = list(events)
    steps = [event for event in events if _is_step(event) and _on_host(event)]
    whole = sum(float(event.cpu_time_total) for event in steps)
    count = max(1, len(steps))
    parts = gpu_parts(events, whole) if device_type == "cuda" else host_parts(events, whole)
    lines = [f"{len(steps)} optimiser steps of {whole / count / 1000:.2f} ms on the device {device_type}:", ""]
    lines += [f"{100 * parts[name] / max(whole, 1e-9):6.1f} %  {name}" for name in _PARTS]
    lines += ["", _REMARK["cuda" if device_type == "cuda" else "host"], ""]
    lines += _expensive(averages, count, device_type)
    return "\n".join(lines) + "\n"


_REMARK = {
    "host": (
        "Nothing has to be transferred to this device. 'other' is what the loop does between its parts: seeds, sums,\n"
        "learning rates."
    ),
    "cuda": (
        "A part is the time of its kernels on the GPU; 'waiting for data' is the time in which the GPU stood still\n"
        "while the host waited for a batch. 'other' is the rest: small kernels between the parts, and a GPU that\n"
        "stood still for other reasons. Copies that run beside kernels count in both."
    ),
}


def host_parts(events: Iterable[Any], whole: float) -> dict[str, float]:
    """Return the microseconds of each part, of ``whole`` in all, from the labels' times on the host."""
    parts = dict.fromkeys(_PARTS, 0.0)
    for event in events:
        if event.name in _LABELS and _on_host(event):
            parts[_LABELS[event.name]] += float(event.cpu_time_total)
    parts["other"] = max(0.0, whole - sum(parts.values()))
    return parts


def gpu_parts(events: Iterable[Any], whole: float) -> dict[str, float]:
    """Return the microseconds of each part, of ``whole`` in all, from the kernels that each part's operations started.

    Autograd runs the backward pass in a thread of its own, so what no label encloses there belongs to it.
    """
    events = list(events)
    host = [event for event in events if _on_host(event)]
    loop = {event.thread for event in host if _is_step(event)}
    parts = dict.fromkeys(_PARTS, 0.0)
    for event in host:
        part = _part_of(event, loop)
        for kernel in event.kernels:
            name = "transfer" if kernel.name.startswith(_COPY) else part
            # A label's own span on the GPU is listed as a kernel of the label.
            if kernel.name != event.name and name in ("transfer", "forward", "backward", "optimiser"):
                parts[name] += float(kernel.duration)
    waits = [_span(event) for event in host if _LABELS.get(event.name) == "waiting for data"]
    busy = [_span(event) for event in events if not _on_host(event) and not event.is_user_annotation]
    parts["waiting for data"] = sum(end - start for start, end in waits) - overlap(waits, busy)
    parts["other"] = max(0.0, whole - sum(parts.values()))
    return parts


def overlap(spans: list[tuple[float, float]], others: list[tuple[float, float]]) -> float:
    """Return how much of some spans, which do not touch each other, is covered by others, which may."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(others):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return sum(max(0.0, min(a_end, b_end) - max(a, b)) for a, a_end in spans for b, b_end in merged)


def _span(event: Any) -> tuple[float, float]:  # noqa: ANN401
    return float(event.time_range.start), float(event.time_range.end)


def _part_of(event: Any, loop: set[Any]) -> str:  # noqa: ANN401  # torch's own type is untyped
    """Return the part whose label encloses an operation."""
    enclosing = event
    while enclosing is not None:
        if enclosing.name in _LABELS:
            return _LABELS[enclosing.name]
        enclosing = enclosing.cpu_parent
    return "other" if event.thread in loop else "backward"


def _expensive(averages: Iterable[Any], steps: int, device_type: str) -> list[str]:
    """Return a table of the operations that take most time by themselves."""
    key = "self_device_time_total" if device_type == "cuda" else "self_cpu_time_total"
    rows = [row for row in averages if row.key not in _LABELS and not _is_step(row)]
    total = sum(float(getattr(row, key)) for row in rows) or 1.0
    rows = sorted(rows, key=lambda row: float(getattr(row, key)), reverse=True)[:EXPENSIVE]
    lines = [f"The {len(rows)} most expensive operations, without those that they call:", ""]
    lines.append(f"{'ms a step':>10}  {'share':>6}  {'calls a step':>12}  operation")
    for row in rows:
        spent = float(getattr(row, key))
        lines.append(
            f"{spent / steps / 1000:10.3f}  {100 * spent / total:5.1f}%  {row.count / steps:12.1f}  {row.key[:80]}"
        )
    return lines


def _is_step(event: Any) -> bool:  # noqa: ANN401
    return str(getattr(event, "name", None) or getattr(event, "key", "")).startswith("ProfilerStep")


def _on_host(event: Any) -> bool:  # noqa: ANN401
    """Labels are told twice where there is a GPU: as the host saw them and as the GPU did."""
    return str(event.device_type).endswith("CPU")
