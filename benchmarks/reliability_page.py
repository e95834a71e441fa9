"""docs/reliability.md as text, from the record of the long tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
PHASES = {
    "preprocessing": "preprocessing (`preprocess_foodseg103.py`)",
    "training": "training, in mid-epoch, with a checkpoint at every step",
    "training, a checkpoint per epoch": "training, in mid-epoch, with a checkpoint per epoch",
    "scoring": "training, while it is scored",
    "checkpoint": "training, while a checkpoint is written",
    "log": "training, while the log and the curves are written",
    "renames": "training, between the renames of a checkpoint",
    "kept": "training, while a checkpoint is kept (`run.keep_every`)",
    "results": "training, while the results are written",
    "second seed": "training of several seeds (`train.seeds`), in the second",
    "evaluate.py": "evaluation (`evaluate.py`)",
    "one after the other": "training, killed again and again until it ends",
}
INTRODUCTION = """# What it survives, and how that was tested

A run may be killed at any moment, its disk may fill, its data may be damaged or vanish. What is promised:

- **The same command, started again, reaches the same end**: `metrics.json`, `predictions.csv` and `model.safetensors`
  equal those of a run that nobody disturbed, byte for byte, on the CPU with a fixed number of threads and processes.
- **What is lost is at most what came after the last checkpoint**: `run.checkpoint_minutes` (10 minutes) or one epoch.
- **Nothing half-written is taken for whole**, and nothing half-written stays behind once the command has ended.
- **A user's mistake is one message and exit status 2**: what is wrong, where, what is allowed, how to mend it. Never a
  traceback.

Processes are started, killed with SIGKILL at events that are counted from outside the code (a file is opened, renamed,
flushed or removed; an optimiser step is done; a module scores), and started again with the same command. The events are
drawn with fixed seeds. Half of the kills that follow the writing of a file cut it to half its size first. Figures are
left out of these runs.

This page is generated: `make soak` runs the tests, which note what they saw when they pass, and writes it from these
notes. A test that failed there may have been run again into the same notes after it was mended. `make test` runs a
short form, and checks that the page is what its record, `docs/reliability.json`, says.
"""

GPU = """## On a GPU

Not measured. There the promise is that of `train.deterministic: true`: PyTorch then uses only algorithms that give the
same bits each time, and refuses those that do not. Without it a continued run equals an undisturbed one within the
rounding of sums that are taken in another order. On a CPU runs repeat bit for bit without it.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; line ends and bars in cells are kept from breaking it."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return str(value).strip().replace("|", "\\|").replace("\n", "<br>")


def _code(text: str) -> str:
    """Return a message as code, line by line, as Markdown has none over several lines in a table."""
    return "<br>".join(f"`{line.strip().replace('`', chr(39))}`" for line in text.strip().splitlines())


def render(record: Record) -> str:
    """Return the page."""
    sections: Mapping[str, list[Record]] = record["sections"]
    parts = [INTRODUCTION, f"Measured on {record['date']}: {record['machine']}.\n"]
    parts += _kills(sections.get("kill", []), sections.get("equal", []), sections.get("signal", []))
    parts.append(GPU)
    parts += _faults(sections)
    parts += _damage(sections)
    parts += _cost(record.get("benchmarks", []))
    parts += _others(sections)
    parts += _messages(sections.get("message", []))
    return "\n".join(parts).rstrip() + "\n"


def _kills(kills: list[Record], equal: list[Record], signals: list[Record]) -> list[str]:
    if not kills:
        return []
    rows = []
    total = 0
    for phase, words in PHASES.items():
        found = [kill for kill in kills if kill["phase"] == phase]
        if not found:
            continue
        count = sum(kill.get("count", 1) for kill in found)
        total += count
        lost = [kill["steps_lost"] for kill in found if "steps_lost" in kill]
        thrown = [kill["bytes_lost"] for kill in found if "bytes_lost" in kill]
        rows.append((words, count, max(lost) if lost else "-", f"{max(thrown):,}" if thrown else "-"))
    compared = len(kills) + len(equal) + len(signals)
    parts = ["## kill -9\n"]
    parts.append(table(("while", "kill points, all survived", "most optimiser steps lost", "most bytes lost"), rows))
    parts.append("Steps lost are taken again; bytes lost were half-written, and are thrown away or written again.\n")
    parts.append(f"{total} kills in all. {compared} interrupted runs were compared with undisturbed ones: all equal.\n")
    parts.append("Equality of interrupted and uninterrupted runs:\n")
    cases = [("1 process, " + case, count) for case, count in _one_process(kills, signals)]
    cases += sorted(Counter(entry["case"] for entry in equal).items())
    parts.append(table(("case", "runs compared, all equal"), cases))
    if signals:
        parts.append("## Signals\n")
        told = [(signal["signal"], signal["moment"], _code(signal["message"])) for signal in signals]
        parts.append(table(("signal", "in", "what the user reads; the exit status is 128 + its number"), told))
    return parts


