import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import draws
from datasets.classes import ClassMap
from datasets.index import PairIndex
from datasets.scan import ScannedPair
from datasets.splits import inverse_class_weights, labelled_part, split_by_group
from utils.errors import ConfigError


def make_index(rows: list[tuple[int, str, str]]) -> PairIndex:
    """Rows of (class index, stem, group)."""
    pairs = [ScannedPair(label, stem, group, (8, 8), (".png", ".png"), b"") for label, stem, group in rows]
    classes = ClassMap.from_names(f"class {label}" for label in range(max(row[0] for row in rows) + 1))
    return PairIndex.from_pairs(Path("tree"), "train", classes, pairs, [])


def group_set(index: PairIndex) -> set[str]:
    return {index.group_names[code] for code in index.group}


PHOTOS = make_index([(label, f"p{photo}", f"train/p{photo}") for label in range(3) for photo in range(40)])


def test_whole_groups_go_and_every_pair_goes_somewhere() -> None:
    train, validation = split_by_group(PHOTOS, 0.25, seed=0)
    assert len(group_set(validation)) == 10
    assert not group_set(train) & group_set(validation)
    keys = [index.key(row) for index in (train, validation) for row in range(len(index))]
    assert sorted(keys) == sorted(PHOTOS.key(row) for row in range(len(PHOTOS)))
    assert validation.classes == PHOTOS.classes


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    _, validation = split_by_group(PHOTOS, 0.25, seed=0)
    shuffled = PHOTOS.subset(np.random.default_rng(5).permutation(len(PHOTOS)))
    _, again = split_by_group(shuffled, 0.25, seed=0)
    _, other = split_by_group(PHOTOS, 0.25, seed=1)
    assert group_set(again) == group_set(validation)
    assert group_set(other) != group_set(validation)


@pytest.mark.parametrize("seed", range(10))
def test_no_class_loses_its_last_training_pair(seed: int) -> None:
    rare = make_index([(0, f"p{i}", f"g{i}") for i in range(10)] + [(1, "p0", "g0"), (2, "p1", "g1"), (2, "p2", "g2")])
    train, validation = split_by_group(rare, 0.5, seed)
    assert (train.class_counts() > 0).all()
    assert len(group_set(validation)) == 5
    assert "g0" not in group_set(validation)


def test_a_split_that_leaves_nothing_to_train_on() -> None:
    two = make_index([(0, "a", "g0"), (1, "b", "g0"), (0, "c", "g1"), (1, "d", "g1")])
    assert len(split_by_group(two, 0.5, 0)[1]) == 2
    with pytest.raises(ConfigError, match=r"data\.validation_fraction 0\.9 of 2 group\(s\) leaves nothing to train on"):
        split_by_group(two, 0.9, 0)


def test_a_split_that_cannot_hold_anything_out() -> None:
    with pytest.raises(ConfigError, match=r"each of the 2 groups holds the only training pairs of some class"):
        split_by_group(make_index([(0, "a", "g0"), (1, "b", "g1")]), 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.validation_fraction is .*; allowed: above 0 and below 1"):
        split_by_group(PHOTOS, fraction, 0)


def test_class_weights_worked_by_hand() -> None:
    # 8 pairs in 2 classes that have any: 8 / (2·6) and 8 / (2·2); mean over the pairs (6·2/3 + 2·2) / 8 = 1
    assert inverse_class_weights(np.array([6, 0, 2])).tolist() == pytest.approx([2 / 3, 0, 2])
    assert inverse_class_weights(np.array([5, 5, 5])).tolist() == [1, 1, 1]


def test_draws_are_the_same_in_another_process_with_another_hash_seed() -> None:
    program = "from datasets import draws; print(draws.key_hash(3, 4, 'flip', 'train/chili paste/p1'))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) == draws.key_hash(3, 4, "flip", "train/chili paste/p1")


def test_draws_change_with_each_of_seed_epoch_purpose_and_key() -> None:
    base = (0, 0, "flip", "train/a/p1")
    others = [(1, 0, "flip", "train/a/p1"), (0, 1, "flip", "train/a/p1"), (0, 0, "crop", "train/a/p1")]
    others += [(0, 0, "flip", "train/a/p2"), (0, 0, "flip", "test/a/p1"), (0, 10, "flip", "train/a/p1")]
    assert len({draws.uniform(*parts) for parts in [base, *others]}) == 7
    assert len({float(draws.generator(*parts).uniform()) for parts in [base, *others]}) == 7


def test_uniform_draws_are_uniform() -> None:
    numbers = np.array([draws.uniform(0, epoch, "flip", f"train/a/{i}") for epoch in range(20) for i in range(500)])
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(counts - 1000).max() < 5 * 30  # five deviations of a binomial count, sqrt(10000·0.1·0.9) = 30
    assert abs(np.corrcoef(numbers[:-500], numbers[500:])[0, 1]) < 0.05


def test_torchs_own_random_state_is_put_back_even_after_an_error() -> None:
    def fail_inside() -> None:
        with draws.torch_seeded(0, 0, "colour", "key"):
            assert torch.equal(torch.rand(3), first)
            raise ZeroDivisionError

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with draws.torch_seeded(0, 0, "colour", "key"):
        first = torch.rand(3)
    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert torch.equal(torch.rand(3), expected)


# 40 photos with pairs of three classes, and one class that two photos have.
LABELLED = make_index(
    [(label, f"p{photo}", f"train/p{photo}") for label in range(3) for photo in range(40)]
    + [(3, "p7", "train/p7"), (3, "p9", "train/p9")]
)


def test_a_part_of_the_labels_holds_the_same_part_of_each_class_and_none_is_lost() -> None:
    assert labelled_part(LABELLED, 0.1, seed=0).class_counts().tolist() == [4, 4, 4, 1]
    assert labelled_part(LABELLED, 0.001, seed=0).class_counts().tolist() == [1, 1, 1, 1]
    assert labelled_part(LABELLED, 1.0, seed=0) is LABELLED


@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_part_of_the_labels_lies_within_a_larger_one(seed: int) -> None:
    parts = [labelled_part(LABELLED, fraction, seed) for fraction in (0.03, 0.1, 0.5, 1.0)]
    keys = [{part.key(row) for row in range(len(part))} for part in parts]
    assert keys[0] < keys[1] < keys[2] < keys[3]


def test_pairs_of_one_photo_are_labelled_together() -> None:
    part = labelled_part(LABELLED, 0.25, seed=0)
    photos = [{part.stems[row] for row in np.flatnonzero(part.label == label)} for label in range(3)]
    assert photos[0] == photos[1] == photos[2]
    assert len(photos[0]) == 10


def test_the_part_of_the_labels_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    shuffled = LABELLED.subset(np.random.default_rng(5).permutation(len(LABELLED)))
    parts = [labelled_part(index, 0.2, seed) for index, seed in ((LABELLED, 0), (shuffled, 0), (LABELLED, 1))]
    one, again, other = ({part.key(row) for row in range(len(part))} for part in parts)
    assert again == one
    assert other != one
