"""The report: every published table beside ours, in Markdown, HTML, CSV and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.paper.cells import NOT_RUN, Runs
from experiments.paper.formats import csv_of, html_of, latex_of, markdown_of, notes_of, unfinished
from experiments.paper.grid import PlannedRun, Recipe
from experiments.paper.notes import data_differences, load_train_counts, other_backbones, row_notes, weights
from experiments.paper.pictures import save_epoch_curves
from experiments.paper.published import PaperFigure, Published
from experiments.paper.tables import NOTHING, ReportTable, build_table
from experiments.report import Block, Section, write_markdown, write_page
from utils.files import write_text
from utils.json_file import read_json_object

REPORT = "report"
BASELINES_FILE = "baselines.json"

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ReportInput:
    """What a report is made from.

    Attributes:
        folder: of the recipe; ``report/`` is written in it.
        published: what the paper prints.
        items: tables and figures to show.
        recipe: of the runs.
        planned: the runs that they need.
        seeds: training seeds asked for.
        runs: those that are finished.
        resamples: behind each interval.
    """

    folder: Path
    published: Published
    items: list[str]
    recipe: Recipe
    planned: Sequence[PlannedRun]
    seeds: Sequence[int]
    runs: Runs
    resamples: int


def write_paper_report(given: ReportInput) -> tuple[Path, int]:
    """Write ``report/`` and return the page and the number of cells that wait for a run.

    Every file is replaced whole; tables that were not asked for are left as an earlier call wrote them.
    """
    folder = given.folder / REPORT
    folder.mkdir(parents=True, exist_ok=True)
    counts = load_train_counts(given.folder)
    tables = [
        build_table(given.published.tables[item], given.published, given.runs, given.seeds, counts, given.resamples)
        for item in given.items
        if item in given.published.tables
    ]
    baselines = _read_baselines(given.folder, given.runs)
    sections = [Section(notes=_introduction(given, tables, counts))]
    for table in tables:
        sections += _table_sections(table, baselines)
        write_text(folder / f"table{table.name}.csv", csv_of(table))
        write_text(folder / f"table{table.name}.tex", latex_of(table))
    for item in given.items:
        if item in given.published.figures:
            sections.append(_figure_section(given.published.figures[item], given, counts, folder))
    sections.append(_runs_section(given, counts))
    title = f"The paper's tables, repeated: recipe {given.recipe.name}"
    write_markdown(folder / "report.md", title, sections)
    write_page(folder / "report.html", title, sections)
    return folder / "report.html", unfinished(tables)


def _introduction(
    given: ReportInput, tables: Sequence[ReportTable], counts: Mapping[str, Mapping[str, int]]
) -> list[str]:
    impossible = _impossible(given)
    finished = {key for key, _ in given.runs}
    same = [not data_differences(one, given.published, counts) for one in given.runs.values()]
    seeds = ", ".join(map(str, given.seeds))
    roots = " and ".join(dict.fromkeys(one.record.config.data.root for one in given.runs.values())) or "none yet"
    devices = " and ".join(dict.fromkeys(one.record.config.train.device for one in given.runs.values())) or "none yet"
    files = " and ".join(f"`{file}`" for file in dict.fromkeys(given.recipe.configs.values()))
    lines = [
        f"Published values: {given.published.source}. Ours: recipe `{given.recipe.name}` ({files}), training seeds "
        f"{seeds}, "
        f"data {roots}, device {devices}; {len(finished)} of {len(given.planned) - len(impossible)} runs are finished.",
        "Each row has three lines: what the paper prints, ours with its 95 % interval in brackets, and ours less the "
        "paper's. Top-1 is in percent and its changes in points; F1 is a fraction of 1; Table 8 counts pairs.",
        f"Intervals come from a bootstrap over groups of test pairs ({given.resamples:,} resamples); of several "
        f"training "
        f"seeds the mean stands with Student's t-interval over them. The published values have no interval, so the "
        f"third "
        f"line cannot be tested; rows of ours are compared with each other below each table.",
        f"The best value of a column is bold and the worst underlined, on either side for itself "
        f"({given.published.marks}); "
        f"on our side among the rows that are there.",
    ]
    if same:
        verdict = "yes" if all(same) else "no" if not any(same) else "of some runs only, see the list of runs below"
        lines.append(f"Classes and pairs as published: {verdict}.")
    waiting = unfinished(tables)
    if waiting:
        lines.append(f"{waiting} cells wait for runs; the same command goes on with them.")
    if impossible:
        lines.append(f"Not possible with this data, which lacks the class to leave out: {', '.join(impossible)}.")
    return [*lines, *given.published.remarks]


def _impossible(given: ReportInput) -> list[str]:
    lacking = {name for one in given.runs.values() for name in one.lacking}
    return [run.key for run in given.planned if run.exclude in lacking]


def _table_sections(table: ReportTable, baselines: Rows | str) -> list[Section]:
    main = Section(
        heading=f"Table {table.name}. {table.title}",
        block=Block(html_of(table), markdown_of(table)),
        notes=notes_of(table),
    )
    if not table.baselines:
        return [main]
    if isinstance(baselines, str):
        return [main, Section(notes=[baselines])]
    columns = {"model": "baseline without a network", "macro_f1": "F1, all classes"}
    columns["ambiguous_f1"] = "F1, ambiguous classes (as the data declare them)"
    notes = [
        "The same test pairs. A claim that context helps must beat the label-only row, which knows the names of the "
        "other "
        "foods in the photo and sees no pixel."
    ]
    notes += [f"{row['model']}: {row['note']}." for row in baselines if row.get("note")]
    return [main, Section(rows=baselines, columns=columns, notes=notes)]


def _read_baselines(folder: Path, runs: Runs) -> Rows | str:
    """Return the rows of the baselines of the runs' data, or why there are none."""
    path = folder / BASELINES_FILE
    if not path.is_file():
        return "Baselines without a network: not run."
    stored = read_json_object(path, "table of baselines")
    used = {one.record.metrics["fingerprint"]["test"] for one in runs.values() if one.plan.exclude is None}
    if used and stored["fingerprint"]["test"] not in used:
        return (
            "Baselines without a network: those here belong to other pairs; repeat the command without --report_only."
        )
    return list(stored["rows"])


