"""The rows of the baselines, with the keys of a run's scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.baselines import models
from experiments.baselines.features import GEOMETRY, label_context, manifest_geometry, measure_pairs
from experiments.statistics import scores_with_intervals
from utils.errors import DataError
from utils.metrics import Array

BASELINES = (
    "majority class",
    "label-only context",
    "label-only context + geometry",
    "geometry only",
    "colour histogram",
)
_OF_MASKS = ("label-only context", "label-only context + geometry", "geometry only")
# Beside the labels three numbers, whatever the place: area, height and width of the box.
_THREE = [GEOMETRY.index(name) for name in ("area_fraction", "box_height", "box_width")]


def baseline_rows(train: PairIndex, test: PairIndex, *, resamples: int, colour: bool = True) -> list[dict[str, Any]]:
    """Fit the baselines on one split and score them on another.

    - ``majority class``: the commonest class of the training pairs.
    - ``label-only context``: the names of the other classes of the photo, known without error. Only classes of the
      index are known: an excluded class is no context. Where photos hold nearly all classes, as street scenes do, the
      name that is missing is the answer, and this row is very high.
    - ``label-only context + geometry``: and the roi's share of the photo, height and width of its box.
    - ``geometry only``: that share and the box with its place.
    - ``colour histogram``: the colours of the roi without their place; of photos without masks those of the photo.

    Geometry comes from the manifest; without one it is measured on the stored cut-outs, which decodes every pair. Of
    photos without masks only the first and the last are fitted, to the colours of the whole photo.

    Args:
        train: pairs to fit on.
        test: pairs to score, over the same classes.
        resamples: of the bootstrap over groups.
        colour: fit the colour histogram, which decodes every pair; otherwise its row says so.

    Returns:
        One row per baseline, in the order above: ``model`` and the keys of ``scores_with_intervals``. A row with
        ``note`` and without scores was not fitted. One with both was scored on the pairs it was fitted on.

    Raises:
        DataError: no training pair, other classes in test than in train, or a cut-out or manifest that cannot be read.
    """
    _check(train, test)
    names = len(train.classes)
    contexts = [label_context(index.label, np.array(index.stems), names) for index in (train, test)]
    geometry: list[NDArray[np.float64] | None] = [manifest_geometry(index) for index in (train, test)]
    places = [part for part in geometry if part is not None]
    masked = train.masked and test.masked
    measured = [measure_pairs(index) for index in (train, test)] if colour or (masked and len(places) < 2) else []
    if masked and len(places) < 2:  # both from one source, so that they are alike
        places = [part.geometry for part in measured]
    three = [part[:, _THREE] for part in places]
    fits: tuple[Callable[[], Array], ...] = (
        lambda: models.majority(train.label, len(test), names),
        lambda: models.from_labels(contexts[0], train.label, contexts[1]),
        lambda: models.from_labels_and_geometry(contexts[0], three[0], train.label, contexts[1], three[1]),
        lambda: models.from_geometry(places[0], train.label, places[1], names),
        lambda: models.from_colours(measured[0].colour, train.label, measured[1].colour, names),
    )
    rows = []
    for name, fit in zip(BASELINES, fits, strict=True):
        row: dict[str, Any] = {"model": name}
        if name == "colour histogram" and not colour:
            row["note"] = "not fitted: colours were switched off"
        elif name in _OF_MASKS and not masked:
            row["note"] = "not fitted: the photos have no masks"
        else:
            row |= scores_with_intervals(
                test.label, fit(), test.group, test.classes.ambiguous_indices, resamples=resamples
            )
            if (train.root, train.split) == (test.root, test.split):
                row["note"] = f"scored on the pairs it was fitted on (split {train.split}): too good"
        rows.append(row)
    return rows


def _check(train: PairIndex, test: PairIndex) -> None:
    if len(train) == 0:
        raise DataError(f"the split {train.split} of {train.root} holds no pair, so that no baseline can be fitted")
    if train.classes.names != test.classes.names:
        ours, theirs = set(train.classes.names), set(test.classes.names)
        raise DataError(
            f"the baselines need the same classes in both splits; only in {train.root}/{train.split}: "
            f"{', '.join(sorted(ours - theirs)) or 'none'}; only in {test.root}/{test.split}: "
            f"{', '.join(sorted(theirs - ours)) or 'none'}"
        )
