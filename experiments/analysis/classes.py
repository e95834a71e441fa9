"""Each class with its support and interval, and which classes are taken for which."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.confusion import confusion_counts, most_confused
from experiments.resampling import GroupTally, draw_groups
from utils.metrics import Array, per_class_table, predicted_classes


def class_rows(
    truth: Array, logits: Array, groups: Array, names: Sequence[str], *, resamples: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Return ``utils.metrics.per_class_table`` with names, spread over groups and intervals.

    Adds ``class``, ``groups`` (groups that hold a pair of the class) and ``f1_ci``, the 95 % percentile interval of
    a bootstrap over groups. A resample without the class in truth and predictions does not count for it; a class in
    fewer than two groups has none. For a handful of groups the interval is too narrow.

    Args:
        truth: int N, class index.
        logits: N×C.
        groups: N, the group of each pair.
        names: C class names.
        resamples: of the bootstrap.
        seed: of the draw.
    """
    classes = len(names)
    intervals = _f1_intervals(truth, logits, groups, resamples, seed)
    rows: list[dict[str, Any]] = []
    for row in per_class_table(truth, predicted_classes(logits), classes):
        number = row["class_index"]
        spread = int(np.unique(groups[truth == number]).size)
        rows.append(
            {
                "class_index": number,
                "class": names[number],
                **{key: value for key, value in row.items() if key != "class_index"},
                "f1_ci": intervals[number] if spread > 1 else None,
                "groups": spread,
            }
        )
    return rows


def confusion_rows(
    truth: Array,
    logits: Array,
    groups: Array,
    names: Sequence[str],
    supercategories: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return every confusion that happened, most pairs first; ties go to the larger share of the true class.

    Keys: ``truth``, ``prediction``, ``pairs``, ``share_of_truth`` (of the true class's pairs), ``groups`` (over how
    many groups the pairs are spread: many pairs of one group are one finding) and, where ``supercategories`` is
    given, ``same_supercategory``.
    """
    predicted = predicted_classes(logits)
    matrix = confusion_counts(truth, predicted, len(names))
    support = matrix.sum(axis=1)
    cell = truth.astype(np.int64) * len(names) + predicted
    # One entry for each group in which a confusion happened.
    spread = np.bincount(np.unique(np.stack([cell, groups]), axis=1)[0], minlength=matrix.size)
    rows = []
    for true, taken, pairs in most_confused(matrix, matrix.size):
        row = {
            "truth": names[true],
            "prediction": names[taken],
            "pairs": pairs,
            "share_of_truth": pairs / int(support[true]),
            "groups": int(spread[true * len(names) + taken]),
        }
        if supercategories:
            row["same_supercategory"] = supercategories.get(names[true]) == supercategories.get(names[taken])
        rows.append(row)
    return rows


def _f1_intervals(truth: Array, logits: Array, groups: Array, resamples: int, seed: int) -> list[list[float] | None]:
    """Return the interval of each class's F1, None where no resample holds the class."""
    classes = logits.shape[1]
    counts = GroupTally.of(truth, logits, groups, ()).counts[3 : 3 + 3 * classes]
    samples = []
    for weights in draw_groups(counts.shape[1], counts.shape[0], resamples, seed):
        hits, predicted, truths = (counts @ weights).reshape(3, classes, -1)
        together = (predicted + truths).astype(np.float32)
        with np.errstate(invalid="ignore"):
            samples.append(2 * hits / together)
    values = np.concatenate(samples, axis=1)
    result: list[list[float] | None] = []
    for row in values:
        defined = row[~np.isnan(row)]
        result.append([float(v) for v in np.quantile(defined, [0.025, 0.975])] if defined.size else None)
    return result