def _one_process(kills: list[Record], signals: list[Record]) -> list[tuple[str, int]]:
    counts = Counter(kill["phase"] for kill in kills)
    cases = [
        ("killed in mid-epoch", counts["training"] + counts["training, a checkpoint per epoch"]),
        ("killed while it was scored", counts["scoring"]),
        ("killed while a checkpoint was written", counts["checkpoint"] + counts["renames"] + counts["kept"]),
        ("killed while log or results were written", counts["log"] + counts["results"]),
        ("killed in the second of two seeds", counts["second seed"]),
        ("killed again and again", counts["one after the other"]),
        ("SIGTERM", sum(signal["signal"] == "SIGTERM" for signal in signals)),
        ("SIGINT, SIGUSR1", sum(signal["signal"] != "SIGTERM" for signal in signals)),
        ("evaluation killed", counts["evaluate.py"]),
        ("preprocessing killed", counts["preprocessing"]),
    ]
    return [case for case in cases if case[1]]


def _faults(sections: Mapping[str, list[Record]]) -> list[str]:
    parts = []
    faults = sections.get("fault", [])
    if faults:
        parts.append("## Other faults\n")
        rows = [(one["fault"], one["status"], _code(one.get("message", ""))) for one in faults]
        parts.append(table(("fault", "exit status", "what the user reads"), rows))
    disk = sections.get("disk", [])
    if disk:
        parts.append("## A disk that is full or refuses\n")
        parts.append("Exit status 2 in each case; earlier checkpoints stay, and a rerun reaches the same end.\n")
        rows = [(one["task"], one["fault"], _code(one["message"])) for one in disk]
        parts.append(table(("in", "fault", "what the user reads"), rows))
    return parts


def _damage(sections: Mapping[str, list[Record]]) -> list[str]:
    damage = sections.get("damage", [])
    if not damage:
        return []
    places = sum(one["places"] for one in sections.get("cut short", []))
    parts = ["## Damaged checkpoints\n"]
    parts.append(
        f"A checkpoint was cut short at {places:,} places, and each was noticed. Whole runs on damaged ones:\n"
    )
    counts = Counter((one["fault"], one["message"]) for one in damage)
    rows = [(fault, count, _code(message)) for (fault, message), count in sorted(counts.items())]
    return [*parts, table(("damage", "runs", "what the user reads"), rows)]


def _cost(rows: list[Record]) -> list[str]:
    if not rows:
        return []
    found = [(row["name"], row["measured"], row["target_text"], row["note"]) for row in rows]
    return ["## What checkpoints cost\n", table(("", "measured", "target", "how"), found)]


def _others(sections: Mapping[str, list[Record]]) -> list[str]:
    parts = []
    fuzz = sections.get("fuzz", [])
    if fuzz:
        parts.append("## Fuzzing\n")
        cases, seconds = (sum(one[key] for one in fuzz) for key in ("cases", "seconds"))
        parts.append("Generated input: never a traceback, never a hang, never a wrong exit status.\n")
        parts.append(f"{cases:,} cases in {seconds:,.0f} seconds of one core:\n")
        keys = [key for key in fuzz[0] if key not in ("target", "seconds")]
        rows = [(one["target"], *(one.get(key, "-") for key in keys), one["seconds"]) for one in fuzz]
        parts.append(table(("target", *keys, "seconds"), rows))
    duplicates = sections.get("near duplicates", [])
    if duplicates:
        parts.append("## Near-duplicates\n")
        parts.append("Photos of which copies were planted in another split, trimmed, scaled, brightened, re-encoded:\n")
        keys = [key for key in ("distinct", "planted", "found", "false_alarms") if key in duplicates[0]]
        parts.append(table(keys, [[one.get(key, "") for key in keys] for one in duplicates]))
    return parts


def _messages(messages: list[Record]) -> list[str]:
    if not messages:
        return []
    groups: dict[str, list[Record]] = {}
    for one in messages:
        groups.setdefault(one["test"].partition("::")[0], []).append(one)
    parts = ["## Bad input, and what the user reads\n"]
    parts.append(f"{len(messages)} kinds of bad input, each a test. Folders are written as ROOT.\n")
    for file, found in sorted(groups.items()):
        rows = [(one["test"].partition("::")[2], _code(one["message"])) for one in found]
        parts.append(f"<details>\n<summary>{file} ({len(found)})</summary>\n")
        parts.append(table(("bad input", "message"), rows))
        parts.append("</details>\n")
    return parts
