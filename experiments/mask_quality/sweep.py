"""A trained run on masks that were made worse, step by step: points lost per 0.1 of IoU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.readers import open_reader
from experiments.evaluation.statistics import ConditionScores, changes, score_conditions
from experiments.mask_quality.agreement import mean_samples, summary
from experiments.mask_quality.edits import Edit, EditedReader, EditKind
from experiments.mask_quality.scored import Logits, Scoring, Side
from experiments.mask_quality.slopes import loss_per_tenth
from experiments.robustness.suite import IDENTITY
from segmenters.segmenter import iou
from utils.errors import DataError
from utils.metrics import SCORE_NAMES

SLOPED = ("top1", "macro_f1", "ambiguous_f1")
ALL = "all edits"
_TALLY_ROWS = 4  # per class, and three more: what experiments.resampling draws beside the IoUs


@dataclass(frozen=True)
class Swept:
    """What one side's runs made of edited masks.

    Attributes:
        index: the pairs.
        ious: by edit, N: IoU of the edited masks with the stored ones.
        logits: by edit, and ``identity`` for the stored masks, S×N×C.
    """

    index: PairIndex
    ious: dict[str, NDArray[np.float64]]
    logits: dict[str, Logits]


def make_edits(kinds: Sequence[EditKind], levels: Sequence[float], seed: int) -> list[Edit]:
    """Return every kind at every level, the mildest first."""
    return [Edit(kind, level, seed) for kind in kinds for level in sorted(levels)]


def edited_ious(index: PairIndex, edits: Sequence[Edit]) -> dict[str, NDArray[np.float64]]:
    """Return for each edit the IoU, N, of the edited masks with the stored ones."""
    found = {edit.name: np.ones(len(index)) for edit in edits}
    stored = open_reader(index).read(range(len(index)))
    bar = tqdm(stored, total=len(index), desc="edited masks", unit="pair", leave=False, disable=None)
    for row, pair in enumerate(bar):
        key = index.draw_key(row)
        for edit in edits:
            found[edit.name][row] = iou(edit(pair.mask, key), pair.mask)
    return found


def run_sweep(side: Side, index: Mapping[str, PairIndex], edits: Sequence[Edit], scoring: Scoring) -> Swept:
    """Compute the logits of a side's runs for stored and edited masks.

    Args:
        side: the runs.
        index: the pairs as each run lists them, by its name: the same ones.
        edits: what is done to the masks.
        scoring: where and how runs compute.
    """
    first = index[side.records[0].name]
    _refuse_other_pairs(side, index)
    stacks: dict[str, list[Logits]] = {}
    passes = len(side.records) * (len(edits) + 1)
    with tqdm(total=passes, desc=side.name, unit="pass", leave=False, disable=None) as bar:
        for record in side.records:
            model, pairs = record.load_model(scoring.accelerator.device), index[record.name]
            stacks.setdefault(IDENTITY, []).append(scoring.logits(record, model, pairs))
            bar.update()
            for edit in edits:
                reader = EditedReader(open_reader(pairs), pairs, edit)
                stacks.setdefault(edit.name, []).append(scoring.logits(record, model, pairs, reader))
                bar.update()
    return Swept(first, edited_ious(first, edits), {name: np.stack(found) for name, found in stacks.items()})


def _refuse_other_pairs(side: Side, index: Mapping[str, PairIndex]) -> None:
    first = index[side.records[0].name]
    for record in side.records[1:]:
        if index[record.name].fingerprint() != first.fingerprint():
            raise DataError(
                f"the runs {side.records[0].path} and {record.path} see different pairs, so no mean over them can be "
                f"taken; give one tree with --trees"
            )


def describe_sweep(side: Side, edits: Sequence[Edit], swept: Swept, resamples: int) -> dict[str, Any]:
    """Score stored and edited masks on the same resamples of the groups, and fit what an IoU costs.

    Returns:
        ``stored``: scores; ``edits``: for each its mean IoU, the part of the masks that it left as they are, scores,
        and the change with its paired interval and p-values; ``slopes``: by score and by kind of edit
        (``slopes.loss_per_tenth``); counts; ready for JSON.
    """
    index = swept.index
    ambiguous = index.classes.ambiguous_indices
    scored = score_conditions(index.label, swept.logits, index.group, ambiguous, resamples=resamples)
    names = [edit.name for edit in edits]
    rows = 3 + _TALLY_ROWS * len(index.classes)
    values = np.column_stack([swept.ious[name] for name in names])
    drawn = dict(zip(names, mean_samples(values, index.group, resamples=resamples, rows=rows), strict=True))
    changed = changes(scored)
    entries = []
    for edit in edits:
        found = swept.ious[edit.name]
        entries.append(
            {
                "name": edit.name,
                "kind": edit.kind,
                "level": edit.level,
                "iou": summary(found, drawn[edit.name]),
                "unchanged": float(np.mean(found == 1)),
                "scores": scored[edit.name].cells(),
                "change": changed[edit.name],
            }
        )
    return {
        "trained": side.name,
        "runs": [str(record.path) for record in side.records],
        "seeds": side.seeds,
        "root": str(index.root),
        "split": index.split,
        "n_pairs": len(index),
        "n_groups": len(set(index.group.tolist())),
        "ambiguous": list(index.classes.ambiguous),
        "fingerprint": index.fingerprint(),
        "stored": scored[IDENTITY].cells(),
        "edits": entries,
        "slopes": _slopes(edits, swept.ious, scored, drawn),
    }


def _slopes(
    edits: Sequence[Edit],
    ious: Mapping[str, NDArray[np.float64]],
    scored: Mapping[str, ConditionScores],
    drawn: Mapping[str, NDArray[np.float64]],
) -> dict[str, dict[str, Any]]:
    families = {ALL: [edit.name for edit in edits]}
    for edit in edits:
        families.setdefault(edit.kind, []).append(edit.name)
    result: dict[str, dict[str, Any]] = {}
    for score in (name for name in SCORE_NAMES if name in SLOPED):
        reference = scored[IDENTITY].mean(score)
        if reference is None:
            continue
        result[score] = {}
        for family, names in families.items():
            found = [scored[name].mean(score) for name in names]
            if any(value is None for value in found):
                continue
            samples = {
                "iou": np.stack([drawn[name] for name in names]),
                "score": np.stack([scored[name].samples[score] for name in names]),
                "reference": scored[IDENTITY].samples[score],
            }
            means = [float(ious[name].mean()) for name in names]
            result[score][family] = loss_per_tenth(means, [v for v in found if v is not None], reference, samples)
    return result


def csv_rows(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return heading and a line per run and edit, the stored masks first: IoU, scores and their intervals."""
    heading = ["trained", "edit", "level", "iou", "iou_low", "iou_high", "unchanged"]
    heading += [f"{score}{end}" for score in SLOPED for end in ("", "_low", "_high")]
    rows: list[list[Any]] = []
    for entry in entries:
        rows.append([entry["trained"], IDENTITY, 0, 1, "", "", 1, *_score_cells(entry["stored"])])
        for edit in entry["edits"]:
            means = [edit["iou"]["mean"], *(edit["iou"]["mean_ci"] or (None, None)), edit["unchanged"]]
            shown = ["" if value is None else f"{value:.6f}" for value in means]
            rows.append([entry["trained"], edit["kind"], edit["level"], *shown, *_score_cells(edit["scores"])])
    return heading, rows


def _score_cells(scores: Mapping[str, Any]) -> list[str]:
    found = [value for score in SLOPED for value in (scores[score], *(scores[f"{score}_ci"] or (None, None)))]
    return ["" if value is None else f"{value:.6f}" for value in found]
