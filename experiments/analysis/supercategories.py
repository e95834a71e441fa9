"""Accuracy at the groups above the classes: is the wrong answer at least of the right kind?"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.classes import ClassMap
from experiments.statistics import scores_with_intervals
from utils.metrics import Array, per_class_table, predicted_classes


class Supercategories(NamedTuple):
    """``names``: S super-categories in the order of their first class; ``of_class``: int C, position in ``names``."""

    names: tuple[str, ...]
    of_class: NDArray[np.int64]


def supercategories(classes: ClassMap) -> Supercategories | str:
    """Return the super-categories of a class list, or a sentence that says why there are none."""
    lacking = [name for name in classes.names if name not in classes.supercategories]
    if len(lacking) == len(classes):
        return "not computed: the classes have no super-categories; classes.yaml can name one for each class"
    if lacking:
        return f"not computed: {len(lacking)} of {len(classes)} classes have no super-category, such as '{lacking[0]}'"
    groups = [classes.supercategories[name] for name in classes.names]
    names = tuple(dict.fromkeys(groups))
    if len(names) < 2:
        return f"not computed: all classes lie in one super-category, '{names[0]}'"
    return Supercategories(names, np.array([names.index(group) for group in groups], dtype=np.int64))


def summed(probability: Array, groups: Supercategories) -> NDArray[np.float64]:
    """Return the probability of each super-category, N×S, from that of each class, N×C."""
    member = np.zeros((groups.of_class.size, len(groups.names)))
    member[np.arange(groups.of_class.size), groups.of_class] = 1.0
    return np.asarray(probability @ member, dtype=np.float64)


def supercategory_scores(
    truth: Array, probability: Array, photo_groups: Array, groups: Supercategories, *, resamples: int
) -> dict[str, Any]:
    """Score predictions at super-categories, with intervals from a bootstrap over groups of pairs.

    - ``supercategory_top1``: part of the pairs whose likeliest class lies in the super-category of the true one.
    - ``supercategory_top1_summed``: the same for the super-category whose classes are likeliest together.
    - ``supercategory_macro_f1``: of the likeliest class's super-category.
    - ``wrong_within_supercategory``: part of the wrong predictions that stay inside it; None without a wrong one.

    Args:
        truth: int N, class index.
        probability: N×C.
        photo_groups: N, groups of pairs that are not independent.
        groups: the super-categories.
        resamples: of the bootstrap.
    """
    wanted = groups.of_class[truth]
    predicted = predicted_classes(probability)
    found = groups.of_class[predicted]
    of_class = scores_with_intervals(wanted, np.eye(len(groups.names))[found], photo_groups, resamples=resamples)
    together = scores_with_intervals(wanted, summed(probability, groups), photo_groups, resamples=resamples)
    wrong = predicted != truth
    return {
        "supercategory_top1": of_class["top1"],
        "supercategory_top1_ci": of_class["top1_ci"],
        "supercategory_top1_summed": together["top1"],
        "supercategory_top1_summed_ci": together["top1_ci"],
        "supercategory_macro_f1": of_class["macro_f1"],
        "supercategory_macro_f1_ci": of_class["macro_f1_ci"],
        "wrong_within_supercategory": float((found == wanted)[wrong].mean()) if wrong.any() else None,
    }


def supercategory_table(truth: Array, probability: Array, groups: Supercategories) -> list[dict[str, Any]]:
    """Return one row per super-category.

    Keys: ``supercategory``, ``classes`` (their number), ``support`` (pairs), ``class_top1`` (part whose class is
    right), ``top1`` (part whose likeliest class lies in the super-category), ``top1_summed``, ``precision``, ``f1``
    (of the likeliest class's super-category). A fraction without denominator is None.
    """
    wanted, predicted = groups.of_class[truth], predicted_classes(probability)
    likeliest = predicted_classes(summed(probability, groups))
    table = per_class_table(wanted, groups.of_class[predicted], len(groups.names))
    rows = []
    for number, (name, line) in enumerate(zip(groups.names, table, strict=True)):
        own = wanted == number
        rows.append(
            {
                "supercategory": name,
                "classes": int((groups.of_class == number).sum()),
                "support": line["support"],
                "class_top1": float((predicted == truth)[own].mean()) if own.any() else None,
                "top1": line["recall"],
                "top1_summed": float((likeliest == number)[own].mean()) if own.any() else None,
                "precision": line["precision"],
                "f1": line["f1"],
            }
        )
    return rows
