"""The rows of every table of an evaluation, from the content of ``results.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import HEADINGS, Change, PValue, Row
from experiments.robustness.suite import IDENTITY

SHOWN = ("top1", "macro_f1", "ambiguous_f1")

Document = Mapping[str, Any]
Table = tuple[list[Row], dict[str, str]]


def shown_scores(document: Document) -> list[str]:
    """Return the scores that tables hold: ambiguous-F1 only where a class is ambiguous."""
    return [name for name in SHOWN if name != "ambiguous_f1" or document["ambiguous"]]


def series_of_several(document: Document) -> dict[str, list[str]]:
    """Return the names of the runs of each series that has at least two."""
    members: dict[str, list[str]] = {}
    for name, run in document["runs"].items():
        members.setdefault(run["series"], []).append(name)
    return {series: runs for series, runs in members.items() if len(runs) > 1}


def models_table(document: Document) -> Table:
    """Return the unchanged pairs' scores: a row for each series (mean over runs), each run, and each baseline."""
    several = series_of_several(document)
    rows: list[Row] = []
    done: set[str] = set()
    for name, run in document["runs"].items():
        series = run["series"]
        if series in several and series not in done:
            done.add(series)
            scores = document["series"][series][IDENTITY]["scores"]
            rows.append({"model": f"{series}, mean of {len(several[series])} runs", "views": _views(run)} | scores)
        indent = "  " if series in several else ""
        rows.append({"model": indent + name, "views": _views(run)} | run["conditions"][IDENTITY]["scores"])
    rows += [{"views": "none"} | row for row in document["baselines"] if "top1" in row]
    columns = {"model": "model", "views": "views"} | {key: HEADINGS[key] for key in shown_scores(document)}
    return rows, columns


def condition_table(document: Document, conditions: Mapping[str, Any], *, tested: bool) -> Table:
    """Return a row per condition of a run or a series: scores, changes against identity, pixels, content kept.

    Args:
        document: content of ``results.json``.
        conditions: entries by condition.
        tested: show the p-values, which a series has not.
    """
    names = shown_scores(document)
    rows: list[Row] = []
    for condition, entry in conditions.items():
        row: dict[str, Any] = {"condition": condition} | {
            key: entry["scores"][key] for name in names for key in (name, f"{name}_ci")
        }
        change = entry.get("change", {})
        for name in names:
            row[f"{name}_change"] = _change(change.get(name))
            row[f"{name}_change_ci"] = change.get(f"{name}_ci")
            row[f"{name}_p"] = _p(change.get(f"{name}_p_holm"))
        row["pixels"] = _lengths(entry.get("pixels", {}))
        row["content"] = _kept(entry.get("content_kept", {}))
        if condition == IDENTITY:  # it is no change
            row |= {key: "" for name in names for key in (f"{name}_change", f"{name}_p")}
        rows.append(row)
    columns = {"condition": "condition"} | {name: HEADINGS[name] for name in names}
    for name in names:
        columns[f"{name}_change"] = f"change of {HEADINGS[name]}"
        if tested:
            columns[f"{name}_p"] = "p (Holm)"
    for key, heading in (("pixels", "pixels used"), ("content", "content kept")):
        if any(row[key] for row in rows):
            columns[key] = heading
    return rows, columns


def curves(document: Document) -> dict[str, Mapping[str, Any]]:
    """Return entries by condition for each series of several runs (their mean), and for each run that is in none."""
    several = series_of_several(document)
    found: dict[str, Mapping[str, Any]] = {}
    for name, run in document["runs"].items():
        series = run["series"]
        if series in several:
            found[f"{series}, mean of {len(several[series])}"] = document["series"][series]
        else:
            found[name] = run["conditions"]
    return found


def side_by_side_table(document: Document, score: str) -> Table:
    """Return a row per condition and a column per series or single run: one score under every condition."""
    models = curves(document)
    rows: list[Row] = []
    for condition in document["conditions"]:
        row: dict[str, Any] = {"condition": condition}
        for model, entries in models.items():
            scores = entries[condition]["scores"] if condition in entries else {}
            row |= {model: scores.get(score), f"{model}_ci": scores.get(f"{score}_ci")}
        rows.append(row)
    return rows, {"condition": "condition"} | {model: model for model in models}


