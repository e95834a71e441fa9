"""A study for readers: text for the console, a Markdown file, a page with the plots."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.pretraining.study.options import CURVES_PLOT, FRACTIONS_PLOT
from experiments.pretraining.study.plots import save_fractions, save_pretrainings
from experiments.pretraining.study.tables import longer_table, pretraining_table, scores_table, seeds_table
from experiments.regions.options import REPORT_FILE, TABLE_FILE
from experiments.regions.page import few_groups, reachable_note, seeds_note
from experiments.report import HEADINGS, Section, text_table, write_markdown, write_page

TITLE = "Does pre-training help?"
SCORES = ("top1", "macro_f1")
_FRACTIONS = "Scores of RveRNet by part of the labels: mean over seeds and 95 % interval, strokes for single runs"
_CURVES = "The pre-trainings by epoch"


def write_pages(document: Mapping[str, Any], folder: Path) -> None:
    """Draw the plots and write ``table.md`` and ``report.html``."""
    save_fractions(document, folder / FRACTIONS_PLOT)
    save_pretrainings(document, folder / CURVES_PLOT)
    first, *others = study_sections(document)
    sections = [replace(first, images=[(_FRACTIONS, folder / FRACTIONS_PLOT)]), *others]
    curves = [(_CURVES, folder / CURVES_PLOT)]
    sections.append(Section("Pre-training", *pretraining_table(document), [_pretraining_note(document)], curves))
    sections.append(Section("How it was done", notes=how_notes(document)))
    if len(document["seeds"]) > 1:
        sections.append(Section("Single measurements", *seeds_table(document), folded=True))
    write_markdown(folder / TABLE_FILE, TITLE, sections)
    write_page(folder / REPORT_FILE, TITLE, sections)


def study_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the tables: fine-tuned, trained longer, frozen; one for each score."""
    sections = []
    for score in SCORES:
        notes = _finetuned_notes(document) if score == SCORES[0] else []
        table = scores_table(document, score, "finetuned")
        sections.append(Section(f"Fine-tuned with few labels and many: {HEADINGS[score]}", *table, notes))
    for score in SCORES:
        rows, columns = longer_table(document, score)
        if rows:
            notes = [_longer_note(document)] if score == SCORES[0] else []
            heading = f"Against a random start with the seconds of pre-training: {HEADINGS[score]}"
            sections.append(Section(heading, rows, columns, notes))
    for score in SCORES:
        rows, columns = scores_table(document, score, "frozen")
        if rows:
            notes = _frozen_notes(document) if score == SCORES[0] else []
            sections.append(Section(f"Frozen backbone, all labels: {HEADINGS[score]}", rows, columns, notes))
    return sections


def _finetuned_notes(document: Mapping[str, Any]) -> list[str]:
    pretraining, several = document["pretraining"], len(document["seeds"]) > 1
    notes = [
        f"{document['n_train']:,} training pairs with labels and {document['n_pairs']:,} test pairs, the latter of "
        f"{document['n_photos']:,} photos in {document['n_groups']:,} groups; {pretraining['n_photos']:,} photos "
        f"without labels. {seeds_note(document)}.",
        "Equal budgets: every start has the same number of optimiser steps, the same recipe, the same pairs and the "
        "same order of them. Few labels are seen more often, since the steps stay. The seconds of pre-training are on "
        "top of this budget and not in it"
        + ("; the next tables give them to the random start too." if document["equal_compute"] else "."),
        (
            "Differences over seeds are paired (same seed, same pairs) with Student's t; "
            if several
            else "With one seed nothing can be said of other trainings; "
        )
        + f"those over test photos hold the trainings fixed: a paired bootstrap over groups ({document['resamples']:,} "
        f"resamples). p-values are adjusted by Holm over all rows of a score, frozen ones included.",
        *few_groups(document),
    ]
    if document["best_reachable_top1"] < 1 and "photo" in document["frozen"]["views"]:
        notes.append(reachable_note(document))
    return notes


def _longer_note(document: Mapping[str, Any]) -> str:
    minutes = [run["seconds"] / 60 for run in document["pretraining"]["runs"]]
    return (
        f"The random start was trained for as many more steps as fit into the seconds of its seed's pre-training "
        f"({min(minutes):.1f} to {max(minutes):.1f} minutes), by the clock of the machine, rounded up to whole passes. "
        f"Pre-training serves every part of the labels and every later task, and is charged here to each alone."
    )


def _frozen_notes(document: Mapping[str, Any]) -> list[str]:
    frozen, recalibrated = document["frozen"], document["recalibration_pairs"]
    notes = [
        f"The backbone stays as it is; its pooled features are brought to zero mean and unit deviation over the "
        f"training pairs. Linear probe: logistic regression, C = {frozen['regularisation']:g}. Nearest neighbours: "
        f"{frozen['neighbours']} by cosine, nearer ones count more. All of it was fixed beforehand and is the same for "
        f"both starts; the random one is what pre-training started from."
    ]
    if recalibrated:
        notes.append(
            f"BatchNorm statistics of both were averaged afresh over {min(recalibrated, document['n_train']):,} "
            f"training pairs of the view."
        )
    slow = [entry["name"] for entry in document["entries"] if entry.get("converged") is False]
    if slow:
        notes.append(f"Not converged, so no fair comparison: {', '.join(slow)}.")
    return notes


def _pretraining_note(document: Mapping[str, Any]) -> str:
    part = document["pretraining"]
    return (
        f"{part['n_photos']:,} photos of {part['photos']} without labels, {part['epochs']} epochs, batches of "
        f"{part['batch_size']}, views of {part['image_size']} px; the rest as in `{part['recipe']}`. A spread near 0 "
        f"would mean that all embeddings are alike."
    )


def how_notes(document: Mapping[str, Any]) -> list[str]:
    """Return how the parts were trained."""
    budget, part, machine = document["budget"], document["pretraining"], document["environment"]
    size = budget["image_size"] or "its own number of"
    return [
        f"Backbone `{part['backbone']}` everywhere, in both modules of RveRNet with the same pre-trained weights. "
        f"Pre-training sees views of {part['image_size']} px, fine-tuning and frozen backbones pictures of {size} px: "
        f"a convolutional network takes both, but what it learned at one scale it has to use at another.",
        f"Fine-tuning: batches of {budget['batch_size']}, or all pairs where there are fewer, {budget['optimizer']}, "
        f"the rest as in `{budget['recipe']}`; the last step is scored.",
        "A part of the labels takes the same part of each class, one pair at the least, drawn by the seed and the same "
        "for every start; a smaller part lies within a larger one. It goes by photos in one order for all classes, so "
        "that pairs of a photo come together where the numbers let them.",
        *(f"{note[0].upper()}{note[1:]}." for note in document["notes"]),
        f"On {machine['device']}: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads.",
    ]


def console_text(document: Mapping[str, Any]) -> str:
    """Return the tables for a terminal."""
    return "\n\n".join(
        f"{section.heading}\n{text_table(section.rows, section.columns)}" for section in study_sections(document)
    )
