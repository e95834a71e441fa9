"""Scores of one set of predictions. Every key carries its averaging; every fraction is in 0..1."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_fscore_support

from utils.errors import RunError

SCORE_NAMES = ("top1", "top5", "macro_f1", "macro_f1_declared", "ambiguous_f1", "ambiguous_f1_subset")

Scores = dict[str, float | int | None]
Array = NDArray[Any]


class ClassRow(TypedDict):
    """One class of ``per_class_table``; a fraction without denominator is None."""

    class_index: int
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


def scores(truth: Array, logits: Array, ambiguous: Sequence[int] = ()) -> Scores:
    """Score N predictions over C declared classes.

    - ``top1``, ``top5``: part of the pairs whose class has the highest, or one of the five highest, values; ``top5``
      is None where C ≤ 5, as it would be 1 for any prediction.
    - ``macro_f1``: unweighted mean of the per-class F1 over the classes that occur in the truth or the predictions;
      their number is ``n_classes_averaged``.
    - ``macro_f1_declared``: the same over all C classes, an absent class counting 0.
    - ``ambiguous_f1``: macro-F1 over the ambiguous classes that occur in the truth or the predictions, computed on
      all pairs, so a pair of another class that is taken for an ambiguous one counts against it.
    - ``ambiguous_f1_subset``: the same computed on the pairs of ambiguous classes only.
    - ``n_pairs``, ``n_classes`` (declared).

    Args:
        truth: int N, class index.
        logits: N×C; logits or probabilities, only their order counts. The lower class index wins a tie.
        ambiguous: class indices of the ambiguous group.

    Returns:
        Plain floats, ints and None, ready for JSON. Undefined scores are None: all of them where N = 0, the
        ambiguous ones where no ambiguous class is declared or none occurs in the truth.

    Raises:
        RunError: if a value is NaN or +infinity; -infinity is allowed and means that a class is ruled out.
    """
    check_predictions(truth, logits)
    pairs, classes = logits.shape
    result: Scores = dict.fromkeys(SCORE_NAMES)
    result.update(n_pairs=pairs, n_classes=classes, n_classes_averaged=0)
    if pairs == 0:
        return result
    predicted = predicted_classes(logits)
    result["top1"] = float(np.mean(predicted == truth))
    if top5_defined(classes):
        result["top5"] = float(np.mean(in_top(truth, logits, 5)))
    result["macro_f1"] = _macro_f1(truth, predicted, None)
    result["macro_f1_declared"] = _macro_f1(truth, predicted, range(classes))
    result["n_classes_averaged"] = int(np.union1d(truth, predicted).size)
    members = np.isin(truth, ambiguous)
    if members.any():
        result["ambiguous_f1"] = _group_f1(truth, predicted, ambiguous)
        result["ambiguous_f1_subset"] = _group_f1(truth[members], predicted[members], ambiguous)
    return result


def predicted_classes(logits: Array) -> NDArray[np.int64]:
    """Return the class of the highest value of each row of ``logits`` (N×C); the lower index wins a tie."""
    return np.asarray(logits.argmax(axis=1), dtype=np.int64) if logits.size else np.zeros(len(logits), np.int64)


def in_top(truth: Array, logits: Array, k: int) -> NDArray[np.bool_]:
    """Say for each of N pairs whether its class is among the k highest values; the lower index wins a tie."""
    own = np.take_along_axis(logits, truth[:, None].astype(np.int64), axis=1)
    earlier = np.arange(logits.shape[1]) < truth[:, None]
    rank = np.count_nonzero((logits > own) | ((logits == own) & earlier), axis=1)
    return np.asarray(rank < k, dtype=np.bool_)


def top5_defined(classes: int) -> bool:
    """Say whether ``top5`` tells anything: with five classes or fewer it is 1 for any prediction."""
    return classes > 5


def per_class_table(truth: Array, predicted: Array, classes: int) -> list[ClassRow]:
    """Return support, predicted count, precision, recall and F1 of each of the declared classes.

    Precision is None for a class that is never predicted, recall for one without pairs, F1 for one with neither.

    Args:
        truth: int N, class index.
        predicted: int N, class index.
        classes: number of declared classes.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(classes), average=None, zero_division=np.nan
    )
    count = np.bincount(predicted, minlength=classes)
    return [
        ClassRow(
            class_index=index,
            support=int(support[index]),
            predicted=int(count[index]),
            precision=_or_none(precision[index]),
            recall=_or_none(recall[index]),
            f1=_or_none(f1[index]),
        )
        for index in range(classes)
    ]


def check_predictions(truth: Array, logits: Array) -> None:
    """Refuse arrays that cannot be scored.

    Raises:
        ValueError: if the shapes do not fit, or a class index lies outside the columns.
        RunError: if a value is NaN or +infinity, with the number of such rows and the first of them.
    """
    if truth.ndim != 1 or logits.ndim != 2 or len(truth) != len(logits):
        raise ValueError(f"truth must be N and logits N×C; got shapes {truth.shape} and {logits.shape}")
    if len(truth) and (truth.min() < 0 or truth.max() >= logits.shape[1]):
        raise ValueError(f"class indices {truth.min()}..{truth.max()} do not fit {logits.shape[1]} columns")
    broken = np.flatnonzero(~(logits < np.inf).all(axis=1))
    if broken.size:
        raise RunError(
            f"the predictions of {broken.size} of {len(truth)} pairs are not numbers (first: row {broken[0]}); the "
            f"weights have diverged: lower the learning rate or set train.clip_norm"
        )


def _group_f1(truth: Array, predicted: Array, group: Sequence[int]) -> float:
    return _macro_f1(truth, predicted, np.intersect1d(group, np.union1d(truth, predicted)))


def _macro_f1(truth: Array, predicted: Array, labels: Sequence[int] | Array | None) -> float:
    return float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
