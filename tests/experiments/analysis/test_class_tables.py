"""Classes, confusions and super-categories by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from datasets.class_names import foodseg103_classes
from datasets.classes import ClassMap
from experiments.analysis.classes import class_rows, confusion_rows
from experiments.analysis.supercategories import (
    Supercategories,
    supercategories,
    supercategory_scores,
    supercategory_table,
)
from experiments.resampling import draw_groups

NAMES = ("apple", "pear", "bread", "cake")


def one_hot(predicted: list[int]) -> np.ndarray:
    return np.eye(len(NAMES))[predicted]


def test_confusions_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
    predicted = one_hot([1, 1, 0, 2, 0, 0, 3, 3, 2, 3])
    groups = np.array([5, 5, 6, 7, 5, 6, 8, 9, 9, 9])
    fruit = {"apple": "fruit", "pear": "fruit", "bread": "baked", "cake": "baked"}
    rows = confusion_rows(truth, predicted, groups, NAMES, fruit)
    # Three confusions have two pairs: the larger share of the true class goes first.
    assert [(row["truth"], row["prediction"], row["pairs"], row["groups"]) for row in rows] == [
        ("pear", "apple", 2, 2),
        ("bread", "cake", 2, 2),
        ("apple", "pear", 2, 1),
        ("apple", "bread", 1, 1),
    ]
    assert [row["share_of_truth"] for row in rows] == pytest.approx([1, 2 / 3, 1 / 2, 1 / 4])
    assert [row["same_supercategory"] for row in rows] == [True, True, True, False]
    assert "same_supercategory" not in confusion_rows(truth, predicted, groups, NAMES)[0]
    assert confusion_rows(truth, one_hot(truth.tolist()), groups, NAMES) == []


def test_intervals_of_a_class_are_those_of_repeated_rows() -> None:
    generator = np.random.default_rng(0)
    truth, groups = generator.integers(0, 3, 40), generator.integers(0, 10, 40)
    logits = np.eye(4)[truth] * 1.5 + generator.normal(size=(40, 4)) * [1, 1, 1, 0] - [0, 0, 0, 9]
    rows = class_rows(truth, logits, groups, NAMES, resamples=60, seed=2)
    samples = []
    for weights in draw_groups(10, 12, 60, 2):
        for drawn in weights.T:
            chosen = np.repeat(np.arange(40), drawn[groups])
            samples.append(
                f1_score(truth[chosen], logits[chosen].argmax(1), labels=range(4), average=None, zero_division=np.nan)
            )
    for number in range(3):
        expected = np.nanquantile([sample[number] for sample in samples], [0.025, 0.975])
        assert rows[number]["f1_ci"] == pytest.approx(expected.tolist())
        assert rows[number]["groups"] == np.unique(groups[truth == number]).size
    assert rows[3]["class"] == "cake"
    assert (rows[3]["support"], rows[3]["f1"], rows[3]["f1_ci"]) == (0, None, None)


TRUTH = np.array([0, 0, 2, 1])
PROBABILITY = np.array([[0.2, 0.35, 0.45], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [0.1, 0.3, 0.6]])
TWO = Supercategories(("fruit", "baked"), np.array([0, 0, 1]))


def test_supercategory_accuracy_by_hand() -> None:
    """Pairs 2 and 3 are right by their likeliest class, pair 1 by the sum 0.2 + 0.35 alone, pair 4 by neither."""
    result = supercategory_scores(TRUTH, PROBABILITY, np.arange(4), TWO, resamples=20)
    assert result["supercategory_top1"] == 2 / 4
    assert result["supercategory_top1_summed"] == 3 / 4
    assert result["wrong_within_supercategory"] == pytest.approx(1 / 3)
    low, high = result["supercategory_top1_ci"]
    assert 0 <= low <= 0.5 <= high <= 1
    right = supercategory_scores(np.array([2]), PROBABILITY[2:3], np.arange(1), TWO, resamples=5)
    assert right["wrong_within_supercategory"] is None
    assert right["supercategory_top1_ci"] is None


def test_supercategory_table_by_hand() -> None:
    fruit, baked = supercategory_table(TRUTH, PROBABILITY, TWO)
    assert (fruit["classes"], fruit["support"], baked["classes"], baked["support"]) == (2, 3, 1, 1)
    assert [fruit[key] for key in ("class_top1", "top1", "top1_summed")] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [baked[key] for key in ("class_top1", "top1", "top1_summed", "precision")] == pytest.approx([1, 1, 1, 1 / 3])


def test_the_classes_of_foodseg103_have_fifteen() -> None:
    found = supercategories(foodseg103_classes())
    assert isinstance(found, Supercategories)
    assert len(found.names) == 15
    assert found.of_class.size == 103


def test_without_supercategories_the_reason_is_told() -> None:
    none = supercategories(ClassMap.from_names(NAMES))
    some = supercategories(ClassMap.from_names(NAMES, (), {"apple": "fruit"}))
    one = supercategories(ClassMap.from_names(NAMES, (), dict.fromkeys(NAMES, "food")))
    assert isinstance(none, str)
    assert "the classes have no super-categories" in none
    assert some == "not computed: 3 of 4 classes have no super-category, such as 'pear'"
    assert one == "not computed: all classes lie in one super-category, 'food'"
