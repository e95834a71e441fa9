"""What stands in a cell: our number, its interval, and the resamples behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.evaluation.statistics import ConditionScores
from experiments.paper.finished import TRAINED, Finished
from experiments.paper.grid import run_key
from experiments.paper.published import IDENTITY, Column, PaperRow, PaperTable
from experiments.statistics import Comparison, compare_samples, holm, percentile_interval, t_interval

NOT_RUN = "not run"
NOT_EVALUATED = "not evaluated"
ABSENT = "not in this data"
UNDEFINED = "undefined"
SIGNIFICANT = 0.05

Runs = Mapping[tuple[str, int], Finished]


class MissingError(Exception):
    """A cell that has no number; the text says why."""


@dataclass(frozen=True)
class SeedValue:
    """A value under one training seed, in the paper's unit, with R resamples of it; None for a count."""

    value: float
    samples: NDArray[np.float64] | None


@dataclass(frozen=True)
class Cell:
    """Our side of a cell.

    Attributes:
        by_seed: value by training seed; empty where there is none.
        missing: why there is none.
    """

    by_seed: Mapping[int, SeedValue]
    missing: str = ""

    @property
    def value(self) -> float | None:
        """Mean over the training seeds, in the paper's unit."""
        return float(np.mean([one.value for one in self.by_seed.values()])) if self.by_seed else None

    @property
    def interval(self) -> list[float] | None:
        """95 %: bootstrap over groups for one seed, Student's t over several; None for counts of one seed."""
        values = list(self.by_seed.values())
        if len(values) > 1:
            interval = t_interval([one.value for one in values])
            return [float(interval.low or 0.0), float(interval.high or 0.0)]
        if not values or values[0].samples is None:
            return None
        return percentile_interval(values[0].samples)


@dataclass(frozen=True)
class Verdict:
    """One comparison of two of our rows in one column.

    Attributes:
        column: in which.
        a, b: labels of the rows.
        comparison: paired bootstrap over groups of the mean over seeds.
        p_holm: adjusted for all comparisons of the table; None where undefined.
        seeds: number of training seeds in common.
        over_seeds: 95 % t-interval of the difference over seeds; None for a single one.
    """

    column: Column
    a: str
    b: str
    comparison: Comparison
    p_holm: float | None
    seeds: int
    over_seeds: list[float] | None

    @property
    def inside_noise(self) -> bool:
        """Whether either the pairs or the seeds could have made the difference."""
        by_pairs = self.p_holm is None or self.p_holm > SIGNIFICANT
        by_seeds = self.over_seeds is not None and self.over_seeds[0] <= 0 <= self.over_seeds[1]
        return by_pairs or by_seeds


def make_cell(table: PaperTable, row: PaperRow, column: Column, runs: Runs, seeds: Sequence[int]) -> Cell:
    """Return our side of a cell: the mean over the row's runs, seed by seed; a seed counts where it has them all."""
    found: dict[int, SeedValue] = {}
    reasons: list[str] = []
    for seed in seeds:
        values = []
        for run in row.runs:
            try:
                values.append(_value(table, run, column, runs, seed))
            except MissingError as reason:
                reasons.append(str(reason))
        if len(values) == len(row.runs):
            found[seed] = _mean(values)
    if found:
        return Cell(found)
    finished = len({run for run in row.runs for seed in seeds if (run_key(run, column.exclude), seed) in runs})
    if reasons.count(NOT_RUN) and 0 < finished < len(row.runs):
        return Cell({}, f"{NOT_RUN} ({finished} of {len(row.runs)})")
    return Cell({}, max(reasons, key=_precedence))


def _precedence(reason: str) -> int:
    return (UNDEFINED, NOT_EVALUATED, NOT_RUN, ABSENT).index(reason)


def _value(table: PaperTable, run: str, column: Column, runs: Runs, seed: int) -> SeedValue:
    if column.measure == "count":
        return _count(run, column, runs, seed)
    one = _finished(runs, run, column.exclude, seed)
    if column.measure == "ambiguous_f1" and None in one.foods.values():
        raise MissingError(ABSENT)
    perturbing = any(other.conditions != (IDENTITY,) for other in table.columns)
    if not perturbing:
        return _score(one.scored[TRAINED], column)
    value = _score(_condition(one, column.conditions), column)
    if column.change == "from_identity":
        reference = _score(_condition(one, (IDENTITY,)), column)
        assert value.samples is not None
        assert reference.samples is not None
        return SeedValue(value.value - reference.value, value.samples - reference.samples)
    return value


