"""The rows of the grey-size study's tables and CSV files, from the content of ``results.json``."""

from collections.abc import Mapping
from typing import Any

from experiments.regions.tables import COST_HEADINGS, Table, cost_cells, shown_scores
from experiments.report import HEADINGS, Row

WITHIN = {"oracle/top1": "best part, top-1", "random/top1": "any part, top-1", "whole/top1": "whole, top-1"}


def study_table(document: Mapping[str, Any]) -> Table:
    """Return a row for each size of the grey copy and each control: scores, what its own parts would give, costs."""
    names = shown_scores(document)
    rows: list[Row] = []
    for entry in document["models"]:
        row: dict[str, Any] = {"model": entry["name"], "grey": "" if entry["grey"] is None else entry["grey"]}
        row |= {key: entry["scores"][key] for name in names for key in (name, f"{name}_ci")}
        for name in WITHIN:
            found = entry["measures"].get(name, {"value": "", "value_ci": None})
            row |= {name: found["value"], f"{name}_ci": found["value_ci"]}
        selector = entry["selector"]
        row |= {"selector_parameters": selector["parameters"], "selector_mflops": selector["operations"] / 1e6}
        rows.append(row | cost_cells(entry["cost"]) | {"n_pairs": document["n_pairs"]})
    columns = {"model": "model"} | {name: HEADINGS[name] for name in names} | WITHIN
    columns |= {"selector_parameters": "selector's parameters", "selector_mflops": "selector's MFLOPs"}
    columns |= {key: text for key, text in COST_HEADINGS.items() if key != "parameters"}
    if not document["timing_rounds"]:
        columns = {key: text for key, text in columns.items() if not key.endswith("_ms")}
    return rows, columns | {"n_pairs": "test pairs"}


def shares_table(document: Mapping[str, Any]) -> Table:
    """Return a row for each model that chooses: the part of the test pairs of which it looks at each view."""
    rows: list[Row] = []
    views: dict[str, str] = {}
    for entry in document["models"]:
        shares = {name: found for name, found in entry["measures"].items() if name.endswith("/share")}
        if not shares:
            continue
        row: dict[str, Any] = {"model": entry["name"]}
        for name, found in shares.items():
            number = name.partition("/")[0].removeprefix("view_")
            views[name] = "whole" if number == "0" else f"part {number}"
            row |= {name: found["value"], f"{name}_ci": found["value_ci"]}
        rows.append(row)
    return rows, {"model": "looks at"} | views
