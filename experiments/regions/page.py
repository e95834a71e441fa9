"""A comparison for readers: text for the console, a Markdown file, a page with the plot."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.evaluation.notes import FEW_GROUPS
from experiments.measures import measures_notes
from experiments.regions import tables
from experiments.regions.options import PLOT_FILE, REPORT_FILE, TABLE_FILE
from experiments.regions.plots import save_comparison
from experiments.report import Row, Section, text_table, write_markdown, write_page
from utils.metrics import SCORE_NAMES

TITLE = "Does knowing the mask beat learning where to look?"
ORACLE_NOTE = (
    "The oracle is taken for each pair and knows the pair's class: where a photo is asked about several times it may "
    "look elsewhere each time, and so pass what can be reached without the mask."
)
CAPTION = "Scores of each model: mean and 95 % interval, small strokes for single runs"


def write_pages(document: Mapping[str, Any], folder: Path) -> None:
    """Draw the plot and write ``table.md`` and ``report.html``."""
    save_comparison(document["questions"], folder / PLOT_FILE)
    sections = with_plot(comparison_sections(document), folder)
    sections.append(Section("How it was done", notes=how_notes(document)))
    write_markdown(folder / TABLE_FILE, TITLE, sections)
    write_page(folder / REPORT_FILE, TITLE, sections)


def with_plot(sections: Sequence[Section], folder: Path) -> list[Section]:
    """Return the sections with the plot, which lies in ``folder``, under the first of them."""
    first, *others = sections
    return [replace(first, images=[(CAPTION, folder / PLOT_FILE)]), *others]


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
    for part in document["questions"]:
        sections += _part_sections(part)
    return sections


def question_notes(document: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Return what a reader of a table of models needs to know."""
    notes = [
        f"{part['asks']} {part['n_train']:,} training and {part['n_pairs']:,} test pairs, the latter of "
        f"{part['n_photos']:,} photos in {part['n_groups']:,} groups. {seeds_note(document)}.",
        reachable_note(part),
        *few_groups(part),
    ]
    return [*notes, *(f"{note[0].upper()}{note[1:]}." for note in part["notes"])]


def seeds_note(document: Mapping[str, Any]) -> str:
    """Say what the numbers before brackets are, and what stands in the brackets."""
    seeds = document["seeds"]
    if len(seeds) == 1:
        return (
            f"Training seed {seeds[0]}; brackets hold 95 % intervals from a bootstrap over groups of test pairs "
            f"({document['resamples']:,} resamples)"
        )
    return (
        f"Means over the training seeds {', '.join(map(str, seeds))}; brackets hold 95 % t-intervals over them, which "
        f"say how another training would come out"
    )


def few_groups(part: Mapping[str, Any]) -> list[str]:
    """Warn where groups are few."""
    count = part["n_groups"]
    if count >= FEW_GROUPS:
        return []
    return [f"{count} groups are few: intervals over test photos are rough and tend to be too narrow."]


def reachable_note(part: Mapping[str, Any]) -> str:
    """Say what a model that sees the photo alone can reach at most."""
    best = part["best_reachable_top1"]
    if best == 1:
        return "Each photo is asked about once, so a model that sees the photo alone could be right everywhere."
    return (
        f"A photo of several foods is asked about several times, and without the mask the question is the same each "
        f"time: whatever sees the photo alone gives its pairs one answer, of which a part of {best:.3f} can be right. "
        f"A gap to models that are given the mask is first of all this."
    )


def difference_notes(document: Mapping[str, Any], part: Mapping[str, Any] | None = None) -> list[str]:
    """Return how differences are to be read; ``part`` holds them where the document itself does not."""
    scores = [entry["scores"] for entry in (part or document)["differences"]]
    tested = [sum(bool(one[name]) and one[name]["p_value"] is not None for one in scores) for name in SCORE_NAMES]
    adjusted = f"; p-values of a score are adjusted by Holm for the {max(tested)} rows that have one"
    notes = [
        f"Over test photos: the means over seeds on the same pairs, 95 % intervals from a bootstrap over groups of "
        f"test pairs ({document['resamples']:,} resamples) that draws the same groups for both"
        f"{adjusted if any(tested) else ''}."
    ]
    if len(document["seeds"]) > 1:
        notes.append("Over seeds: the same mean differences with t-intervals over the trainings, seed by seed.")
    return notes


def how_notes(document: Mapping[str, Any]) -> list[str]:
    """Return how the models were trained and timed."""
    size = document["budget"]["image_size"] or "its own number of"
    larger = f"{size} / {document['crop_fraction']:.3g} pixels"
    return [
        budget_note(document),
        f"Every classifier has an input of {size} pixels. The roi, its surroundings and the whole photo are made that "
        f"small as they are loaded; salience cuts its parts from a loaded picture of {larger} "
        f"and shows one of them, or the whole, at that size, so that a part carries detail that the whole has lost.",
        *document["notes"],
        *timing_notes(document),
    ]


def budget_note(document: Mapping[str, Any]) -> str:
    """Say what all models were trained with."""
    budget = document["budget"]
    epochs = " and ".join(dict.fromkeys(str(part["epochs"]) for part in document.get("questions", [budget])))
    weights = "with its published weights" if budget["pretrained"] else "from random weights"
    if budget["weights"]:
        weights = f"with the weights of `{budget['weights']}`"
    return (
        f"All models: backbone `{budget['backbone']}` {weights}, {epochs} epochs, batches of "
        f"{budget['batch_size']}, {budget['optimizer']}, the rest as in `{budget['recipe']}`; data of "
        f"{document['root']}."
    )


def timing_notes(document: Mapping[str, Any]) -> list[str]:
    """Say how models were timed, if they were."""
    machine = document["environment"]
    models = document["questions"][0]["models"] if "questions" in document else document["models"]
    cutting = [entry["key"].startswith(("salience", "grey")) for entry in models]
    inside = (
        "Cutting and reducing its parts is inside the times of salience, and so is, in scoring, the random control's "
        "draw from the picture's pixels"
    )
    others = "; the others get pictures that the loader has reduced, which is not in theirs"
    if not document["timing_rounds"]:
        return []
    return [
        f"Times: medians of {document['timing_rounds']} rounds in which all models took turns, on random pixels in "
        f"memory (reading files not included), {document['timed_pairs']} pairs at a time, on {machine['device']}: "
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads. Training is a whole "
        f"optimiser step.",
        *([f"{inside}{'' if all(cutting) else others}."] if any(cutting) else []),
    ]


def _part_sections(part: Mapping[str, Any]) -> list[Section]:
    """Return a folded table for each model that measures its parts."""
    sections = []
    for entry in part["models"]:
        if entry["measures"]:
            rows: list[Row] = [{"measure": name, **found} for name, found in entry["measures"].items()]
            columns = {"measure": "measure", "value": "mean"}
            notes = measures_notes(entry["measures"])
            if "oracle/top1" in entry["measures"] and part["best_reachable_top1"] < 1:
                notes.append(ORACLE_NOTE)
            heading = f"{part['title']}: {entry['name']}, measures of its parts"
            sections.append(Section(heading, rows, columns, notes, folded=True))
    return sections


def console_text(document: Mapping[str, Any]) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(
        f"{section.heading}\n{text_table(section.rows, section.columns)}"
        for section in comparison_sections(document)
        if not section.folded
    )
