"""What the models of an evaluation measure of the unchanged pairs beside their logits: computed, and shown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator

from datasets.index import PairIndex
from experiments.evaluation.plan import Plan
from experiments.evaluation.tables import Document, series_of_several
from experiments.kinds import Model
from experiments.measures import Measures, measures_notes, measures_over_runs, measures_table
from experiments.report import Row, Section
from experiments.robustness.run import suite_loader
from experiments.runs import RunRecord
from utils.batch import Batch
from utils.measures import compute_measures

_HEADING = "Parts of the model, unchanged pairs"


def measures_of_run(
    plan: Plan, record: RunRecord, model: Model, index: PairIndex, accelerator: Accelerator
) -> Measures:
    """Return what a run's model measures of the unchanged pairs, by name; every process takes part.

    Nothing where the model has no measures. They count over all outputs of the model, those of classes that the
    evaluation leaves out included.
    """
    if not model.has_measures:
        return {}
    options = plan.options
    loader = suite_loader(
        record,
        model,
        index,
        plan.suite.letterbox,
        accelerator,
        batch_size=options.batch_size,
        workers=options.data.workers,
    )
    batches = _with_labels_of(loader, record.columns(index))
    return compute_measures(model, batches, model.prepare, accelerator, n_pairs=len(index))


def _with_labels_of(batches: Iterable[Batch], columns: Sequence[int]) -> Iterator[Batch]:
    """Yield batches whose labels are the model's outputs instead of the classes of the index."""
    outputs = torch.tensor(columns)
    for batch in batches:
        yield replace(batch, label=outputs[batch.label])


def measures_note(record: RunRecord, index: PairIndex, measures: Measures) -> list[str]:
    """Return a note where measures and scores do not count the same classes."""
    if not measures or len(index.classes) == len(record.classes):
        return []
    return [f"the measures of {record.name} count all {len(record.classes)} classes of the model, its scores do not"]


def measures_sections(document: Document) -> list[Section]:
    """Return a table of measures for each kind of model that has any; a series of several runs is one column."""
    sections = []
    for names, models in _kinds(document).items():
        told = measures_notes(names)
        if len(models) == 1:
            ((model, summary),) = models.items()
            sections.append(Section(f"{model}: {_HEADING.lower()}", *measures_table(summary), told))
            continue
        rows: list[Row] = [_row(name, models) for name in names]
        columns = {"measure": "measure"} | {model: model for model in models}
        sections.append(Section(_HEADING, rows, columns, told))
    return sections


def _row(name: str, models: Mapping[str, Mapping[str, Any]]) -> Row:
    row: dict[str, Any] = {"measure": name}
    for model, summary in models.items():
        row[model] = summary[name]["value"]
        if summary[name]["low"] is not None:
            row[f"{model}_ci"] = [summary[name]["low"], summary[name]["high"]]
    return row


def _kinds(document: Document) -> dict[tuple[str, ...], dict[str, Mapping[str, Any]]]:
    """Return, by the names of the measures, the models that have those: runs alone, and means over series."""
    runs, several = document["runs"], series_of_several(document)
    kinds: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for name, run in runs.items():
        series = run["series"]
        summaries = [runs[one].get("measures", {}) for one in several.get(series, [name])]
        if not summaries[0]:
            continue
        names = tuple(summaries[0])
        if series in several:
            kinds.setdefault(names, {})[f"{series}, mean of {len(summaries)}"] = measures_over_runs(summaries)
        else:
            kinds.setdefault(names, {})[name] = summaries[0]
    return kinds
