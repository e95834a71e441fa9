"""A comparison for readers: text for the console, a Markdown file, a page with the plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.regions import tables
from experiments.regions.options import PLOT_FILE, REPORT_FILE, TABLE_FILE
from experiments.regions.plots import save_comparison
from experiments.report import Section, text_table, write_markdown, write_page

TITLE = "Does knowing the mask beat learning where to look?"
_CAPTION = "Scores of each model: mean and 95 % interval, small dots for single runs"
_FEW_GROUPS = 50


def write_pages(document: Mapping[str, Any], folder: Path) -> None:
    """Draw the plot and write ``table.md`` and ``report.html``."""
    save_comparison(document["questions"], folder / PLOT_FILE)
    sections = [*comparison_sections(document), Section("How it was done", notes=how_notes(document))]
    sections.insert(1, Section(images=[(_CAPTION, folder / PLOT_FILE)]))
    write_markdown(folder / TABLE_FILE, TITLE, sections)
    write_page(folder / REPORT_FILE, TITLE, sections)


def comparison_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return for each question the table of models and that of differences, then all single runs, folded."""
    sections = []
    for part in document["questions"]:
        sections.append(Section(part["title"], *tables.models_table(part), question_notes(document, part)))
        sections.append(
            Section(f"{part['title']}: differences", *tables.differences_table(part), difference_notes(document, part))
        )
    if len(document["seeds"]) > 1:
        sections += [
            Section(f"{part['title']}: single runs", *tables.seeds_table(part), folded=True)
            for part in document["questions"]
        ]
    return sections


def question_notes(document: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return what a reader of a table of models needs to know."""
    several = len(document["seeds"]) > 1
    brackets = (
        f"Means over the training seeds {', '.join(map(str, document['seeds']))}; brackets hold 95 % t-intervals over "
        f"them, which say how another training would come out"
        if several
        else f"Training seed {document['seeds'][0]}; brackets hold 95 % intervals from a bootstrap over test photos "
        f"({document['resamples']:,} resamples)"
    )
    notes = [
        f"{part['asks']} {part['n_train']:,} training and {part['n_pairs']:,} test pairs, the latter of "
        f"{part['n_photos']:,} photos in {part['n_groups']:,} groups. {brackets}.",
        reachable_note(part),
    ]
    if part["n_groups"] < _FEW_GROUPS:
        notes.append(f"{part['n_groups']} groups are few: intervals over test photos are rough and tend to be narrow.")
    return [*notes, *(f"{note[0].upper()}{note[1:]}." for note in part["notes"])]


def reachable_note(part: Mapping[str, Any]) -> str:
    """Say what a model that sees the photo alone can reach at most."""
    best = part["best_reachable_top1"]
    if best == 1:
        return "Each photo is asked about once, so a model that sees the photo alone could be right everywhere."
    return (
        f"A photo of several foods is asked about several times, and without the mask the question is the same each "
        f"time: whatever sees the photo alone gives its pairs one answer, of which {best:.3f} can be right at most. "
        f"What separates such a model from those that are given the mask is first of all this."
    )


def difference_notes(document: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return how differences are to be read."""
    notes = [
        f"Over test photos: the means over seeds on the same pairs, 95 % intervals from a bootstrap over groups of "
        f"test pairs ({document['resamples']:,} resamples) that draws the same groups for both; p-values of a score are "
        f"are adjusted by Holm for the {len(part['differences'])} rows."
    ]
    if len(document["seeds"]) > 1:
        notes.append("Over seeds: the same mean differences with t-intervals over the trainings, seed by seed.")
    return notes


def how_notes(document: Mapping[str, Any]) -> list[str]:
    """Return how the models were trained and timed."""
    budget, machine = document["budget"], document["environment"]
    notes = [
        f"All models: backbone `{budget['backbone']}`"
        f"{' with its published weights' if budget['pretrained'] else ' from random weights'}, {budget['epochs']} "
        f"epochs, batches of {budget['batch_size']}, {budget['optimizer']}, the recipe `{budget['recipe']}`; pairs of "
        f"{document['root']}.",
        f"Every classifier has an input of {budget['image_size']} pixels. The roi, its surroundings and the whole "
        f"photo are made that small; salience cuts its parts from the stored picture and shows one of them, or the "
        f"whole, at that size, so that a part carries detail that the whole has lost.",
        *document["notes"],
    ]
    if document["timing_rounds"]:
        notes.append(
            f"Times: medians of {document['timing_rounds']} rounds in which all models took turns, on random pixels in "
            f"memory (reading files not included), {document['timed_pairs']} pairs at a time, on "
            f"{machine['device']}: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads. "
            f"Training is a whole optimiser step."
        )
    return notes


def console_text(document: Mapping[str, Any]) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(
        f"{section.heading}\n{text_table(section.rows, section.columns)}"
        for section in comparison_sections(document)
        if not section.folded
    )
