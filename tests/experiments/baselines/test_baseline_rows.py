"""The rows that reports print."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from datasets.index import PairIndex
from experiments.baselines.rows import BASELINES, baseline_rows
from experiments.statistics import scores_with_intervals
from utils.errors import DataError


@pytest.fixture(scope="module")
def splits(pair_tree: Path) -> tuple[PairIndex, PairIndex]:
    return PairIndex.from_tree(pair_tree, "train"), PairIndex.from_tree(pair_tree, "test")


def test_rows_have_a_runs_scores_in_the_order_promised(splits: tuple[PairIndex, PairIndex]) -> None:
    train, test = splits
    rows = baseline_rows(train, test, resamples=50)
    assert tuple(row["model"] for row in rows) == BASELINES
    wanted = scores_with_intervals(test.label, np.zeros((len(test), 3)), test.group, resamples=1).keys()
    assert all(row.keys() == {"model", *wanted} for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    by_name = {row["model"]: row for row in rows}
    commonest = train.class_counts().argmax()
    assert by_name["majority class"]["top1"] == pytest.approx((test.label == commonest).mean())
    # The three foods of this tree differ by colour, and lie anywhere.
    assert by_name["colour histogram"]["top1"] == 1
    assert by_name["geometry only"]["top1"] < 0.8
    # Two foods a photo: the other name leaves two to choose from.
    assert by_name["label-only context"]["top1"] < 0.8


def test_colours_can_be_left_out(splits: tuple[PairIndex, PairIndex]) -> None:
    row = baseline_rows(*splits, resamples=5, colour=False)[-1]
    assert row == {"model": "colour histogram", "note": "not fitted: colours were switched off"}


def test_without_a_manifest_geometry_is_measured(
    splits: tuple[PairIndex, PairIndex], pair_tree: Path, tmp_path: Path
) -> None:
    tree = shutil.copytree(pair_tree, tmp_path / "tree")
    (tree / "manifest.csv").unlink()
    bare = [PairIndex.from_tree(tree, split) for split in ("train", "test")]
    ours, theirs = baseline_rows(*bare, resamples=5, colour=False), baseline_rows(*splits, resamples=5, colour=False)
    assert [row.get("top1") for row in ours] == [row.get("top1") for row in theirs]


def test_scores_on_the_training_pairs_say_so(splits: tuple[PairIndex, PairIndex]) -> None:
    rows = baseline_rows(splits[0], splits[0], resamples=5, colour=False)
    assert all("fitted on (split train)" in row["note"] for row in rows[:-1])


def test_other_classes_in_test_are_refused(splits: tuple[PairIndex, PairIndex]) -> None:
    train, test = splits
    with pytest.raises(DataError, match=r"only in .*train: tomato; only in .*test: none"):
        baseline_rows(train, test.without(["tomato"]), resamples=5)
    with pytest.raises(DataError, match=r"the split train of .* holds no pair"):
        baseline_rows(train.subset([]), test, resamples=5)
