"""The rows of a study's tables and of its CSV file, from the content of ``results.json``."""

from collections.abc import Mapping
from typing import Any

from experiments.pretraining.study.recipes import LONGER, PRETRAINED, RANDOM, START_NAMES
from experiments.regions.tables import Table, shown_scores
from experiments.report import HEADINGS, Change, PValue, Row
from utils.metrics import SCORE_NAMES

Document = Mapping[str, Any]


def scores_table(document: Document, score: str, kind: str) -> Table:
    """Return a row for each measurement of a kind: both starts and their difference, in one score."""
    several = len(document["seeds"]) > 1
    rows: list[Row] = []
    for entry in document["entries"]:
        if entry["kind"] != kind:
            continue
        row: dict[str, Any] = {"measured": entry["name"], "n_train": entry["n_train"]}
        if kind == "finetuned":
            row["steps"] = entry["starts"][RANDOM]["steps"][0]
        for start in (RANDOM, PRETRAINED):
            cells = entry["starts"][start]["scores"]
            row |= {start: cells[score], f"{start}_ci": cells[f"{score}_ci"]}
        rows.append(row | _difference_cells(entry["difference"][score]))
    columns = {"measured": "measured", "n_train": "training pairs"}
    columns |= {"steps": "steps"} if kind == "finetuned" else {}
    columns |= {start: START_NAMES[start] for start in (RANDOM, PRETRAINED)}
    return rows, columns | _difference_columns(several=several)


def longer_table(document: Document, score: str) -> Table:
    """Return a row for each part of the labels with which the random start was trained longer, if any."""
    rows: list[Row] = []
    for entry in document["entries"]:
        if LONGER not in entry["starts"]:
            continue
        row: dict[str, Any] = {"measured": entry["name"]}
        for start in (PRETRAINED, LONGER):
            cells, steps = entry["starts"][start]["scores"], entry["starts"][start]["steps"]
            row |= {start: cells[score], f"{start}_ci": cells[f"{score}_ci"]}
            row[f"{start}_steps"] = _span(steps)
        rows.append(row | _difference_cells(entry["difference_longer"][score]))
    columns = {"measured": "measured", f"{PRETRAINED}_steps": "steps", PRETRAINED: START_NAMES[PRETRAINED]}
    columns |= {f"{LONGER}_steps": "steps, longer", LONGER: START_NAMES[LONGER]}
    return rows, columns | _difference_columns(several=len(document["seeds"]) > 1)


def _span(values: list[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def _difference_cells(found: Mapping[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return {}
    change = Change(found["difference"])
    cells: dict[str, Any] = {"seeds": change, "seeds_ci": found["over_seeds"]}
    cells |= {"photos": change, "photos_ci": found["interval"]}
    for key, source in (("p_seeds", "p_seeds_holm"), ("p_photos", "p_holm")):
        cells[key] = None if found[source] is None else PValue(found[source])
    return cells


def _difference_columns(*, several: bool) -> dict[str, str]:
    over_seeds = {"seeds": "pre-trained less the other, over seeds", "p_seeds": "p (Holm)"}
    over_photos = {"photos": "over test photos", "p_photos": "p (Holm), photos"}
    return (over_seeds if several else {}) | over_photos


def pretraining_table(document: Document) -> Table:
    """Return a row for each pre-training."""
    rows: list[Row] = [
        {"seed": str(run["seed"]), **{key: run[key] for key in ("steps", "loss", "spread")}}
        | {"minutes": run["seconds"] / 60}
        for run in document["pretraining"]["runs"]
    ]
    columns = {"seed": "seed", "steps": "steps", "loss": "last loss", "spread": "spread", "minutes": "minutes"}
    return rows, columns


def seeds_table(document: Document) -> Table:
    """Return a row for each single measurement: its scores by themselves."""
    names = shown_scores(document)
    rows: list[Row] = [
        {"measured": entry["name"], "start": START_NAMES[start], "seed": str(seed)}
        | {name: one[name] for name in names}
        for entry in document["entries"]
        for start, cells in entry["starts"].items()
        for seed, one in zip(document["seeds"], cells["scores"]["by_seed"], strict=True)
    ]
    columns = {"measured": "measured", "start": "start", "seed": "seed"}
    return rows, columns | {name: HEADINGS[name] for name in names}


def csv_rows(document: Document) -> list[Row]:
    """Return a row for each measurement, start, seed and score that is defined."""
    rows: list[Row] = []
    for entry in document["entries"]:
        for start, cells in entry["starts"].items():
            steps = cells.get("steps", [None] * len(document["seeds"]))
            for place, seed in enumerate(document["seeds"]):
                one = cells["scores"]["by_seed"][place]
                common = {key: entry[key] for key in ("method", "view", "fraction")} | {"start": start}
                common |= {"train_pairs": entry["n_train"], "steps": steps[place], "seed": seed}
                rows += [common | {"score": name, "value": one[name]} for name in SCORE_NAMES if one[name] is not None]
    return rows
