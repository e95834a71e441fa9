"""What a comparison found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import os_error_text
from utils.files import sha256
from utils.names import path_problem, shown

SHOWN = 3  # differences told of one kind


@dataclass
class Check:
    """One comparison of recorded numbers with those computed again.

    Attributes:
        name: what is compared, such as ``predictions.csv``.
        said: what was compared, for the case that all agrees.
        differences: one line each, with both values; nothing where all agrees.
        done: false where there was nothing to compare; ``said`` tells why.
    """

    name: str
    said: str
    differences: list[str] = field(default_factory=list)
    done: bool = True

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def lines(self) -> list[str]:
        """Return what to print."""
        if self.agrees:
            mark = "ok" if self.done else "--"
            return [f"  {mark}  {self.name}: {self.said}"]
        return [f"  NO  {self.name}: {line}" for line in self.differences]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "agrees": self.agrees if self.done else None,
            "said": self.said,
            "differences": self.differences,
        }


def shortened(lines: Sequence[str], what: str) -> list[str]:
    """Return the first differences of a kind, and how many there are in all."""
    if len(lines) <= SHOWN:
        return list(lines)
    return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more {what}"]


def score_differences(
    recorded: Mapping[str, Any], computed: Mapping[str, Any], source: str, where: str = "test"
) -> list[str]:
    """Return the scores of ``metrics.json`` that differ from those computed by more than rounding."""
    return [
        f"{where} {name} is {_text(recorded.get(name))} in metrics.json, but {_text(value)} from {source}"
        for name, value in computed.items()
        if not alike(recorded.get(name), value)
    ]


def key_differences(recorded: Mapping[str, Any], computed: Mapping[str, Any], where: str = "test") -> list[str]:
    """Return the scores that stand on one side alone."""
    unknown = [
        f"{where} {name} is in metrics.json, and nothing computes it" for name in recorded if name not in computed
    ]
    return unknown + [f"{where} {name} is not in metrics.json" for name in computed if name not in recorded]


def file_differences(folder: Path, named: Mapping[str, Any], computed: str) -> list[str]:
    """Compare files below a folder with the hashes and sizes that were recorded under their names.

    ``computed`` is what was computed from them, with its verb, such as ``the means were``.
    """
    found: list[str] = []
    for name, expected in named.items():
        problem = path_problem(name)
        if problem is not None:
            found.append(f"the name {shown(name)} of a file {problem}")
            continue
        digest = expected.get("sha256") if isinstance(expected, Mapping) else None
        if not isinstance(digest, str):
            found.append(f"metrics.json holds no hash of {name}")
            continue
        path = folder / name
        try:
            now, size = sha256(path), path.stat().st_size
        except FileNotFoundError:
            found.append(f"{name} is gone")
            continue
        except OSError as error:
            found.append(f"{name} cannot be read ({os_error_text(error)})")
            continue
        if now != digest:
            found.append(
                f"{name} is not the file that {computed} computed from (SHA-256 {digest[:12]}…, "
                f"{expected.get('bytes')} bytes; now {now[:12]}…, {size} bytes)"
            )
    return found


def alike(one: object, other: object) -> bool:
    """Return whether two recorded values are the same but for the rounding of another order of sums."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9
    return one == other


def _text(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
