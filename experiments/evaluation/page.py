"""An evaluation for readers: text for the console, a Markdown file, a page with pictures."""

from pathlib import Path

from experiments.evaluation import notes, tables
from experiments.evaluation.measured import measures_sections
from experiments.evaluation.plots import save_changes, save_severity
from experiments.evaluation.tables import Document
from experiments.report import HEADINGS, Section, text_table, write_markdown, write_page

TABLE_FILE, REPORT_FILE, VIEWS_FILE = "table.md", "report.html", "views.png"
_RUNS_ON_CONSOLE = 3
_NAMED = 4  # models that the title names
_ANALYSED_RUNS = 3  # whose analysis pictures the page holds; those of the others lie in their folders
_INTERVALS = "95 % intervals, of a run over test groups, of a mean over training seeds"
_ANALYSIS_PICTURES = {
    "confusion.png": "which class is taken for which",
    "per_class.png": "F1 of each class",
    "calibration.png": "calibration",
    "risk_coverage.png": "risk against coverage",
    "confidently_wrong.png": "most confidently wrong pairs",
    "hardest.png": "hardest pairs",
}


def title(document: Document) -> str:
    """Return the heading of the page."""
    several, runs = tables.series_of_several(document), document["runs"]
    who = list(dict.fromkeys(run["series"] if run["series"] in several else name for name, run in runs.items()))
    shown = ", ".join(who) if len(who) <= _NAMED else f"{len(who)} models"
    return f"Suite {document['suite']}: {shown}" if len(document["conditions"]) > 1 else f"Unchanged pairs: {shown}"


def write_pages(document: Document, folder: Path) -> None:
    """Draw the plots and write ``table.md`` and ``report.html``."""
    pictures = _pictures(document, folder)
    sections = (
        [*table_sections(document), Section("Pictures", images=pictures)] if pictures else table_sections(document)
    )
    sections += _analysis_sections(document, folder)
    write_markdown(folder / TABLE_FILE, title(document), sections)
    write_page(folder / REPORT_FILE, title(document), sections)


def table_sections(document: Document) -> list[Section]:
    """Return the tables with their notes: unchanged pairs, comparisons, conditions, series, runs."""
    runs, several = document["runs"], tables.series_of_several(document)
    sections = [Section("Unchanged pairs", *tables.models_table(document), notes.reading_notes(document))]
    sections += measures_sections(document)
    if document["series_comparisons"]:
        rows, columns = tables.series_comparison_table(document)
        sections.append(Section("Series compared", rows, columns, notes.series_comparison_notes(document)))
    if document["comparisons"]:
        rows, columns = tables.comparison_table(document)
        sections.append(
            Section("Runs compared on the same pairs", rows, columns, notes.comparison_notes(document), folded=True)
        )
    if len(document["conditions"]) > 1:
        sections.append(Section("What is done to the views", *tables.conditions_table(document)))
        if len(tables.curves(document)) > 1:
            for score in tables.shown_scores(document)[1:]:
                table = tables.side_by_side_table(document, score)
                sections.append(Section(f"{HEADINGS[score]} of every model under each condition", *table))
        for series, names in several.items():
            rows, columns = tables.condition_table(document, document["series"][series], tested=False)
            told = notes.series_notes(document, series)
            sections.append(Section(f"{series}: mean of {len(names)} runs", rows, columns, told))
        for name, run in runs.items():
            rows, columns = tables.condition_table(document, run["conditions"], tested=True)
            sections.append(Section(name, rows, columns, notes.run_notes(document, name), folded=bool(several)))
    return sections


def console_text(document: Document) -> str:
    """Return what fits a terminal: the models, what was compared, and the conditions of few runs or series."""
    parts = [text_table(*tables.models_table(document)), *notes.series_comparison_notes(document)]
    parts += [f"{one.heading}\n{text_table(one.rows, one.columns)}" for one in measures_sections(document)]
    if not document["series_comparisons"]:
        parts += notes.comparison_notes(document)
    if len(document["conditions"]) > 1:
        several = tables.series_of_several(document)
        for series, names in several.items():
            table = tables.condition_table(document, document["series"][series], tested=False)
            parts.append(f"{series}: mean of {len(names)} runs\n{text_table(*table)}")
        alone = {name: run for name, run in document["runs"].items() if run["series"] not in several}
        for name in list(alone)[:_RUNS_ON_CONSOLE]:
            table = tables.condition_table(document, alone[name]["conditions"], tested=True)
            parts += [f"{name}\n{text_table(*table)}", *notes.run_notes(document, name)]
    return "\n\n".join([*parts, *notes.reading_notes(document)])


def _pictures(document: Document, folder: Path) -> list[tuple[str, Path]]:
    pictures = []
    for score in tables.shown_scores(document)[1:]:
        path = folder / ("severity.png" if score == "macro_f1" else f"severity_{score}.png")
        if save_severity(document, score, path):
            caption = f"{HEADINGS[score]} against severity; bands: {_INTERVALS}"
            pictures.append((caption, path))
    if save_changes(document, folder / "conditions.png"):
        pictures.append((f"Change under each condition; lines: {_INTERVALS}", folder / "conditions.png"))
    if (folder / VIEWS_FILE).is_file():
        pictures.append(("What the model sees under each condition", folder / VIEWS_FILE))
    return pictures


def _analysis_sections(document: Document, folder: Path) -> list[Section]:
    rows, columns = tables.analysis_table(document)
    if len(columns) == 1:
        return []
    pages = [Section("How sure, how wrong: unchanged pairs", rows, columns)]
    first = {run["series"]: name for name, run in reversed(document["runs"].items())}
    for name in sorted(first.values(), key=list(document["runs"]).index)[:_ANALYSED_RUNS]:
        place = folder / name / "analysis"
        images = [(f"{name}: {text}", place / file) for file, text in _ANALYSIS_PICTURES.items()]
        images = [(caption, image) for caption, image in images if image.is_file()]
        pages.append(Section(f"{name}: pictures", images=images, folded=True))
    return pages
