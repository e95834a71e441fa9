"""Finished runs of the grid, with everything that the tables need of them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.evaluation.statistics import ConditionScores, score_conditions
from experiments.paper.evaluated import evaluation_folder, read_evaluation
from experiments.paper.grid import PlannedRun
from experiments.paper.jobs import run_folder
from experiments.paper.published import IDENTITY, Published
from experiments.runs import RunRecord, read_runs
from utils.arrays import read_arrays
from utils.errors import DataError
from utils.metrics import predicted_classes
from utils.run_directory import LOGITS_FILE, METRICS_FILE, RunDirectory

# The unchanged pairs as they were scored after training; a suite's identity can differ in its letterbox.
TRAINED = "after training"

Predictions = NDArray[np.int64]


@dataclass(frozen=True)
class Finished:
    """A finished run of the grid under one seed.

    Attributes:
        plan: what the grid says of it.
        seed: of training.
        record: its folder.
        label: int N, class index of each test pair.
        group: int N.
        foods: for each food that the paper counts, its class index here, None where the data lacks it.
        lacking: classes that a twin would leave out and that the data does not have.
        ambiguous: names of the classes that the data declares ambiguous.
        predicted: int N, after training.
        scored: scores by condition, ``after training`` first; the ambiguous group is the paper's two foods.
        evaluation: the run's entry in ``results.json``; None where it was not evaluated.
    """

    plan: PlannedRun
    seed: int
    record: RunRecord
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    foods: dict[str, int | None]
    lacking: frozenset[str]
    ambiguous: tuple[str, ...]
    predicted: Predictions
    scored: dict[str, ConditionScores]
    evaluation: dict[str, Any] | None

    @property
    def fingerprint(self) -> str:
        """Hash of the test pairs."""
        return str(self.record.metrics["fingerprint"]["test"])


def load_finished(
    planned: Sequence[PlannedRun],
    seeds: Sequence[int],
    folder: Path,
    published: Published,
    items: list[str],
    resamples: int,
) -> dict[tuple[str, int], Finished]:
    """Read all runs that are finished, by key and seed, and score their predictions.

    Raises:
        DataError: a run is damaged, or two runs that a table sets side by side were scored on different pairs.
    """
    places = [(run, seed, run_folder(folder, run.key, seed)) for run in planned for seed in seeds]
    places = [(run, seed, path) for run, seed, path in places if RunDirectory(path).finished]
    if not places:
        return {}
    records = read_runs([path for _, _, path in places])
    found = {}
    for (run, seed, _), record in zip(places, records, strict=True):
        conditions = published.conditions_shown(items, run.base) if run.exclude is None else set()
        found[run.key, seed] = _load(run, seed, record, published, conditions, resamples)
    _refuse_different_pairs(list(found.values()))
    return found


def _load(
    run: PlannedRun, seed: int, record: RunRecord, published: Published, conditions: set[str], resamples: int
) -> Finished:
    arrays = read_arrays(record.path / LOGITS_FILE, ("test_label", "test_group", "test", "ambiguous"))
    label, group, logits, ambiguous = arrays.values()
    foods: dict[str, int | None] = {}
    for food in published.data["class_counts"]:
        name = published.find_class(food, record.classes)
        foods[food] = None if name is None else record.classes.index(name)
    predictions = {TRAINED: predicted_classes(logits)[None]}
    entry = None
    if conditions:
        entry, perturbed = _perturbed(run, record, label, conditions)
        predictions |= perturbed
    present = [index for index in foods.values() if index is not None]
    scored = score_conditions(
        label,
        {name: _one_hot(stack, len(record.classes)) for name, stack in predictions.items()},
        group,
        present if len(present) == len(foods) else [],
        resamples=resamples,
    )
    left_out = published.data["excluded_classes"]
    return Finished(
        plan=run,
        seed=seed,
        record=record,
        label=label.astype(np.int64),
        group=group,
        foods=foods,
        lacking=frozenset(name for name in left_out if published.find_class(name, record.classes) is None),
        ambiguous=tuple(record.classes[index] for index in ambiguous),
        predicted=predictions[TRAINED][0],
        scored=scored,
        evaluation=entry,
    )


def _perturbed(
    run: PlannedRun, record: RunRecord, label: NDArray[Any], conditions: set[str]
) -> tuple[dict[str, Any] | None, dict[str, Predictions]]:
    """Return the evaluation of a run and the predictions of the conditions that tables show; none where stale."""
    results = read_evaluation(record.path, run.suite)
    if results is None:
        return None, {}
    if results["fingerprint"] != record.metrics["fingerprint"]["test"]:
        raise DataError(
            f"{record.path} was evaluated on other pairs than it was tested on after training; repeat the command "
            f"without --report_only and with the data of the run"
        )
    name, entry = next(iter(results["runs"].items()))
    folder = evaluation_folder(record.path, run.suite) / name
    wanted = [condition for condition in entry["conditions"] if condition in conditions | {IDENTITY}]
    return entry, {
        condition: _read_predictions(folder / condition / "predictions.csv", record, label) for condition in wanted
    }


def _read_predictions(path: Path, record: RunRecord, label: NDArray[Any]) -> Predictions:
    """Return the predicted classes S×N of a file of S seeds; refuse it where its truths are not the run's."""
    position = {name: number for number, name in enumerate(record.classes)}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["seed"], position[row["truth"]], position[row["prediction"]]) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise DataError(f"{path} is missing; delete {path.parent.parent.parent} and repeat the command") from None
    except KeyError as error:
        raise DataError(f"{path} is damaged: it knows no {error}; delete it and repeat the command") from None
    seeds = list(dict.fromkeys(seed for seed, _, _ in rows))
    truth = np.array([[t for one, t, _ in rows if one == seed] for seed in seeds])
    if truth.shape != (len(seeds), len(label)) or not (truth == label).all():
        raise DataError(f"{path} holds other pairs than {record.path / METRICS_FILE}; delete it and repeat the command")
    return np.array([[p for one, _, p in rows if one == seed] for seed in seeds], dtype=np.int64)


def _one_hot(predicted: Predictions, classes: int) -> NDArray[np.float32]:
    """Return S×N×C with a 1 at each predicted class, from which every score but top-5 follows."""
    return np.eye(classes, dtype=np.float32)[predicted]


def _refuse_different_pairs(found: Sequence[Finished]) -> None:
    """Raise a ``DataError`` where two runs without (or with the same) class left out saw different test pairs."""
    first: dict[str | None, Finished] = {}
    for one in found:
        reference = first.setdefault(one.plan.exclude, one)
        if one.fingerprint != reference.fingerprint or one.record.classes != reference.record.classes:
            raise DataError(
                f"{reference.record.path} and {one.record.path} were tested on different pairs ({len(reference.label)} "
                f"of {len(reference.record.classes)} classes, {len(one.label)} of {len(one.record.classes)}), so no "
                f"table can hold both; train one of them again on the data of the other"
            )
