"""The rows of every table of a comparison, from the content of ``results.json``."""

from collections.abc import Mapping
from typing import Any

from experiments.report import HEADINGS, Change, PValue, Row

Document = Mapping[str, Any]
Table = tuple[list[Row], dict[str, str]]
SHOWN = ("top1", "macro_f1", "ambiguous_f1")
_FEW_CLASSES = 5


def overall_table(part: Document) -> Table:
    """Return a row per kind of prompt and baseline: mean IoU, quartiles, gain over the ellipse in the same box."""
    rows: list[Row] = []
    for column in part["columns"]:
        found = part["overall"][column["name"]]
        gain = found.get("over_ellipse")
        row = {"prompt": label_of(column)} | found
        row["gain"] = "" if gain is None else Change(gain["difference"])
        row["gain_ci"] = gain and gain["interval"]
        rows.append(row)
    columns = {"prompt": "prompt", "mean": "mean IoU", "q25": "lower quartile", "median": "median"}
    columns |= {"q75": "upper quartile", "least": "least"}
    if any(row["gain"] != "" for row in rows):
        columns["gain"] = "more than the ellipse"
    return rows, columns


def label_of(column: Mapping[str, Any]) -> str:
    """Return what a table calls a column."""
    return column["name"] if column["segmenter"] else f"no segmenter: {column['name']}"


def parts_table(part: Document, key: str) -> Table:
    """Return mean IoUs for each class (``classes``) or size (``sizes``); many classes get rows, few get columns."""
    parts = part[key]
    headings = {name: f"{name} ({next(iter(found.values()))['pairs']:,})" for name, found in parts.items()}
    if len(parts) > _FEW_CLASSES:
        rows: list[Row] = []
        for name, found in parts.items():
            row: dict[str, Any] = {"part": headings[name]}
            for column in part["columns"]:
                row[column["name"]] = found[column["name"]]["mean"]
            rows.append(row)
        return rows, {"part": "class (pairs)"} | {column["name"]: label_of(column) for column in part["columns"]}
    rows = []
    for column in part["columns"]:
        row = {"prompt": label_of(column)}
        for name, found in parts.items():
            row |= {name: found[column["name"]]["mean"], f"{name}_ci": found[column["name"]]["mean_ci"]}
        rows.append(row)
        if "over_ellipse" in part["overall"][column["name"]]:
            gains = {name: found[column["name"]]["over_ellipse"] for name, found in parts.items()}
            row = {"prompt": f"{column['name']} more than the ellipse"}
            row |= {name: Change(gain["difference"]) for name, gain in gains.items()}
            rows.append(row | {f"{name}_ci": gain["interval"] for name, gain in gains.items()})
    return rows, {"prompt": "prompt"} | headings


def shown_scores(part: Document) -> list[str]:
    """Return the scores that tables hold: ambiguous-F1 only where a class is ambiguous."""
    return [name for name in SHOWN if name != "ambiguous_f1" or part["ambiguous"]]


def cells_table(part: Document) -> Table:
    """Return a row per side and tree: its scores, the mean over the side's runs."""
    rows: list[Row] = []
    for cell in part["cells"]:
        seeds = ", ".join(map(str, cell["seeds"]))
        rows.append({"trained": cell["trained"], "tree": cell["tree"], "seeds": seeds} | cell["scores"])
        if cell["over_seeds"] is not None:
            rows.append({"trained": "  t-interval over seeds", "tree": "", "seeds": ""} | cell["over_seeds"])
    columns = {"trained": "trained on", "tree": "tested on", "seeds": "training seeds"}
    return rows, columns | {name: HEADINGS[name] for name in shown_scores(part)}


def comparisons_table(part: Document) -> Table:
    """Return a row per comparison of two cells: differences with p-values after Holm, and McNemar's test."""
    rows: list[Row] = []
    names = shown_scores(part)
    for entry in part["comparisons"]:
        a, b = (" on ".join(entry[side]) for side in ("a", "b"))
        row: dict[str, Any] = {"question": entry["question"], "cells": f"{a} less {b}"}
        for name in names:
            found = entry["scores"][name] or {}
            row[name] = None if not found else Change(found["difference"])
            row[f"{name}_ci"] = found.get("interval")
            row[f"{name}_p"] = _p(found.get("p_holm"))
        tested = entry["mcnemar"]
        row["only"] = "" if tested is None else f"{tested['only_a']:,} : {tested['only_b']:,}"
        row["mcnemar"] = None if tested is None else _p(tested["grouped_p_value"])
        rows.append(row)
    columns = {"question": "what differs", "cells": "cells"}
    for name in names:
        columns |= {name: HEADINGS[name], f"{name}_p": "p (Holm)"}
    return rows, columns | {"only": "right alone, first : second", "mcnemar": "McNemar, grouped, p"}


def sweep_table(entry: Document) -> Table:
    """Return a row per edit of a run's masks: IoU, masks left as they are, scores, and their changes."""
    names = shown_scores(entry)
    stored: dict[str, Any] = {"edit": "stored masks", "mean": 1.0, "unchanged": 1.0} | entry["stored"]
    stored |= dict.fromkeys([f"{name}_change" for name in names[:2]], "")
    rows: list[Row] = [stored]
    for edit in entry["edits"]:
        row: dict[str, Any] = {"edit": f"{edit['kind']} {edit['level']:g}", "unchanged": edit["unchanged"]}
        row |= edit["iou"] | edit["scores"]
        for name in names[:2]:
            change = edit["change"][name]
            row[f"{name}_change"] = None if change is None else Change(change)
            row[f"{name}_change_ci"] = edit["change"][f"{name}_ci"]
        rows.append(row)
    columns = {"edit": "edit", "mean": "mean IoU", "unchanged": "masks left as they are"}
    columns |= {name: HEADINGS[name] for name in names}
    return rows, columns | {f"{name}_change": f"change of {HEADINGS[name]}" for name in names[:2]}


def slopes_table(entries: list[Document]) -> Table:
    """Return a row per run and kind of edit: points of each score lost per 0.1 IoU, and the line's largest miss."""
    rows: list[Row] = []
    scores = list(dict.fromkeys(score for entry in entries for score in entry["slopes"]))
    for entry in entries:
        families = dict.fromkeys(family for found in entry["slopes"].values() for family in found)
        for family in families:
            row: dict[str, Any] = {"trained": entry["trained"], "family": family}
            for score in scores:
                found = entry["slopes"].get(score, {}).get(family) or {}
                row |= {score: found.get("points"), f"{score}_ci": found.get("points_ci")}
                row[f"{score}_miss"] = found.get("miss")
            rows.append(row)
    columns = {"trained": "trained on", "family": "edits"}
    for score in scores:
        columns |= {score: f"points of {HEADINGS[score]} lost per 0.1 IoU", f"{score}_miss": "largest miss of the line"}
    return rows, columns


def _p(value: float | None) -> PValue | None:
    return None if value is None else PValue(value)
