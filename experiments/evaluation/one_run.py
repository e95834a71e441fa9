"""One run under the conditions of a suite: scores, files, and the run's entry in ``results.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.analysis.write import write_analysis
from experiments.evaluation.comparisons import Contender
from experiments.evaluation.measured import measures_note, measures_of_run
from experiments.evaluation.plan import Plan
from experiments.evaluation.statistics import ConditionScores, changes, score_conditions
from experiments.measures import TABLE_FILE, Measures, measures_csv, measures_with_intervals
from experiments.outcome import seeded_predictions_csv
from experiments.robustness.run import SuiteOutcome, run_suite
from experiments.robustness.suite import IDENTITY, Condition
from experiments.runs import RunRecord
from utils.arrays import read_arrays
from utils.batch import ViewSpec
from utils.checkpoints import WEIGHTS_FILE
from utils.files import write_text
from utils.metrics import SCORE_NAMES, predicted_classes
from utils.provenance import describe_files
from utils.run_directory import CONFIG_FILE, LOGITS_FILE

_SAME_SCORE = 0.003  # in top-1: other precision may tip a few pairs


@dataclass(frozen=True)
class RunResult:
    """The entry of a run in ``results.json``, and what comparisons need of it."""

    entry: dict[str, Any]
    contender: Contender


@dataclass(frozen=True)
class RunOutcome:
    """What was computed of a run: its logits under every condition, and its measures of the unchanged pairs."""

    suite: SuiteOutcome
    measures: Measures


def compute_run(plan: Plan, record: RunRecord, index: PairIndex, accelerator: Accelerator) -> RunOutcome:
    """Compute a run's logits under every condition that applies to it; every process takes part.

    Args:
        plan: what is evaluated.
        record: the run.
        index: the pairs as the run sees them.
        accelerator: where the model computes.
    """
    model = record.load_model(accelerator.device)
    suite = run_suite(
        record,
        model,
        index,
        plan.suite,
        accelerator,
        batch_size=plan.options.batch_size,
        workers=plan.options.data.workers,
    )
    return RunOutcome(suite, measures_of_run(plan, record, model, index, accelerator))


def write_run(
    plan: Plan, record: RunRecord, index: PairIndex, specs: Mapping[str, ViewSpec], computed: RunOutcome, folder: Path
) -> RunResult:
    """Score a run under every condition, and write predictions and the analysis of unchanged pairs.

    Args:
        plan: what is evaluated.
        record: the run.
        index: the pairs as the run sees them.
        specs: what the run's model asks of each view.
        computed: what ``compute_run`` gave.
        folder: ``<folder>/<condition>/predictions.csv`` and ``<folder>/analysis/`` are written, and ``measures.csv``
            where the model has measures.
    """
    outcome, measures = computed.suite, computed.measures
    sides = {view: spec.size for view, spec in specs.items()}
    scored = score_conditions(
        index.label, outcome.logits, index.group, index.classes.ambiguous_indices, resamples=plan.resamples
    )
    for condition, logits in outcome.logits.items():
        seeds = plan.suite.seeds[: len(logits)]
        (folder / condition).mkdir(parents=True)
        write_text(folder / condition / "predictions.csv", seeded_predictions_csv(index, logits, seeds))
    unchanged = outcome.logits[IDENTITY][0]
    (folder / "analysis").mkdir()
    validation = validation_logits(record, index)
    analysis = write_analysis(folder / "analysis", index, unchanged, validation=validation, resamples=plan.resamples)
    entry = {
        "path": str(record.path),
        "computed_from": describe_files(record.path, (WEIGHTS_FILE, CONFIG_FILE)),
        "model": record.kind.name,
        "series": record.series,
        "seed": record.config.train.seed,
        "views": list(sides),
        "side": sides,
        "passes": {"distinct": outcome.distinct_passes, "naive": outcome.naive_passes},
        "conditions": _conditions(plan.suite.seeds, outcome, scored),
        "not_applicable": outcome.not_applicable,
        "notes": [
            *outcome.notes,
            *_other_score_than_recorded(plan, record, index, scored[IDENTITY]),
            *measures_note(record, index, measures),
        ],
        "analysis": analysis,
        **_write_measures(measures, index, plan.resamples, folder / TABLE_FILE),
    }
    correct = predicted_classes(unchanged) == index.label
    contender = Contender(record.name, record.series, record.config.train.seed, scored[IDENTITY], correct)
    return RunResult(entry, contender)


def _write_measures(measures: Measures, index: PairIndex, resamples: int, path: Path) -> dict[str, Any]:
    """Write the means of a model's measures and return them as a part of its entry; nothing where it has none."""
    if not measures:
        return {}
    measured = measures_with_intervals(measures, index.group, resamples=resamples)
    write_text(path, measures_csv(measured))
    return {"measures": measured}


def _conditions(
    seeds: tuple[int, ...], outcome: SuiteOutcome, scored: Mapping[str, ConditionScores]
) -> dict[str, dict[str, Any]]:
    changed = changes(scored)
    entries = {}
    for condition in outcome.conditions:
        name = condition.name
        one = scored[name]
        entries[name] = {
            **describe_condition(condition),
            "pixels": dict(outcome.pixels.get(name, {})),
            "content_kept": dict(outcome.content_kept.get(name, {})),
            "seeds": list(seeds[: len(one.by_seed)]),
            "scores": one.cells(),
            "scores_by_seed": [{key: values[key] for key in SCORE_NAMES} for values in one.by_seed],
        }
        if name in changed:
            entries[name]["change"] = changed[name]
    return entries


def _other_score_than_recorded(plan: Plan, record: RunRecord, index: PairIndex, scored: ConditionScores) -> list[str]:
    """Return a note where the unchanged pairs score otherwise than after training, on the same pairs."""
    before, after = record.metrics["test"].get("top1"), scored.mean("top1")
    same_pairs = record.metrics.get("fingerprint", {}).get("test") == index.fingerprint()
    if plan.suite.letterbox != "run" or not same_pairs or before is None or after is None:
        return []
    if abs(after - before) <= _SAME_SCORE:
        return []
    return [
        f"top-1 of the unchanged pairs is {after:.4f} here and was {before:.4f} after training; precision, device or "
        f"library versions differ"
    ]


def describe_condition(condition: Condition) -> dict[str, Any]:
    """Return what a condition does, in words and as the place of its point in a plot of score against severity."""
    return {
        "inputs": {view: str(variant) for view, variant in condition.inputs.items()},
        "perturbations": sorted({variant.perturbation for variant in condition.inputs.values()}),
        "family": condition.family,
        "parameter": condition.parameter,
        "value": condition.value,
    }


def validation_logits(record: RunRecord, index: PairIndex) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return labels M and logits M×C of the run's validation pairs in the classes of the index; None without any.

    Pairs of classes that the evaluation leaves out are left out here too.
    """
    path = record.path / LOGITS_FILE
    if not path.is_file():
        return None
    arrays = read_arrays(path, ("validation", "validation_label"), optional=True)
    if len(arrays) < 2:
        return None
    logits, label = arrays["validation"], arrays["validation_label"]
    columns = record.columns(index)
    place = np.full(len(record.classes), -1)
    place[columns] = np.arange(len(columns))
    kept = place[label] >= 0
    return place[label[kept]], logits[kept][:, columns]