def conditions_table(document: Document) -> Table:
    """Return what is done to each view under each condition, and for which runs a condition does not apply."""
    views = list(dict.fromkeys(view for run in document["runs"].values() for view in run["views"]))
    rows: list[dict[str, Any]] = []
    for condition in condition_names(document):
        entries = [run["conditions"][condition] for run in document["runs"].values() if condition in run["conditions"]]
        reasons = dict.fromkeys(
            f"{run['series']}: {run['not_applicable'][condition]}"
            for run in document["runs"].values()
            if condition in run["not_applicable"]
        )
        inputs: dict[str, str] = {}
        for entry in entries:
            inputs |= entry["inputs"]
        row: dict[str, Any] = {"condition": condition} | {view: inputs.get(view, "unchanged") for view in views}
        row["seeds"] = ", ".join(map(str, entries[0]["seeds"])) if entries else ""
        row["not applicable"] = "; ".join(reasons)
        rows.append(row)
    keys = ["condition", *views, "seeds"] + ["not applicable"] * any(row["not applicable"] for row in rows)
    return list(rows), {key: key for key in keys}


def condition_names(document: Document) -> list[str]:
    """Return the conditions of the suite in its order, those included that apply to some runs only."""
    names: dict[str, None] = {}
    for run in document["runs"].values():
        names |= dict.fromkeys([*run["conditions"], *run["not_applicable"]])
    order = {name: place for place, name in enumerate(document["conditions"])}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def comparison_table(document: Document) -> Table:
    """Return a row per compared pair of runs: differences, p-values after Holm, McNemar's test."""
    names = shown_scores(document)
    rows: list[Row] = []
    for entry in document["comparisons"]:
        tested = entry["mcnemar"]
        row: dict[str, Any] = {"runs": f"{entry['a']} less {entry['b']}"}
        for name in names:
            row |= _difference(entry["scores"][name], name, "interval")
        row["only"] = f"{tested['only_a']:,} : {tested['only_b']:,}"
        row["mcnemar"] = _p(tested["grouped_p_holm"])
        rows.append(row)
    columns = {"runs": "runs"} | _difference_columns(names)
    return rows, columns | {"only": "right alone, first : second", "mcnemar": "McNemar, grouped, p (Holm)"}


def series_comparison_table(document: Document) -> Table:
    """Return a row per compared pair of series: mean differences over training seeds with both kinds of interval."""
    names = shown_scores(document)
    rows: list[Row] = []
    for entry in document["series_comparisons"]:
        row: dict[str, Any] = {
            "series": f"{entry['a']} less {entry['b']}",
            "seeds": ", ".join(map(str, entry["seeds"])),
        }
        for name in names:
            scores = entry["scores"][name]
            row |= _difference(scores, name, "interval")
            row |= {f"{name}_test": _change(scores and scores["difference"])}
            row |= {f"{name}_test_ci": scores and scores["test_interval"]}
        rows.append(row)
    columns = {"series": "series", "seeds": "training seeds"}
    for name in names:
        columns |= {name: f"{HEADINGS[name]}, over seeds", f"{name}_p": "p (Holm)"}
        columns |= {f"{name}_test": f"{HEADINGS[name]}, over test groups"}
    return rows, columns


def analysis_table(document: Document) -> Table:
    """Return calibration, risk and super-categories of every run's unchanged pairs."""
    keys = {
        "ece": "calibration error",
        "ece_calibrated": "after temperature scaling",
        "temperature": "temperature",
        "aurc": "risk over coverage",
        "coverage_at_5_percent_risk": "coverage at 5 % risk",
        "supercategory_top1": "super-category top-1",
    }
    rows: list[Row] = [{"run": name} | run["analysis"] for name, run in document["runs"].items()]
    return rows, {"run": "run"} | {key: text for key, text in keys.items() if any(row.get(key) for row in rows)}


def _difference(scores: Mapping[str, Any] | None, name: str, interval: str) -> dict[str, Any]:
    found = scores or {}
    return {
        name: _change(found.get("difference")),
        f"{name}_ci": found.get(interval),
        f"{name}_p": _p(found.get("p_holm")),
    }


def _difference_columns(names: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        columns |= {name: HEADINGS[name], f"{name}_p": "p (Holm)"}
    return columns


def _change(value: float | None) -> Change | None:
    return None if value is None else Change(value)


def _p(value: float | None) -> PValue | None:
    return None if value is None else PValue(value)


def _views(run: Mapping[str, Any]) -> str:
    return " + ".join(run["views"])


def _lengths(pixels: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in pixels.items())


def _kept(content: Mapping[str, float]) -> str:
    parts = {view: f"{100 * part:.0f} %" for view, part in content.items()}
    if len(set(parts.values())) == 1:
        return next(iter(parts.values()))
    return ", ".join(f"{view} {part}" for view, part in parts.items())
