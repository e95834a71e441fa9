"""Scores against tables worked by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, top_k_accuracy_score

from utils.errors import RunError
from utils.metrics import in_top, per_class_table, predicted_classes, scores

# Eight pairs, four declared classes; class 3 neither occurs nor is predicted.
TRUTH = np.array([0, 0, 0, 1, 1, 2, 2, 2], dtype=np.int16)
PREDICTED = np.array([0, 0, 1, 1, 2, 2, 2, 0])


def one_hot(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.asarray(np.eye(classes, dtype=np.float32)[predicted])


def test_scores_of_a_table_worked_by_hand() -> None:
    # class 0: 2 hits, 3 truths, 3 predictions: F1 2/3; class 1: 1, 2, 2: 1/2; class 2: 2, 3, 3: 2/3.
    result = scores(TRUTH, one_hot(PREDICTED, 4), ambiguous=(1, 2))
    assert result["top1"] == pytest.approx(5 / 8)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
    assert result["macro_f1_declared"] == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 4)
    assert result["ambiguous_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Among the five pairs of classes 1 and 2: class 1 has 1 hit, 2 truths, 1 prediction: 2/3; class 2 2, 3, 3: 2/3.
    assert result["ambiguous_f1_subset"] == pytest.approx(2 / 3)
    assert (result["n_pairs"], result["n_classes"], result["n_classes_averaged"]) == (8, 4, 3)


def test_a_class_that_is_predicted_but_never_true_counts_zero_in_macro_f1() -> None:
    result = scores(np.array([0, 0]), one_hot(np.array([0, 3]), 8))
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["n_classes_averaged"] == 2
    assert result["macro_f1_declared"] == pytest.approx((2 / 3) / 8)


def test_macro_f1_is_scikit_learns_default_and_not_the_micro_average() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 9, 300)
    logits = generator.normal(size=(300, 12)) + 2 * one_hot(truth, 12)
    result = scores(truth, logits, ambiguous=(0, 4))
    predicted = logits.argmax(1)
    assert result["macro_f1"] == f1_score(truth, predicted, average="macro", zero_division=0)
    assert result["macro_f1"] != pytest.approx(f1_score(truth, predicted, average="micro"))
    assert result["ambiguous_f1"] == f1_score(truth, predicted, labels=[0, 4], average="macro")
    assert result["top5"] == pytest.approx(top_k_accuracy_score(truth, logits, k=5, labels=range(12)))


def test_published_counts_allow_no_more_than_the_hand_calculated_f1() -> None:
    # A two-class table of 72 pairs: 36 of each, 30 and 28 right, no other class predicted.
    truth = np.repeat([0, 1], 36)
    predicted = np.concatenate([np.repeat([0, 1], [30, 6]), np.repeat([0, 1], [8, 28])])
    expected = (60 / (36 + 38) + 56 / (36 + 34)) / 2
    assert scores(truth, one_hot(predicted, 2), ambiguous=(0, 1))["ambiguous_f1"] == pytest.approx(expected)


def test_another_class_taken_for_an_ambiguous_one_lowers_only_the_score_over_all_pairs() -> None:
    truth = np.array([0, 1, 2, 2])
    result = scores(truth, one_hot(np.array([0, 1, 0, 1]), 3), ambiguous=(0, 1))
    assert result["ambiguous_f1"] == pytest.approx(2 / 3)
    assert result["ambiguous_f1_subset"] == 1.0


@pytest.mark.parametrize("ambiguous", [(), (3,)])
def test_ambiguous_scores_are_none_without_such_a_class_in_the_truth(ambiguous: tuple[int, ...]) -> None:
    result = scores(TRUTH, one_hot(PREDICTED, 4), ambiguous)
    assert result["ambiguous_f1"] is None
    assert result["ambiguous_f1_subset"] is None


def test_an_ambiguous_class_without_pairs_or_predictions_is_not_averaged() -> None:
    both = scores(TRUTH, one_hot(PREDICTED, 4), ambiguous=(1, 3))
    assert both["ambiguous_f1"] == scores(TRUTH, one_hot(PREDICTED, 4), ambiguous=(1,))["ambiguous_f1"]


@pytest.mark.parametrize(("classes", "expected"), [(5, None), (6, 5 / 6)])
def test_top5_is_none_where_it_would_be_one_for_anything(classes: int, expected: float | None) -> None:
    # The logits fall with the class index, so only class 5 lies outside the five highest.
    truth = np.arange(classes)
    logits = np.tile(-np.arange(classes, dtype=np.float32), (classes, 1))
    assert scores(truth, logits)["top5"] == (None if expected is None else pytest.approx(expected))


def test_ties_go_to_the_lower_class_in_both_top1_and_top_k() -> None:
    logits = np.zeros((3, 4))
    truth = np.array([0, 1, 2])
    assert predicted_classes(logits).tolist() == [0, 0, 0]
    assert in_top(truth, logits, 1).tolist() == [True, False, False]
    assert in_top(truth, logits, 2).tolist() == [True, True, False]


def test_top_one_and_the_highest_value_agree_for_half_precision() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(500, 30)).astype(np.float16)
    truth = generator.integers(0, 30, 500)
    assert (in_top(truth, logits, 1) == (predicted_classes(logits) == truth)).all()


def test_no_pairs_give_no_scores() -> None:
    result = scores(np.zeros(0, np.int16), np.zeros((0, 7), np.float32), ambiguous=(1,))
    assert {name for name, value in result.items() if value is not None} == {
        "n_pairs",
        "n_classes",
        "n_classes_averaged",
    }
    assert result["n_pairs"] == 0


def test_scores_are_plain_python_numbers() -> None:
    types = {type(value) for value in scores(TRUTH, one_hot(PREDICTED, 7), ambiguous=(1,)).values()}
    assert types == {float, int}


def test_per_class_table_agrees_with_the_confusion_matrix() -> None:
    rows = per_class_table(TRUTH, PREDICTED, 4)
    matrix = confusion_matrix(TRUTH, PREDICTED, labels=range(4))
    assert [row["support"] for row in rows] == matrix.sum(1).tolist()
    assert [row["predicted"] for row in rows] == matrix.sum(0).tolist()
    assert rows[1] == {"class_index": 1, "support": 2, "predicted": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert rows[3] == {"class_index": 3, "support": 0, "predicted": 0, "precision": None, "recall": None, "f1": None}


def test_per_class_table_says_none_only_where_a_fraction_has_no_denominator() -> None:
    never_predicted, never_true = per_class_table(np.array([0]), np.array([1]), 2)
    assert (never_predicted["precision"], never_predicted["recall"], never_predicted["f1"]) == (None, 0.0, 0.0)
    assert (never_true["precision"], never_true["recall"], never_true["f1"]) == (0.0, None, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_numbers_stop_the_scoring(bad: float) -> None:
    logits = one_hot(PREDICTED, 4)
    logits[[2, 5], 1] = bad
    with pytest.raises(RunError, match=r"2 of 8 pairs are not numbers \(first: row 2\)"):
        scores(TRUTH, logits)


def test_a_class_may_be_ruled_out_by_minus_infinity() -> None:
    logits = one_hot(PREDICTED, 4)
    logits[:, 3] = -np.inf
    assert scores(TRUTH, logits)["top1"] == pytest.approx(5 / 8)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="truth must be N and logits N×C"):
        scores(TRUTH[:5], one_hot(PREDICTED, 4))
    with pytest.raises(ValueError, match=r"class indices 0\.\.2 do not fit 2 columns"):
        scores(TRUTH, np.zeros((8, 2)))
