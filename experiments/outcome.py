"""What a finished run leaves behind."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from datasets.index import PairIndex
from experiments.confusion import confusion_counts, save_confusion
from experiments.figures import save_curves, save_per_class
from experiments.kinds import Config, Kind
from experiments.measures import (
    PAIRS_FILE,
    TABLE_FILE,
    Measures,
    Summary,
    measures_csv,
    measures_with_intervals,
    save_measures,
)
from experiments.model_facts import save_view_shares
from experiments.progress import Progress
from experiments.setup import Setup
from experiments.statistics import scores_with_intervals
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.files import write_atomic, write_text
from utils.metrics import per_class_table, scores
from utils.provenance import describe_files
from utils.run_directory import LOGITS_FILE, METRICS_FILE, RunDirectory

PREDICTIONS_FILE = "predictions.csv"
PER_CLASS_FILE = "per_class.csv"
CONFUSION_FILE = "confusion.csv"
TOP = 5


def score(index: PairIndex, logits: np.ndarray, resamples: int | None) -> dict[str, Any]:
    """Score the logits N×C of a split; with intervals where ``resamples`` is given."""
    ambiguous = index.classes.ambiguous_indices
    if resamples is None:
        return dict(scores(index.label, logits, ambiguous))
    return dict(scores_with_intervals(index.label, logits, index.group, ambiguous, resamples=resamples, seed=0))


def write_outcome(
    kind: Kind,
    run: RunDirectory,
    config: Config,
    setup: Setup,
    progress: Progress,
    test_logits: np.ndarray,
    validation_logits: np.ndarray | None,
    measures: Measures,
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Write predictions, logits, tables, figures and, last of all, ``metrics.json``; return its content."""
    test, validation = setup.splits.test, setup.splits.validation
    test_scores = score(test, test_logits, config.eval.resamples)  # refuses what is not finite, before any file
    measured = measures_with_intervals(measures, test.group, resamples=config.eval.resamples)  # as that does
    save_weights(setup.scored_model.state_dict(), run.path / WEIGHTS_FILE)
    _write_pairs(run, setup, test_logits, validation_logits)
    _write_pictures(run, test, test_logits.argmax(axis=1), progress)
    run.write_json("timing.json", timing)
    files = [PREDICTIONS_FILE, LOGITS_FILE, WEIGHTS_FILE]
    if measured:
        files.append(_write_measures(run, measures, measured))
    selected = _selected(config, progress)
    metrics: dict[str, Any] = {
        "model": kind.name,
        "test": test_scores,
        "train": selected["train"] | {"n_pairs": len(setup.splits.train)},
        "selection": config.eval.selection,
        "selected_epoch": selected["epoch"],
        "selected_on": "validation macro_f1" if config.eval.selection == "best" else "nothing, it is the last epoch",
        "epochs": progress.epoch,
        "seed": config.train.seed,
        "parameters": setup.model.parameter_counts(),
        "classes": list(test.classes.names),
        "fingerprint": setup.splits.fingerprint,
        "data": setup.splits.summary,
        "pair_side": pair_side(test),
        "computed_from": {
            "step": selected["step"],
            "files": describe_files(run.path, files),
        },
    }
    if validation is not None and validation_logits is not None:
        metrics["val"] = score(validation, validation_logits, config.eval.resamples)
    if measured:
        metrics["measures"] = measured
    run.write_json(METRICS_FILE, metrics)
    return metrics


def _selected(config: Config, progress: Progress) -> dict[str, Any]:
    """Return the row of the epoch whose weights are scored."""
    epoch = progress.best_epoch if config.eval.selection == "best" else progress.epoch
    return next(row for row in progress.rows if row["epoch"] == epoch)


def _write_measures(run: RunDirectory, measures: Measures, means: Summary) -> str:
    """Write the measures of each pair and their means; return the name of the file that the means come from."""
    save_measures(measures, run.path / PAIRS_FILE)
    write_text(run.path / TABLE_FILE, measures_csv(means))
    return PAIRS_FILE


def _write_pairs(
    run: RunDirectory, setup: Setup, test_logits: np.ndarray, validation_logits: np.ndarray | None
) -> None:
    test, validation = setup.splits.test, setup.splits.validation
    write_text(run.path / PREDICTIONS_FILE, predictions_csv(test, test_logits))
    arrays = {"test": test_logits, "test_label": test.label, "test_group": test.group}
    arrays["ambiguous"] = np.array(test.classes.ambiguous_indices, dtype=np.int64)
    if validation is not None and validation_logits is not None:
        arrays |= {"validation": validation_logits, "validation_label": validation.label}
        arrays["validation_group"] = validation.group
    write_atomic(run.path / LOGITS_FILE, lambda path: np.savez_compressed(path, allow_pickle=False, **arrays))


def _write_pictures(run: RunDirectory, test: PairIndex, predicted: np.ndarray, progress: Progress) -> None:
    """Draw the epochs and the classes; the tables of the classes stand beside them."""
    names = test.classes.names
    save_per_class(per_class_table(test.label, predicted, len(names)), names, run.path / PER_CLASS_FILE)
    save_curves(progress.rows, run.path / "curves.png")
    save_view_shares(progress.rows, run.path / "view_shares.png")
    save_confusion(test.label, predicted, names, run.path / "confusion.png")
    write_text(run.path / CONFUSION_FILE, confusion_csv(test.label, predicted, names))


def pair_side(index: PairIndex) -> int:
    """Return the longer side in pixels that all pairs share; 0 where they differ, as those that keep their photo's."""
    sides = np.unique(index.size.max(axis=1))
    return int(sides[0]) if sides.size == 1 else 0


def predictions_csv(index: PairIndex, logits: np.ndarray) -> str:
    """Return one line per pair: key, truth, prediction, and the top five with their probabilities (logits N×C)."""
    return _csv(_prediction_header(logits), _prediction_rows(index, logits))


def seeded_predictions_csv(index: PairIndex, logits: np.ndarray, seeds: Sequence[int]) -> str:
    """Return the lines of ``predictions_csv`` for each of S seeds (logits S×N×C), the seed in a first column."""
    rows = ([seed, *row] for seed, one in zip(seeds, logits, strict=True) for row in _prediction_rows(index, one))
    return _csv(["seed", *_prediction_header(logits)], rows)


def _prediction_header(logits: np.ndarray) -> list[str]:
    ranks = range(1, min(TOP, logits.shape[-1]) + 1)
    best = [cell for rank in ranks for cell in (f"top{rank}", f"top{rank}_probability")]
    return ["split", "class", "stem", "group", "truth", "prediction", *best]


def _prediction_rows(index: PairIndex, logits: np.ndarray) -> Iterator[list[str]]:
    cells = prediction_cells(index.label, logits, index.classes.names)
    for row, one in enumerate(cells):
        yield [*index.key(row), index.group_names[index.group[row]], *one]


def prediction_cells(truth: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield for each of N pairs its class, its prediction, and the top five with their probabilities (logits N×C)."""
    probabilities = softmax(logits.astype(np.float64), axis=1)
    top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    for row, ranked in enumerate(top):
        best = [cell for k in ranked for cell in (names[k], f"{probabilities[row, k]:.6f}")]
        yield [names[truth[row]], names[ranked[0]], *best]


def confusion_csv(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> str:
    """Return the number of pairs by true class (line) and predicted class (column); all C classes have both."""
    counts = confusion_counts(truth, predicted, len(names)).tolist()
    return _csv(["truth", *names], ([name, *row] for name, row in zip(names, counts, strict=True)))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
