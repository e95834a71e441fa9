"""The rows of a comparison's tables and CSV files, from the content of ``results.json``."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.report import HEADINGS, Change, PValue, Row
from utils.files import write_text

Table = tuple[list[Row], dict[str, str]]
SHOWN = ("top1", "macro_f1", "ambiguous_f1")
REACHABLE = "best reachable without a mask"


def shown_scores(part: Mapping[str, Any]) -> list[str]:
    """Return the scores that tables hold: ambiguous-F1 only where a class is ambiguous."""
    return [name for name in SHOWN if name != "ambiguous_f1" or part["ambiguous"]]


def models_table(part: Mapping[str, Any]) -> Table:
    """Return a row for each model: scores, parameters, times; and what no model without the mask can pass."""
    names = shown_scores(part)
    rows: list[Row] = []
    for entry in part["models"]:
        row: dict[str, Any] = {"model": entry["name"], "knows": entry["knows"]}
        row |= {key: entry["scores"][key] for name in names for key in (name, f"{name}_ci")}
        row |= cost_cells(entry["cost"])
        rows.append(row | {"n_pairs": part["n_pairs"]})
    best: dict[str, Any] = {"model": REACHABLE, "knows": "", "top1": part["best_reachable_top1"]}
    best |= dict.fromkeys((*names[1:], *COST_HEADINGS), "")
    columns = {"model": "model", "knows": "region"} | {name: HEADINGS[name] for name in names} | COST_HEADINGS
    if all(row["evaluation_ms"] is None for row in rows):
        columns = {key: text for key, text in columns.items() if not key.endswith("_ms")}
    return [*rows, best | {"n_pairs": part["n_pairs"]}], columns | {"n_pairs": "test pairs"}


COST_HEADINGS = {
    "parameters": "parameters",
    "mega_operations": "MFLOPs per pair",
    "evaluation_ms": "ms per pair, scoring",
    "training_ms": "ms per pair, training",
}


def cost_cells(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model costs, in the units of the tables."""
    return {"mega_operations": cost["operations"] / 1e6} | {
        key: cost[key] for key in ("parameters", "evaluation_ms", "training_ms")
    }


def differences_table(part: Mapping[str, Any]) -> Table:
    """Return a row for each compared pair of models: differences over test photos and over training seeds."""
    names = shown_scores(part)
    several = len(part["seeds"]) > 1
    rows: list[Row] = []
    for entry in part["differences"]:
        row: dict[str, Any] = {"models": f"{entry['a']} less {entry['b']}"}
        for name in names:
            found = entry["scores"][name] or dict.fromkeys(("difference", "interval", "p_holm", "over_seeds"))
            change = None if found["difference"] is None else Change(found["difference"])
            row |= {name: change, f"{name}_ci": found["interval"]}
            row[f"{name}_p"] = None if found["p_holm"] is None else PValue(found["p_holm"])
            row |= {f"{name}_seeds": change, f"{name}_seeds_ci": found["over_seeds"]}
        rows.append(row)
    columns = {"models": "models"}
    for name in names:
        columns |= {name: f"{HEADINGS[name]}, over test photos", f"{name}_p": "p (Holm)"}
        columns |= {f"{name}_seeds": f"{HEADINGS[name]}, over seeds"} if several else {}
    return rows, columns


def seeds_table(part: Mapping[str, Any]) -> Table:
    """Return a row for each run: its scores by themselves."""
    names = shown_scores(part)
    rows: list[Row] = [
        {"model": entry["name"], "seed": str(seed)} | {name: one[name] for name in names}
        for entry in part["models"]
        for seed, one in zip(part["seeds"], entry["scores"]["by_seed"], strict=True)
    ]
    return rows, {"model": "model", "seed": "training seed"} | {name: HEADINGS[name] for name in names}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV: numbers in full precision, an interval as two columns, nothing for what is undefined."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([part for key in keys for part in _heads(key)])
    for row in rows:
        writer.writerow([part for key in keys for part in _parts(key, row.get(key))])
    write_text(path, text.getvalue())


def _heads(key: str) -> list[str]:
    base = key.removesuffix("_ci")
    return [key] if base == key else [f"{base}_low", f"{base}_high"]


def _parts(key: str, value: Any) -> list[Any]:  # noqa: ANN401  # any cell
    if key.endswith("_ci"):
        return [repr(float(bound)) for bound in value] if value else ["", ""]
    if isinstance(value, float):
        return [repr(float(value))]
    return ["" if value is None else value]
