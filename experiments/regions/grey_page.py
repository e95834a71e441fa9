"""The grey-size study for readers: text for the console, a Markdown file, a page with the plot."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.regions.grey_options import GREY_PLOT
from experiments.regions.grey_plots import save_grey_size
from experiments.regions.grey_tables import shares_table, study_table
from experiments.regions.options import REPORT_FILE, TABLE_FILE
from experiments.regions.page import (
    ORACLE_NOTE,
    budget_note,
    difference_notes,
    few_groups,
    reachable_note,
    seeds_note,
    timing_notes,
)
from experiments.regions.tables import differences_table
from experiments.report import Section, text_table, write_markdown, write_page

TITLE = "How small may the grey copy be?"
_CAPTION = "Scores and time against the side of the grey copies; lines: 95 % intervals"


def write_pages(document: Mapping[str, Any], folder: Path) -> None:
    """Draw the plot and write ``table.md`` and ``report.html``."""
    save_grey_size(document, folder / GREY_PLOT)
    first, *others = study_sections(document)
    how = Section("How it was done", notes=[budget_note(document), _inputs_note(document), *timing_notes(document)])
    sections = [replace(first, images=[(_CAPTION, folder / GREY_PLOT)]), *others, how]
    write_markdown(folder / TABLE_FILE, TITLE, sections)
    write_page(folder / REPORT_FILE, TITLE, sections)


def study_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the tables: the sizes beside the controls, which views are looked at, differences to the controls."""
    notes = [
        f"{document['n_train']:,} training and {document['n_pairs']:,} test pairs, the latter of "
        f"{document['n_photos']:,} photos in {document['n_groups']:,} groups. {seeds_note(document)}.",
        "The selector sees a grey copy of each view, the classifier the one view that is chosen. `best part`, `any "
        "part` and `whole` are of the same trained classifier: right where any view of the pair is, what a random view "
        "may expect, and what the whole photo gives. The two last rows were trained that way.",
        *few_groups(document),
        *(f"{note[0].upper()}{note[1:]}." for note in document["notes"]),
    ]
    if document["best_reachable_top1"] < 1:
        notes += [reachable_note(document), ORACLE_NOTE]
    sections = [Section("Sizes of the grey copy", *study_table(document), notes)]
    rows, columns = shares_table(document)
    if rows:
        sections.append(
            Section(
                "Where it looks",
                rows,
                columns,
                [
                    "Parts of the test pairs; 1 to 5 are top left, top right, "
                    "bottom left, bottom right and centre where there are five parts."
                ],
            )
        )
    sections.append(Section("Differences to the controls", *differences_table(document), difference_notes(document)))
    return sections


def _inputs_note(document: Mapping[str, Any]) -> str:
    return (
        f"The classifier's input has {document['budget']['image_size'] or 'its own number of'} pixels for every row. "
        f"The selector's parameters and operations are what a model has more than that of the whole photo."
    )


def console_text(document: Mapping[str, Any]) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(
        f"{section.heading}\n{text_table(section.rows, section.columns)}" for section in study_sections(document)
    )
