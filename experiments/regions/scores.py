"""Scores of models over training seeds, and their paired differences to those that they are measured against."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.evaluation.statistics import (
    ConditionScores,
    add_holm,
    compare_score,
    over_runs,
    paired_t_p,
    score_conditions,
)
from experiments.measures import measures_over_runs
from experiments.regions.training import PlannedRun
from experiments.statistics import t_interval
from utils.arrays import read_arrays
from utils.metrics import SCORE_NAMES, Array
from utils.run_directory import LOGITS_FILE

Logits = NDArray[np.float32]


def read_logits(runs: Sequence[PlannedRun]) -> dict[str, Logits]:
    """Return by model the logits S×N×C of its S runs on the test pairs, in the order of the seeds."""
    found: dict[str, list[Logits]] = {}
    for run in runs:
        found.setdefault(run.model, []).append(read_arrays(run.directory.path / LOGITS_FILE, ("test",))["test"])
    return {model: np.stack(stack) for model, stack in found.items()}


def score_models(
    label: Array, logits: Mapping[str, Logits], group: Array, ambiguous: Sequence[int], resamples: int
) -> dict[str, ConditionScores]:
    """Score every model on the same resamples of the groups; a model's scores are means over its seeds."""
    return score_conditions(label, logits, group, ambiguous, resamples=resamples)


def score_cells(scored: ConditionScores) -> dict[str, Any]:
    """Return a model's mean scores as tables show them, and those behind them.

    Returns:
        Each score with ``<name>_ci``: Student's t-interval over seeds where there are several, else the bootstrap over
        groups of test pairs; ``by_seed``; ``test_intervals``, the bootstrap of the mean over seeds.
    """
    by_seed = [{name: one[name] for name in SCORE_NAMES} for one in scored.by_seed]
    cells = scored.cells()
    bootstrap = {name: cells[f"{name}_ci"] for name in SCORE_NAMES}
    shown = over_runs(by_seed) if len(by_seed) > 1 else {key: cells[key] for key in cells if not key.startswith("n_")}
    return shown | {"by_seed": by_seed, "test_intervals": bootstrap, "n_pairs": cells["n_pairs"]}


def compare_with(scored: Mapping[str, ConditionScores], references: Sequence[str]) -> list[dict[str, Any]]:
    """Compare every model with the references, on the same pairs and resamples.

    Args:
        scored: by model; all have the same seeds in the same order.
        references: models that are subtracted; those that ``scored`` lacks are passed over.

    Returns:
        ``a`` less ``b``, for each score ``difference`` of the means over seeds, ``interval`` of the paired bootstrap
        over groups, ``p_value`` and ``p_holm`` of it (adjusted for all entries), ``by_seed``, its 95 % t-interval
        ``over_seeds`` and the p-value ``p_seeds`` of that (null for one seed).
    """
    rows: list[dict[str, Any]] = []
    done: set[frozenset[str]] = set()
    for b in references:
        for a in scored:
            if b not in scored or a == b or frozenset((a, b)) in done:
                continue
            done.add(frozenset((a, b)))
            found = {name: difference_of(scored[a], scored[b], name) for name in SCORE_NAMES}
            rows.append({"a": a, "b": b, "scores": found})
    for name in SCORE_NAMES:
        add_holm((row["scores"][name] for row in rows), "p_value", "p_holm")
    return rows


def difference_of(a: ConditionScores, b: ConditionScores, name: str) -> dict[str, Any] | None:
    """Return what ``compare_with`` says of one score of ``a`` less ``b``, but for ``p_holm``; None where undefined."""
    compared = compare_score(a, b, name)
    if compared is None:
        return None
    by_seed = [float(one[name] or 0) - float(other[name] or 0) for one, other in zip(a.by_seed, b.by_seed, strict=True)]
    interval = t_interval(by_seed)
    return {
        "difference": compared.difference,
        "interval": compared.interval,
        "p_value": compared.p_value,
        "by_seed": by_seed,
        "over_seeds": None if interval.low is None else [interval.low, interval.high],
        "p_seeds": paired_t_p(by_seed),
    }


def over_seeds(measures: Sequence[Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Return the mean over runs of what their models measure of their parts, by name.

    Args:
        measures: of each run, from ``metrics.json``; null where its model has none.

    Returns:
        ``value``, its 95 % t-interval over runs ``value_ci`` (for one run the bootstrap over test pairs that it was
        recorded with), and ``by_seed``; nothing where a run has none.
    """
    known = [one for one in measures if one]
    if not known or len(known) < len(measures):
        return {}
    found = {}
    for name, mean in measures_over_runs(known).items():
        if mean["value"] is None:
            continue
        within = known[0][name] if len(known) == 1 else mean
        bounds = [within["low"], within["high"]]
        shown = None if None in bounds else bounds
        found[name] = {"value": mean["value"], "value_ci": shown, "by_seed": mean["by_run"]}
    return found
