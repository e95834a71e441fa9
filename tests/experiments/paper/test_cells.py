"""Numbers of cells and verdicts, against plain recomputation from the predictions."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score

from experiments.evaluation.statistics import score_conditions
from experiments.kinds import OFF_THE_SHELF
from experiments.paper.cells import ABSENT, NOT_EVALUATED, NOT_RUN, Cell, SeedValue, compare_rows, make_cell
from experiments.paper.finished import TRAINED, Finished
from experiments.paper.grid import PlannedRun, run_key
from experiments.paper.published import Column, PaperRow, PaperTable, load_published
from experiments.paper.tables import build_table

PAIRS, CLASSES, RESAMPLES = 120, 4, 200
GROUP = np.repeat(np.arange(PAIRS // 3), 3)
LABEL = np.random.default_rng(0).integers(0, CLASSES, PAIRS)
FOODS: dict[str, int | None] = {"ketchup": 0, "chili paste": 1}


def predictions(accuracy: float, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(PAIRS) < accuracy, LABEL, rng.integers(0, CLASSES, PAIRS))


def finished(
    base: str, seed: int, by_condition: dict[str, list[NDArray[np.int64]]], exclude: str | None = None
) -> Finished:
    """Return a run of given predictions; nothing of it lies on a disk."""
    stacks = {name: np.eye(CLASSES)[np.stack(each)] for name, each in by_condition.items()}
    plan = PlannedRun(run_key(base, exclude), base, exclude, OFF_THE_SHELF, (), {}, "suite", {})
    return Finished(
        plan=plan,
        seed=seed,
        record=cast(Any, None),
        label=LABEL,
        group=GROUP,
        foods=FOODS,
        lacking=frozenset(),
        ambiguous=(),
        predicted=by_condition[TRAINED][0],
        scored=score_conditions(LABEL, stacks, GROUP, (0, 1), resamples=RESAMPLES),
        evaluation=None,
    )


def column(**given: Any) -> Column:  # noqa: ANN401
    return Column(**{"key": "c", "heading": "a column", "measure": "macro_f1", "tested": True, **given})


def table(columns: list[Column], *rows: tuple[str, ...], claims: tuple[tuple[str, str], ...] = ()) -> PaperTable:
    shown = tuple(PaperRow(" and ".join(runs), runs, {c.key: 0.5 for c in columns}) for runs in rows)
    return PaperTable("2", "a table", tuple(columns), shown, claims)


def f1_of(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    return float(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))


def test_a_cell_is_the_score_with_its_bootstrap_interval() -> None:
    one = finished("a", 0, {TRAINED: [predictions(0.6, 1)]})
    t = table([column()], ("a",))
    cell = make_cell(t, t.rows[0], t.columns[0], {("a", 0): one}, [0])
    assert cell.value == pytest.approx(f1_score(LABEL, one.predicted, average="macro"))
    low, high = cell.interval or (0, 0)
    # An independent draw of the same bootstrap gives nearly the same interval.
    rng = np.random.default_rng(7)
    rows = [np.flatnonzero(g == GROUP) for g in range(GROUP.max() + 1)]
    drawn = [np.concatenate([rows[g] for g in rng.integers(0, len(rows), len(rows))]) for _ in range(400)]
    scores = [np.mean([f1_of(LABEL[i] == c, one.predicted[i] == c) for c in range(CLASSES)]) for i in drawn]
    assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.03)


def test_top1_is_in_percent_and_its_change_in_points() -> None:
    unchanged, permuted = predictions(0.8, 1), [predictions(0.5, 2), predictions(0.4, 3)]
    one = finished("a", 0, {TRAINED: [unchanged], "identity": [unchanged], "permute": permuted})
    change = column(measure="top1", conditions=("other", "permute"), change="from_identity")
    t = table([change], ("a",))
    cell = make_cell(t, t.rows[0], change, {("a", 0): one}, [0])
    expected = 100 * (np.mean([np.mean(p == LABEL) for p in permuted]) - np.mean(unchanged == LABEL))
    assert cell.value == pytest.approx(expected)


def test_a_row_over_several_runs_is_their_mean_and_waits_for_all() -> None:
    runs = {(name, 0): finished(name, 0, {TRAINED: [predictions(0.5, i)]}) for i, name in enumerate("ab")}
    t = table([column(measure="top1")], ("a", "b"))
    cell = make_cell(t, t.rows[0], t.columns[0], runs, [0])
    assert cell.value == pytest.approx(100 * np.mean([one.predicted == LABEL for one in runs.values()]))
    del runs["b", 0]
    assert make_cell(t, t.rows[0], t.columns[0], runs, [0]).missing == "not run (1 of 2)"


def test_several_seeds_give_their_mean_and_students_interval() -> None:
    runs = {("a", seed): finished("a", seed, {TRAINED: [predictions(0.6, seed)]}) for seed in range(3)}
    t = table([column(measure="top1")], ("a",))
    cell = make_cell(t, t.rows[0], t.columns[0], runs, [0, 1, 2])
    values = [100 * np.mean(one.predicted == LABEL) for one in runs.values()]
    assert cell.value == pytest.approx(np.mean(values))
    assert cell.interval == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))


def test_a_missing_number_says_why() -> None:
    one = finished("a", 0, {TRAINED: [predictions(0.6, 1)]})
    runs = {("a", 0): one}

    def missing(given: Column, runs: dict[tuple[str, int], Finished]) -> str:
        t = table([given], ("a",))
        return make_cell(t, t.rows[0], given, runs, [0]).missing

    assert missing(column(), {}) == NOT_RUN
    assert missing(column(conditions=("permute",)), runs) == NOT_EVALUATED
    no_ketchup = {("a", 0): replace(one, foods={"ketchup": None, "chili paste": 1})}
    assert missing(column(measure="ambiguous_f1"), no_ketchup) == ABSENT
    assert missing(column(measure="count", cell=("chili paste", "ketchup")), no_ketchup) == ABSENT
    assert missing(column(exclude="sauce"), runs) == NOT_RUN
    assert missing(column(exclude="sauce"), {("a", 0): replace(one, lacking=frozenset({"sauce"}))}) == ABSENT


def test_counts_and_their_difference_from_the_twin() -> None:
    one = finished("a", 0, {TRAINED: [predictions(0.6, 1)]})
    twin = finished("a", 0, {TRAINED: [predictions(0.6, 2)]}, exclude="sauce")
    runs = {("a", 0): one, (twin.plan.key, 0): twin}
    plain = column(key="p", measure="count", cell=("ketchup", "chili paste"))
    difference = column(
        key="d", measure="count", cell=("ketchup", "chili paste"), exclude="sauce", change="from_excluded"
    )
    t = table([plain, difference], ("a",))
    counts = [sum((LABEL == 0) & (run.predicted == 1)) for run in (one, twin)]
    assert make_cell(t, t.rows[0], plain, runs, [0]).value == counts[0]
    assert make_cell(t, t.rows[0], difference, runs, [0]).value == counts[0] - counts[1]
    assert make_cell(t, t.rows[0], plain, runs, [0]).interval is None


def cells_of(t: PaperTable, runs: dict[tuple[str, int], Finished], seeds: list[int]) -> dict[tuple[str, str], Cell]:
    return {(row.name, c.key): make_cell(t, row, c, runs, seeds) for row in t.rows for c in t.columns}


def test_equal_rows_are_inside_the_noise_and_very_different_ones_are_not() -> None:
    runs = {
        (name, 0): finished(name, 0, {TRAINED: [predictions(a, s)]})
        for name, a, s in (("a", 0.9, 1), ("b", 0.88, 2), ("c", 0.2, 3))
    }
    t = table([column()], ("a",), ("b",), ("c",), claims=(("a", "b"), ("a", "c")))
    near, far = compare_rows(t, cells_of(t, runs, [0]))
    assert (near.inside_noise, far.inside_noise) == (True, False)
    # Holm: the smallest of two p-values doubled; 2 / 201 is the smallest that 200 resamples can give.
    assert far.p_holm == pytest.approx(2 * 2 / (RESAMPLES + 1))
    assert far.comparison.difference == pytest.approx(far.comparison.a - far.comparison.b)


def test_without_claims_our_best_meets_our_second_best() -> None:
    runs = {
        (name, 0): finished(name, 0, {TRAINED: [predictions(a, s)]})
        for name, a, s in (("a", 0.2, 1), ("b", 0.9, 2), ("c", 0.6, 3))
    }
    t = table([column(), column(key="silent", tested=False)], ("a",), ("b",), ("c",))
    verdicts = compare_rows(t, cells_of(t, runs, [0]))
    assert [(v.a, v.b) for v in verdicts] == [("b", "c")]


def test_a_difference_that_seeds_do_not_share_is_inside_the_noise() -> None:
    """Pairs alone would call it real; the seeds disagree about its sign."""
    samples = np.random.default_rng(0).normal(0.0, 0.001, RESAMPLES)

    def cell(values: list[float]) -> Cell:
        return Cell({seed: SeedValue(value, value + samples) for seed, value in enumerate(values)})

    t = table([column()], ("a",), ("b",), claims=(("a", "b"),))
    (apart,) = compare_rows(t, {("a", "c"): cell([0.9, 0.3, 0.5]), ("b", "c"): cell([0.3, 0.6, 0.4])})
    assert apart.p_holm == pytest.approx(2 / (RESAMPLES + 1))
    assert apart.inside_noise
    (shared,) = compare_rows(t, {("a", "c"): cell([0.9, 0.8, 0.85]), ("b", "c"): cell([0.3, 0.2, 0.26])})
    assert not shared.inside_noise


def test_no_published_value_that_is_not_to_be_compared_reaches_a_difference_or_a_sentence() -> None:
    published = load_published(Path(__file__).parents[3] / "configs/paper_tables.yaml")
    runs: dict[tuple[str, int], Finished] = {}
    report = build_table(published.tables["9"], published, runs, [0], {}, RESAMPLES)
    silent = [cell for row in report.rows for cell in row.cells if not cell.compared]
    assert sorted(cell.published.text for cell in silent) == ["0.6519", "0.8286"]
    assert all(cell.difference_value is None and cell.difference.text == "not compared" for cell in silent)
    assert not report.sentences
