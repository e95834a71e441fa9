"""A validation split cut from the training pairs by group, a part of their labels, and class weights."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import draws
from datasets.index import PairIndex
from utils.errors import ConfigError


def split_by_group(index: PairIndex, fraction: float, seed: int) -> tuple[PairIndex, PairIndex]:
    """Cut a validation split from an index: whole groups, never a part of one.

    Groups are taken in the order of a hash of (seed, group name), so that neither the order of the rows nor a new
    photo reshuffles the others. A group whose going would leave a class without any training pair stays in training;
    the next one in the order is asked instead.

    Args:
        index: the training pairs.
        fraction: part of the groups that goes to validation, in (0, 1); rounded to whole groups, at least one.
        seed: of the draw.

    Returns:
        (training pairs, validation pairs), both in the index's order and with its classes; together all pairs.

    Raises:
        ConfigError: where the fraction is out of range, or either part would be empty.
    """
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"data.validation_fraction is {fraction}; allowed: above 0 and below 1 (0 for no split)")
    codes, row_group = np.unique(index.group, return_inverse=True)
    names = [index.group_names[code] for code in codes]
    wanted = max(1, round(fraction * len(names)))
    if wanted >= len(names):
        raise ConfigError(
            f"data.validation_fraction {fraction} of {len(names)} group(s) leaves nothing to train on; "
            f"lower it, or use a data set with more photos (groups)"
        )
    held_out = _hold_out(index, row_group, names, wanted, seed)
    if not held_out:
        raise ConfigError(
            f"data.validation_fraction {fraction}: each of the {len(names)} groups holds the only training pairs of "
            f"some class, so none can be held out; set it to 0, or use more photos per class"
        )
    chosen = np.isin(row_group, held_out)
    return index.subset(np.flatnonzero(~chosen)), index.subset(np.flatnonzero(chosen))


def _hold_out(index: PairIndex, row_group: NDArray[np.intp], names: list[str], wanted: int, seed: int) -> list[int]:
    """Return the groups to hold out, as positions in ``names``."""
    rows_by_group = np.split(np.argsort(row_group, kind="stable"), np.cumsum(np.bincount(row_group))[:-1])
    order = sorted(range(len(names)), key=lambda g: draws.key_hash(seed, 0, "validation", names[g]))
    remaining = index.class_counts()
    held_out: list[int] = []
    for group in order:
        leaving = np.bincount(index.label[rows_by_group[group]], minlength=len(remaining))
        if np.any((leaving > 0) & (remaining <= leaving)):
            continue
        remaining -= leaving
        held_out.append(group)
        if len(held_out) == wanted:
            break
    return held_out


def labelled_part(index: PairIndex, fraction: float, seed: int) -> PairIndex:
    """Return the part of the training pairs whose labels are used, the same part of each class.

    Of a class with n pairs, ``fraction · n`` are taken, rounded, and one at the least. They are those of the photos
    that come first in the order of a hash of (seed, photo), which is one order for all classes: pairs of one photo are
    taken together as far as the numbers let them be. A larger fraction with the same seed holds all pairs of a smaller
    one, and a new photo does not reshuffle the others.

    Args:
        index: the training pairs.
        fraction: in (0, 1]; 1 returns the index itself.
        seed: of the order.

    Returns:
        The pairs in the index's order and with its classes.
    """
    assert 0.0 < fraction <= 1.0
    if fraction == 1.0:
        return index
    photos = [index.photo_name(row) for row in range(len(index))]
    place = {name: draws.key_hash(seed, 0, "labelled part", name) for name in set(photos)}
    order = np.array(sorted(range(len(index)), key=lambda row: (place[photos[row]], photos[row])), dtype=np.int64)
    rows: list[int] = []
    for label in range(len(index.classes)):
        of_class = order[index.label[order] == label]
        rows += of_class[: max(1, round(fraction * of_class.size))].tolist()
    return index.subset(sorted(rows))


def inverse_class_weights(counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return loss weights proportional to 1 / class frequency, with mean 1 over the training pairs.

    weight[c] = N / (K · counts[c]) for N pairs in K classes that have any; a class without a pair gets 0, since no
    loss term ever asks for it.

    Args:
        counts: training pairs of each class.
    """
    present = counts > 0
    weights = np.zeros(len(counts), dtype=np.float64)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    assert math.isclose(float((weights * counts).sum()), float(counts.sum()))
    return weights
