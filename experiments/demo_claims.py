"""What the demo's runs bear out: the paper's claims in miniature, and what is known of generated plates."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.metrics import f1_score

from experiments.statistics import Comparison


@dataclass(frozen=True)
class Claim:
    """A statement, and whether this demo's numbers bear it out."""

    held: bool
    text: str

    def __str__(self) -> str:
        return f"{'held' if self.held else 'NOT HELD'}: {self.text}"


def model_claims(
    scores: Mapping[str, Mapping[str, Any]], reachable: Mapping[str, Mapping[str, float]], gain: Comparison | None
) -> list[Claim]:
    """Judge the three models: a coin for the sauces without surroundings, nearly the best reachable with them."""
    coin = scores["roi only"]["ambiguous_f1_ci"]
    ambiguous, best = scores["RveRNet"]["ambiguous_f1"], reachable["both"]["ambiguous_f1"]
    low = gain.interval[0] if gain is not None and gain.interval is not None else float("nan")
    return [
        Claim(
            coin[0] <= 0.5, f"the roi alone cannot tell the sauces apart (interval from {coin[0]:.3f}, a coin gets 0.5)"
        ),
        Claim(ambiguous >= 0.9 * best, f"with its surroundings it can ({ambiguous:.3f} of {best:.3f} reachable)"),
        Claim(low > 0, f"surroundings raise macro-F1 (interval of the gain from {low:+.3f})"),
    ]


def condition_claims(folder: Path, ambiguous: Sequence[str]) -> list[Claim]:
    """Judge what the conditions destroy: without surroundings the ambiguous classes, with a shuffled roi the others.

    Args:
        folder: holds ``<condition>/predictions.csv``.
        ambiguous: names of the ambiguous classes.
    """
    before = _class_f1(folder / "identity")
    blank, shuffled = _class_f1(folder / "blank_extra_roi"), _class_f1(folder / "permute_roi")
    others = [name for name in before if name not in ambiguous]

    def mean(f1: Mapping[str, float], names: Sequence[str]) -> float:
        return sum(f1[name] for name in names) / len(names)

    def change(f1: Mapping[str, float], names: Sequence[str]) -> str:
        return f"{mean(before, names):.3f} to {mean(f1, names):.3f}"

    return [
        Claim(
            mean(blank, ambiguous) <= 0.5 and mean(before, others) - mean(blank, others) <= 0.1,
            f"black surroundings destroy exactly the sauces (mean F1 {change(blank, ambiguous)}, the other classes "
            f"{change(blank, others)})",
        ),
        Claim(
            mean(before, ambiguous) - mean(shuffled, ambiguous) <= 0.1 and mean(shuffled, others) <= 0.5,
            f"a shuffled roi destroys exactly the others (mean F1 {change(shuffled, others)}, the sauces "
            f"{change(shuffled, ambiguous)})",
        ),
    ]


def _class_f1(folder: Path) -> dict[str, float]:
    """Return the F1 of each class that occurs in a file of predictions."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truth, predicted = ([row[key] for row in rows] for key in ("truth", "prediction"))
    names = sorted(set(truth))
    values = f1_score(truth, predicted, labels=names, average=None, zero_division=0)
    return {name: float(value) for name, value in zip(names, values, strict=True)}