def _figure_section(
    figure: PaperFigure, given: ReportInput, counts: Mapping[str, Mapping[str, int]], folder: Path
) -> Section:
    heading = f"{figure.name.replace('figure', 'Figure ')}. {figure.title}"
    keys = {key for key, _ in given.published.runs_of([figure.name])}
    behind = [one for (key, _), one in given.runs.items() if key in keys]
    stand_ins = list(dict.fromkeys(pair for one in behind for pair in other_backbones(one)))
    notes = [remark.text for remark in figure.remarks]
    notes += dict.fromkeys(note for one in behind for note in row_notes(one, given.published, counts, stand_ins))
    if figure.kind == "overlap":
        rows = overlap_rows(figure, given)
        write_text(folder / f"{figure.name}.csv", _overlap_csv(rows))
        columns = {"label": "pairs", "published": "published", "ours": "ours", "of": "of our test pairs"}
        if len(given.seeds) > 1:
            notes.append("Ours: mean over training seeds.")
        return Section(heading, rows, columns, notes)
    path = folder / f"{figure.name}.png"
    labelled = {label: [one for one in behind if one.plan.key == run] for label, run in figure.curves}
    missing = [label for label, runs in labelled.items() if not runs]
    drawn = save_epoch_curves({label: runs for label, runs in labelled.items() if runs}, path)
    if missing:
        notes.append(f"Not run: {'; '.join(missing)}.")
    if not drawn:
        notes.append("No finished run was scored after each of its epochs.")
    return Section(heading, notes=notes, images=[(figure.title, path)] if drawn else [])


def overlap_rows(figure: PaperFigure, given: ReportInput) -> Rows:
    """Return one row per count: pairs that all of some runs get right and all of others wrong, mean over seeds."""
    rows = []
    for row in figure.rows:
        counts, pairs = [], 0
        for seed in given.seeds:
            right = [given.runs.get((run, seed)) for run in row.right]
            wrong = [given.runs.get((run, seed)) for run in row.wrong]
            chosen = [one for one in (*right, *wrong) if one is not None]
            if len(chosen) < len(right) + len(wrong):
                continue
            hits = [one.predicted == one.label for one in chosen]
            expected = [True] * len(right) + [False] * len(wrong)
            matches = [hit == value for hit, value in zip(hits, expected, strict=True)]
            counts.append(int(np.logical_and.reduce(matches).sum()))
            pairs = len(chosen[0].label)
        published = NOTHING if row.value is None else f"{row.value:,} of {given.published.data['test_pairs']:,}"
        mean = float(np.mean(counts)) if counts else None
        shown = NOT_RUN if mean is None else f"{mean:,.0f}" if len(counts) == 1 else f"{mean:,.1f}"
        rows.append(
            {"label": row.label, "published": published, "ours": shown, "of": f"{pairs:,}" if pairs else NOTHING}
        )
    return rows


def _overlap_csv(rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["label", "published", "ours", "of"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _runs_section(given: ReportInput, counts: Mapping[str, Mapping[str, int]]) -> Section:
    rows: Rows = []
    for (key, seed), one in given.runs.items():
        test = one.record.metrics["test"]
        rows.append(
            {
                "run": key,
                "seed": str(seed),
                "weights": "; ".join(f"{view}: {source}" for view, source in weights(one).items()),
                "backbones as in the paper": not other_backbones(one),
                "data as published": not data_differences(one, given.published, counts),
                "epochs": int(one.record.metrics["epochs"]),
                "top1": test["top1"],
                "top1_ci": test["top1_ci"],
                "macro_f1": test["macro_f1"],
                "macro_f1_ci": test["macro_f1_ci"],
                "ambiguous_f1": test["ambiguous_f1"],
                "ambiguous_f1_ci": test["ambiguous_f1_ci"],
            }
        )
    known = {*(key for key, _ in given.runs), *_impossible(given)}
    missing = [run.key for run in given.planned if run.key not in known]
    notes = ["All scores here are fractions of 1; the ambiguous classes are those that the data declare."]
    if missing:
        notes.append(f"Not run: {', '.join(missing)}.")
    return Section("Our runs", rows, None, notes)
