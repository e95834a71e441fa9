"""Runs trained on annotated and on prompted masks, each scored on the pairs of both: train × test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.readers import open_reader
from experiments.evaluation.statistics import ConditionScores, add_holm, compare_score, over_runs, score_conditions
from experiments.mask_quality.agreement import summaries
from experiments.mask_quality.scored import Logits, Scoring, Side
from experiments.runs import load_index
from experiments.statistics import mcnemar
from segmenters.segmenter import iou
from utils.errors import DataError
from utils.metrics import SCORE_NAMES, predicted_classes

Cell = tuple[str, str]  # names of the side and of the tree


@dataclass(frozen=True)
class Matched:
    """The pairs that every tree holds, in one order.

    Attributes:
        trees: folder of each tree, by name.
        indices: by name of run and tree.
        missing: for each tree, its pairs that have no partner in another and are left out.
        notes: what the user should know, one line each.
    """

    trees: dict[str, Path]
    indices: dict[tuple[str, str], PairIndex]
    missing: dict[str, int]
    notes: list[str]

    @property
    def index(self) -> PairIndex:
        """The pairs of the first run and tree, which stand for all in labels, groups and classes."""
        return next(iter(self.indices.values()))

    def of_tree(self, tree: str) -> PairIndex:
        """Return a tree's pairs as the first run lists them."""
        return next(index for (_, name), index in self.indices.items() if name == tree)


