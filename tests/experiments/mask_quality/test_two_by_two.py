"""Runs on trees: equal trees differ in nothing, pairs without a partner are counted, cells are compared as asked."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.evaluation.statistics import score_conditions
from experiments.mask_quality.scored import Side, read_sides
from experiments.mask_quality.two_by_two import Matched, compare_cells, mask_ious, match_pairs, tree_names
from experiments.runs import load_index
from utils.errors import ConfigError, DataError

SEEDS, CLASSES = 2, 3


@pytest.fixture(scope="module")
def sides(tiny_runs: Path) -> list[Side]:
    return read_sides([str(tiny_runs / "both"), str(tiny_runs / "roi")])


@pytest.fixture
def lacking(pair_tree: Path, tmp_path: Path) -> tuple[Path, str]:
    """The tree of pairs less one pair of test, without a manifest; the pair's key."""
    tree = tmp_path / "lacking"
    shutil.copytree(pair_tree, tree)
    (tree / "manifest.csv").unlink()
    roi = sorted((tree / "test" / "roi").rglob("*.png"))[3]
    roi.unlink()
    (tree / "test" / "extra-roi" / roi.parent.name / roi.name).unlink()
    return tree, f"{roi.parent.name}/{roi.stem}"


def test_a_folder_of_seeds_is_one_side(sides: list[Side]) -> None:
    assert [(side.name, side.seeds) for side in sides] == [("both", [0, 1]), ("roi", [0])]


def test_pairs_without_a_partner_are_left_out_and_counted(
    sides: list[Side], pair_tree: Path, lacking: tuple[Path, str]
) -> None:
    tree, key = lacking
    matched = match_pairs(sides, {"whole": pair_tree, "lacking": tree}, None, None)
    assert matched.missing == {"whole": 1, "lacking": 0}
    assert any(note.startswith("1 of the 20 pairs of whole") and key in note for note in matched.notes)
    assert {len(index) for index in matched.indices.values()} == {19}
    whole, other = matched.of_tree("whole"), matched.of_tree("lacking")
    assert [whole.key(row) for row in range(19)] == [other.key(row) for row in range(19)]
    assert key not in {"/".join(whole.key(row)[1:]) for row in range(19)}
    assert mask_ious(whole, other).tolist() == [1.0] * 19


def test_trees_of_other_photos_are_refused(sides: list[Side], pair_tree: Path, tmp_path: Path) -> None:
    tree = tmp_path / "renamed"
    shutil.copytree(pair_tree, tree)
    (tree / "manifest.csv").unlink()
    for path in (tree / "test").rglob("*.png"):
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(DataError, match=r"no pair \(class and photo\) is in all of"):
        match_pairs(sides, {"a": pair_tree, "b": tree}, None, None)


def test_trees_get_short_different_names() -> None:
    assert list(tree_names(["/x/a/pairs", "/x/b/pairs"])) == ["a/pairs", "b/pairs"]
    assert list(tree_names(["/x/annotated", "/x/prompted"])) == ["annotated", "prompted"]
    assert list(tree_names(["/x/pairs", "/x/pairs"])) == ["pairs (1)", "pairs (2)"]


Cells = dict[tuple[str, str], NDArray[np.float32]]


def compared(sides: Sequence[Side], index: PairIndex, logits: Cells, trees: Sequence[str]) -> list[dict[str, object]]:
    named = {"|".join(cell): stack for cell, stack in logits.items()}
    found = score_conditions(index.label, named, index.group, index.classes.ambiguous_indices, resamples=200)
    return compare_cells(sides, trees, {cell: found["|".join(cell)] for cell in logits}, logits, index)


def right_on(index: PairIndex, rows: Sequence[int], runs: int = SEEDS) -> NDArray[np.float32]:
    """Return logits S×N×C that are right on some rows and take the next class elsewhere."""
    answer = (index.label + 1) % CLASSES
    answer[list(rows)] = index.label[list(rows)]
    return np.stack([np.eye(CLASSES, dtype=np.float32)[answer]] * runs)


def test_equal_cells_differ_in_nothing(sides: list[Side]) -> None:
    index = load_index(sides[0].records[0])
    same = right_on(index, range(12))
    for row in compared(sides[:1], index, {("both", "a"): same, ("both", "b"): same}, ["a", "b"]):
        for score in row["scores"].values():  # type: ignore[attr-defined]
            if score is not None:
                assert score["difference"] == 0
                assert score["interval"] == [0, 0]
                assert score["p_value"] == score["p_holm"] == 1
        assert row["mcnemar"] == {"only_a": 0, "only_b": 0, "grouped_p_value": 1.0}


def test_each_difference_is_the_later_cell_less_the_earlier_one(sides: list[Side]) -> None:
    """Right on 8, 12, 14 and 20 of 20 pairs; both sides are made to have the same seeds."""
    index = load_index(sides[0].records[0])
    two = [sides[0], Side("other", sides[0].records)]
    rights = {("both", "a"): 8, ("both", "b"): 12, ("other", "a"): 14, ("other", "b"): 20}
    rows = compared(two, index, {cell: right_on(index, range(count)) for cell, count in rights.items()}, ["a", "b"])
    found = [(row["question"], row["scores"]["top1"]["difference"]) for row in rows]  # type: ignore[index]
    assert [question for question, _ in found] == [
        "test masks, trained on both",
        "test masks, trained on other",
        "training masks, tested on a",
        "training masks, tested on b",
        "both",
    ]
    assert [difference for _, difference in found] == pytest.approx([0.2, 0.3, 0.3, 0.4, 0.6])
    assert [row["mcnemar"]["only_a"] for row in rows] == [2 * n for n in (4, 6, 6, 8, 12)]  # type: ignore[index]


def test_sides_of_other_seeds_have_no_mcnemar(sides: list[Side]) -> None:
    index = load_index(sides[0].records[0])
    logits = {("both", "a"): right_on(index, range(8)), ("roi", "a"): right_on(index, range(9), runs=1)}
    (row,) = compared(sides, index, logits, ["a"])
    assert row["mcnemar"] is None
    assert row["question"] == "training masks, tested on a"


def test_one_folder_named_twice_as_a_run_is_refused(tiny_runs: Path) -> None:
    with pytest.raises(ConfigError, match="twice"):
        read_sides([str(tiny_runs / "roi"), str(tiny_runs / "roi")])


def test_matched_pairs_know_their_tree(pair_tree: Path, sides: list[Side]) -> None:
    matched: Matched = match_pairs(sides[1:], {"only": pair_tree}, None, None)
    assert matched.index is matched.of_tree("only")
    assert matched.missing == {"only": 0}
