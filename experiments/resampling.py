"""Scores of many resamples of groups at once, from whole-number counts per group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from utils.metrics import SCORE_NAMES, Array, check_predictions, in_top, predicted_classes, top5_defined

_CHUNK_BYTES = 64 * 2**20

Samples = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class GroupTally:
    """Whole-number counts per group: all that any score of any resample of the groups needs.

    Attributes:
        counts: sparse K×G. Rows: pairs; top-1 hits; top-5 hits; then C rows each of true positives, predictions,
            truths, and predictions on pairs of ambiguous classes.
        classes: C.
        ambiguous: class indices of the ambiguous group.
    """

    counts: sparse.csr_array
    classes: int
    ambiguous: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Array, logits: Array, groups: Array, ambiguous: Sequence[int]) -> "GroupTally":
        """Count what each group contributes to each score; the arguments are those of ``grouped_intervals``."""
        check_predictions(truth, logits)
        if groups.shape != truth.shape:
            raise ValueError(f"groups must have the shape of truth, {truth.shape}; got {groups.shape}")
        classes = logits.shape[1]
        truth = truth.astype(np.int64)
        predicted = predicted_classes(logits)
        names, code = np.unique(groups, return_inverse=True)
        hit, member = predicted == truth, np.isin(truth, ambiguous)
        parts = [
            (np.zeros_like(truth), np.ones_like(hit)),
            (np.ones_like(truth), hit),
            (np.full_like(truth, 2), in_top(truth, logits, 5)),
            (3 + truth, hit),
            (3 + classes + predicted, np.ones_like(hit)),
            (3 + 2 * classes + truth, np.ones_like(hit)),
            (3 + 3 * classes + predicted, member),
        ]
        rows = np.concatenate([row[chosen] for row, chosen in parts])
        columns = np.concatenate([code[chosen] for _, chosen in parts])
        shape = (3 + 4 * classes, names.size)
        counts = sparse.coo_array((np.ones(rows.size, np.int32), (rows, columns)), shape=shape).tocsr()
        return cls(counts, classes, np.unique(np.asarray(ambiguous, dtype=np.int64)))

    def samples(self, resamples: int, seed: int) -> Samples:
        """Return every score of every resample, NaN where undefined or where it rests on fewer than two groups."""
        return samples_together([self], resamples, seed)[0]

    def _groups_with_ambiguous(self) -> int:
        truths = self.counts[3 + 2 * self.classes + self.ambiguous]
        return int(np.count_nonzero(truths.sum(axis=0)))

    def score(self, weights: NDArray[np.int32]) -> Samples:
        """Score R resamples, given how often each holds each group (G×R)."""
        totals = self.counts @ weights
        pairs = totals[0]
        hits, predicted, truths, predicted_members = totals[3:].reshape(4, self.classes, -1)
        f1, occurs = _f1(hits, predicted + truths)
        chosen = self.ambiguous
        with np.errstate(invalid="ignore"):
            result = {
                "top1": totals[1] / pairs,
                "top5": totals[2] / pairs if top5_defined(self.classes) else np.full(pairs.size, np.nan),
                "macro_f1": f1.sum(axis=0) / occurs.sum(axis=0),
                "macro_f1_declared": f1.sum(axis=0) / self.classes,
                "ambiguous_f1": f1[chosen].sum(axis=0) / occurs[chosen].sum(axis=0),
            }
            f1, occurs = _f1(hits[chosen], predicted_members[chosen] + truths[chosen])
            result["ambiguous_f1_subset"] = f1.sum(axis=0) / occurs.sum(axis=0)
        undefined = (truths[chosen].sum(axis=0) == 0) | (self._groups_with_ambiguous() < 2)
        result["ambiguous_f1"][undefined] = result["ambiguous_f1_subset"][undefined] = np.nan
        return result


def _f1(hits: NDArray[np.int32], together: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return F1 = 2 hits / (predictions + truths), 0 where a class does not occur, and where it occurs."""
    occurs = together > 0
    return 2.0 * hits / np.maximum(together, 1), occurs


def samples_together(tallies: Sequence[GroupTally], resamples: int, seed: int) -> list[Samples]:
    """Return the samples of several predictions of the same pairs, drawing the groups once for all of them.

    Each equals ``tally.samples(resamples, seed)``: the same groups are drawn for every one.

    Raises:
        ValueError: if ``resamples`` is below 1, or the numbers of groups differ.
    """
    if resamples < 1:
        raise ValueError(f"the number of resamples must be at least 1; got {resamples}")
    result = [{name: np.full(resamples, np.nan) for name in SCORE_NAMES} for _ in tallies]
    groups = {tally.counts.shape[1] for tally in tallies}
    if len(groups) > 1:
        raise ValueError(f"the predictions hold different numbers of groups: {sorted(groups)}")
    if not tallies or groups.pop() < 2:
        return result
    rows = max(tally.counts.shape[0] for tally in tallies)
    start = 0
    for weights in draw_groups(tallies[0].counts.shape[1], rows, resamples, seed):
        stop = start + weights.shape[1]
        for samples, tally in zip(result, tallies, strict=True):
            for name, values in tally.score(weights).items():
                samples[name][start:stop] = values
        start = stop
    return result


def draw_groups(groups: int, rows: int, resamples: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Yield how often each group is drawn, int G×R, in chunks of resamples that keep memory bounded."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_BYTES // (20 * groups + 24 * rows))
    for start in range(0, resamples, chunk):
        number = min(chunk, resamples - start)
        cell = generator.integers(groups, size=(number, groups))
        cell *= number
        cell += np.arange(number)[:, None]
        yield np.bincount(cell.ravel(), minlength=groups * number).reshape(groups, number).astype(np.int32)