def tree_names(folders: Sequence[str]) -> dict[str, Path]:
    """Return short different names of folders: their last parts, as many as it takes."""
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        return {f"{path.name} ({number})": path for number, path in enumerate(paths, start=1)}
    parts = [path.resolve().parts[1:] for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return {"/".join(part[-length:]): path for part, path in zip(parts, paths, strict=True)}


def match_pairs(
    sides: Sequence[Side], trees: Mapping[str, Path], split: str | None, max_megapixels: float | None
) -> Matched:
    """List the pairs of every tree for every run and keep those, by class and photo, that are in all.

    Raises:
        DataError: a tree cannot be read or has other classes than the runs; no pair is in all trees.
    """
    listed = {
        (record.name, name): load_index(record, folder, split, max_megapixels=max_megapixels)
        for side in sides
        for record in side.records
        for name, folder in trees.items()
    }
    rows = {place: _rows_by_key(index) for place, index in listed.items()}
    common = [key for key in next(iter(rows.values())) if all(key in others for others in rows.values())]
    if not common:
        raise DataError(
            f"no pair (class and photo) is in all of {', '.join(map(str, trees.values()))}; give trees of the same "
            f"photos, with the same file names"
        )
    kept = {place: index.subset([rows[place][key] for key in common]) for place, index in listed.items()}
    notes = [note for index in listed.values() for note in index.notes]
    missing = {}
    for name in trees:
        mine = dict.fromkeys(key for (_, tree), found in rows.items() if tree == name for key in found)
        lost = list(dict.fromkeys(mine).keys() - set(common))
        missing[name] = len(lost)
        if lost:
            notes.append(
                f"{len(lost):,} of the {len(mine):,} pairs of {name} have no partner in another tree and are left out "
                f"of all cells; the first is {min(lost)}"
            )
    matched = Matched(dict(trees), kept, missing, list(dict.fromkeys(notes)))
    if len({_partition(index) for index in kept.values()}) > 1:
        matched.notes.append(f"the trees group their photos differently; the groups of {next(iter(trees))} are used")
    return matched


def _rows_by_key(index: PairIndex) -> dict[str, int]:
    return {"/".join(index.key(row)[1:]): row for row in range(len(index))}


def _partition(index: PairIndex) -> tuple[int, ...]:
    first: dict[int, int] = {}
    return tuple(first.setdefault(int(code), row) for row, code in enumerate(index.group))


def mask_ious(one: PairIndex, other: PairIndex) -> NDArray[np.float64]:
    """Return the IoU of the stored masks of the same pairs in two trees, N; NaN where their sizes differ."""
    rows = range(len(one))
    found = np.full(len(one), np.nan)
    pairs = zip(open_reader(one).read(rows), open_reader(other).read(rows), strict=True)
    bar = tqdm(pairs, total=len(one), desc="masks of both trees", unit="pair", leave=False, disable=None)
    for row, (a, b) in enumerate(bar):
        if a.mask.shape == b.mask.shape:
            found[row] = iou(a.mask, b.mask)
    return found


def compute_cells(sides: Sequence[Side], matched: Matched, scoring: Scoring) -> dict[Cell, Logits]:
    """Return the logits S×N×C of every side's S runs on the pairs of every tree."""
    cells: dict[Cell, list[Logits]] = {}
    records = [(side, record) for side in sides for record in side.records]
    passes = len(records) * len(matched.trees)
    with tqdm(total=passes, desc="runs on trees", unit="pass", leave=False, disable=None) as bar:
        for side, record in records:
            model = record.load_model(scoring.accelerator.device)
            for tree in matched.trees:
                found = scoring.logits(record, model, matched.indices[record.name, tree])
                cells.setdefault((side.name, tree), []).append(found)
                bar.update()
    return {cell: np.stack(found) for cell, found in cells.items()}


def describe_cells(
    sides: Sequence[Side],
    matched: Matched,
    logits: Mapping[Cell, Logits],
    ious: NDArray[np.float64] | None,
    resamples: int,
) -> dict[str, Any]:
    """Score all cells on the same resamples of the groups, and compare them.

    Args:
        sides: the runs.
        matched: the pairs.
        logits: S×N×C of every cell.
        ious: N, of the masks of the two trees; None for a single tree.
        resamples: of the bootstrap.

    Returns:
        ``cells`` with scores (mean over a side's runs), ``comparisons`` (``compare_cells``), ``mask_iou``, counts and
        notes, ready for JSON.
    """
    index = matched.index
    named = {"|".join(cell): stack for cell, stack in logits.items()}
    scored = score_conditions(index.label, named, index.group, index.classes.ambiguous_indices, resamples=resamples)
    by_cell = {cell: scored["|".join(cell)] for cell in logits}
    seeds = {side.name: side.seeds for side in sides}
    notes = list(matched.notes)
    if ious is not None and (other := int(np.isnan(ious).sum())):
        notes.append(f"{other:,} pairs have masks of different sizes in the two trees, so that they have no IoU")
    return {
        "trained": [side.name for side in sides],
        "runs": {side.name: [str(record.path) for record in side.records] for side in sides},
        "trees": {name: str(folder) for name, folder in matched.trees.items()},
        "split": index.split,
        "n_pairs": len(index),
        "n_groups": len(set(index.group.tolist())),
        "classes": list(index.classes.names),
        "ambiguous": list(index.classes.ambiguous),
        "fingerprints": {name: matched.of_tree(name).fingerprint() for name in matched.trees},
        "missing": matched.missing,
        "mask_iou": None if ious is None else summaries({"iou": ious}, index.group, resamples=resamples)["iou"],
        "cells": [_entry(cell, seeds[cell[0]], found) for cell, found in by_cell.items()],
        "comparisons": compare_cells(sides, list(matched.trees), by_cell, logits, index),
        "notes": notes,
    }


def _entry(cell: Cell, seeds: list[int], found: ConditionScores) -> dict[str, Any]:
    entry: dict[str, Any] = {"trained": cell[0], "tree": cell[1], "seeds": seeds, "scores": found.cells()}
    entry["by_seed"] = [{name: one[name] for name in SCORE_NAMES} for one in found.by_seed]
    entry["over_seeds"] = over_runs(entry["by_seed"]) if len(seeds) > 1 else None
    return entry


def compare_cells(
    sides: Sequence[Side],
    trees: Sequence[str],
    scored: Mapping[Cell, ConditionScores],
    logits: Mapping[Cell, Logits],
    index: PairIndex,
) -> list[dict[str, Any]]:
    """Compare cells on the same pairs: paired bootstrap over groups of every score, McNemar's test of top-1.

    Compared are the trees for each side's runs, the sides on each tree, and, of two and two, the corners (prompted
    masks throughout against annotated ones throughout).

    Returns:
        For each: ``question``, ``a`` and ``b`` (side and tree), ``scores`` with ``difference`` a - b, ``interval``,
        ``p_value`` and ``p_holm`` (over all entries, score by score), and ``mcnemar`` with the grouped p-value, over
        the runs of both sides where they have the same seeds, else None.
    """
    names = [side.name for side in sides]
    pairs: list[tuple[str, Cell, Cell]] = []
    if len(trees) > 1:
        pairs += [(f"test masks, trained on {name}", (name, trees[1]), (name, trees[0])) for name in names]
    if len(names) > 1:
        pairs += [(f"training masks, tested on {tree}", (names[1], tree), (names[0], tree)) for tree in trees]
    if len(trees) > 1 and len(names) > 1:
        pairs.append(("both", (names[1], trees[1]), (names[0], trees[0])))
    seeds = {side.name: side.seeds for side in sides}
    rows: list[dict[str, Any]] = []
    for question, a, b in pairs:
        row: dict[str, Any] = {"question": question, "a": list(a), "b": list(b), "scores": {}}
        for name in SCORE_NAMES:
            found = compare_score(scored[a], scored[b], name)
            row["scores"][name] = found and {
                "difference": found.difference,
                "interval": found.interval,
                "p_value": found.p_value,
            }
        row["mcnemar"] = _mcnemar(logits[a], logits[b], index) if seeds[a[0]] == seeds[b[0]] else None
        rows.append(row)
    for name in SCORE_NAMES:
        add_holm((row["scores"][name] for row in rows), "p_value", "p_holm")
    return rows


def _mcnemar(a: Logits, b: Logits, index: PairIndex) -> dict[str, Any]:
    """Return McNemar's test over all runs; groups hold a photo's pairs in all of them, so only that p-value stands."""
    first, second = (np.concatenate([predicted_classes(one) == index.label for one in stack]) for stack in (a, b))
    tested = mcnemar(first, second, np.tile(index.group, len(a)))
    return {"only_a": tested.only_a, "only_b": tested.only_b, "grouped_p_value": tested.grouped_p_value}


def csv_rows(
    matched: Matched, logits: Mapping[Cell, Logits], ious: NDArray[np.float64] | None
) -> tuple[list[str], list[list[Any]]]:
    """Return heading and a line per pair: key, group, IoU of its masks, part of each cell's runs that is right."""
    index = matched.index
    right = [np.mean([predicted_classes(one) == index.label for one in stack], axis=0) for stack in logits.values()]
    heading = ["split", "class", "stem", "group", "mask_iou", *(f"{side} on {tree}" for side, tree in logits)]
    rows = []
    for row in range(len(index)):
        value = "" if ious is None or np.isnan(ious[row]) else f"{ious[row]:.6f}"
        group = index.group_names[index.group[row]]
        rows.append([*index.key(row), group, value, *(f"{column[row]:g}" for column in right)])
    return heading, rows
