"""What changed in the pairs of a run, told from their summaries."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.changes import SUMMARY_KEYS, describe_change
from datasets.index import PairIndex


@pytest.fixture(scope="module")
def index(pair_tree: Path) -> PairIndex:
    return PairIndex.from_tree(pair_tree, "train")


def change(before: PairIndex, after: PairIndex) -> list[str]:
    one, other = ({"train": json.loads(json.dumps(side.summary()))} for side in (before, after))
    return describe_change(one, other)


def test_nothing_changed(index: PairIndex, pair_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(pair_tree, tmp_path / "copy")
    assert change(index, PairIndex.from_tree(tmp_path / "copy", "train")) == []
    assert set(index.summary()) == SUMMARY_KEYS
    assert index.summary()["pairs"] == sum(index.summary()["classes"].values()) == 48


def test_a_pair_that_is_gone_is_told_by_its_class(index: PairIndex) -> None:
    tomatoes = int((index.label == 0).sum())
    rows = [row for row in range(len(index)) if row != 0]
    assert change(index, index.subset(rows)) == [f"train: class 'tomato' had {tomatoes} pairs and has {tomatoes - 1}"]


def test_a_class_that_is_gone_or_new(index: PairIndex) -> None:
    count = int((index.label == 1).sum())
    assert change(index, index.without(["spinach"])) == [
        f"train: class 'spinach' had {count} pairs and is no class now"
    ]
    assert change(index.without(["spinach"]), index) == [f"train: class 'spinach' was no class and has {count} pairs"]


def test_other_photos_sizes_content_and_groups_are_told_apart(index: PairIndex) -> None:
    assert index.source_digest is not None
    stems = replace(index, stems=["other", *index.stems[1:]])
    assert change(index, stems) == ["train: as many pairs in each class, but of other photos"]
    assert change(index, replace(index, size=index.size + 1)) == ["train: the same pairs, but pictures of other sizes"]
    content = replace(index, source_digest=np.roll(index.source_digest, 1, axis=0))
    assert change(index, content) == ["train: the same pairs, but photos or masks of other content"]
    groups = replace(index, group=np.zeros_like(index.group))
    assert change(index, groups) == ["train: the same pairs in other groups (24 and now 1)"]
    renamed = replace(index, group_names=[f"film {name}" for name in index.group_names])
    assert change(index, renamed) == []
    (line,) = change(index, replace(index, source_digest=None))
    assert line == (
        "train: the same pairs, but there was a manifest and there is none now: their content cannot be compared"
    )


def test_many_classes_are_counted_and_splits_are_named() -> None:
    def summary(pairs: int) -> dict[str, object]:
        return {"pairs": 9 * pairs, "classes": {f"food {n}": pairs for n in range(9)}}

    lines = describe_change({"train": summary(2), "validation": summary(1)}, {"train": summary(3)})
    assert lines[0] == "train: class 'food 0' had 2 pairs and has 3"
    assert lines[6] == "train: and 3 more classes differ (18 pairs in all and now 27)"
    assert lines[7:] == ["validation: there were 9 pairs and there is no such split now"]