def _count(run: str, column: Column, runs: Runs, seed: int) -> SeedValue:
    if column.change == "from_excluded":
        twin = _pairs(_finished(runs, run, column.exclude, seed), column)
        return SeedValue(_pairs(_finished(runs, run, None, seed), column) - twin, None)
    return SeedValue(_pairs(_finished(runs, run, column.exclude, seed), column), None)


def _pairs(one: Finished, column: Column) -> int:
    assert column.cell is not None
    truth, predicted = (one.foods[food] for food in column.cell)
    if truth is None or predicted is None or not (one.label == truth).any():
        raise MissingError(ABSENT)
    return int(((one.label == truth) & (one.predicted == predicted)).sum())


def _finished(runs: Runs, run: str, exclude: str | None, seed: int) -> Finished:
    one, base = runs.get((run_key(run, exclude), seed)), runs.get((run, seed))
    if one is None:
        impossible = exclude is not None and base is not None and exclude in base.lacking
        raise MissingError(ABSENT if impossible else NOT_RUN)
    return one


def _condition(one: Finished, names: Sequence[str]) -> ConditionScores:
    for name in names:
        if name in one.scored:
            return one.scored[name]
    raise MissingError(NOT_EVALUATED)


def _score(scored: ConditionScores, column: Column) -> SeedValue:
    value = scored.mean(column.measure)
    if value is None:
        raise MissingError(UNDEFINED)
    return SeedValue(column.factor * value, column.factor * scored.samples[column.measure])


def _mean(values: Sequence[SeedValue]) -> SeedValue:
    value = float(np.mean([one.value for one in values]))
    samples = [one.samples for one in values if one.samples is not None]
    return SeedValue(value, np.mean(samples, axis=0) if samples else None)


def compare_rows(table: PaperTable, cells: Mapping[tuple[str, str], Cell]) -> list[Verdict]:
    """Compare the rows that the table claims to differ, or else our best with our second best row of each column.

    Args:
        table: what is compared in it.
        cells: by row name and column key.

    Returns:
        One verdict per comparison, the p-values adjusted for all of them (Holm 1979).
    """
    found: list[tuple[Column, str, str, Comparison, Sequence[float]]] = []
    for column in table.columns:
        for a, b in _claims(table, column, cells) if column.tested else []:
            one, other = cells[a, column.key], cells[b, column.key]
            seeds = [seed for seed in one.by_seed if seed in other.by_seed]
            if seeds:
                found.append((column, a, b, *_compare(one, other, seeds)))
    p_values = [comparison.p_value for _, _, _, comparison, _ in found]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [
        Verdict(
            column=column,
            a=table.row(a).label,
            b=table.row(b).label,
            comparison=comparison,
            p_holm=None if comparison.p_value is None else next(adjusted),
            seeds=len(by_seed),
            over_seeds=_t_interval(by_seed),
        )
        for column, a, b, comparison, by_seed in found
    ]


def _claims(table: PaperTable, column: Column, cells: Mapping[tuple[str, str], Cell]) -> list[tuple[str, str]]:
    if table.claims:
        return list(table.claims)
    valued = [(cells[row.name, column.key].value, row.name) for row in table.rows]
    ordered = sorted(((value, name) for value, name in valued if value is not None), key=lambda pair: -pair[0])
    return [(ordered[0][1], ordered[1][1])] if len(ordered) > 1 else []


def _compare(one: Cell, other: Cell, seeds: Sequence[int]) -> tuple[Comparison, list[float]]:
    a, b = (_mean([cell.by_seed[seed] for seed in seeds]) for cell in (one, other))
    assert a.samples is not None
    assert b.samples is not None
    by_seed = [one.by_seed[seed].value - other.by_seed[seed].value for seed in seeds]
    return compare_samples(a.value, b.value, a.samples, b.samples), by_seed


def _t_interval(values: Sequence[float]) -> list[float] | None:
    interval = t_interval(values)
    return None if interval.low is None or interval.high is None else [interval.low, interval.high]
