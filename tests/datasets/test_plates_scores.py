import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from datasets.plates import (
    CLASS_NAMES,
    SAUCES,
    Plate,
    PlatesConfig,
    best_reachable,
    cue_table,
    plan_plate,
    with_own_companions,
)
from datasets.plates_plan import CLASSES_PER_PHOTO, FOODS, food_weights
from datasets.plates_scores import best_f1_rule, class_f1

MANY = 2000


@pytest.fixture(scope="module")
def plates() -> list[Plate]:
    return [plan_plate(PlatesConfig(photos=MANY, seed=5), index) for index in range(MANY)]


def test_cue_table_names_one_cue_for_each_class() -> None:
    table = cue_table(PlatesConfig(purity=0.95))
    assert list(table) == list(CLASS_NAMES)
    assert table["kiwi"] == {"texture": 1.0, "shape": 0.0, "context": 0.0}
    assert table["octopus"] == {"texture": 0.0, "shape": 1.0, "context": 0.0}
    assert table["ketchup"] == {"texture": 0.0, "shape": 0.0, "context": pytest.approx(0.9)}
    mixed = cue_table(PlatesConfig(purity=0.8, sauce_texture=0.7, sauce_shape=0.9))["chili-paste"]
    assert mixed == pytest.approx({"texture": 0.4, "shape": 0.8, "context": 0.6})


# --- the best score that is possible ---------------------------------------------------------------------------


def test_best_scores_that_can_be_worked_by_hand() -> None:
    best = best_reachable(PlatesConfig(purity=0.8))
    assert best["roi"]["macro_f1"] == pytest.approx((8 + 2 * 0.5) / 10, abs=1e-6)
    assert best["roi"]["ambiguous_f1"] == pytest.approx(0.5, abs=1e-6)
    assert best["extra_roi"]["ambiguous_f1"] == pytest.approx(0.8, abs=1e-6)
    assert best["both"]["ambiguous_f1"] == pytest.approx(0.8, abs=1e-6)
    assert best["both"]["macro_f1"] == pytest.approx((8 + 2 * 0.8) / 10, abs=1e-6)
    sauces = 0.5 / 3.65  # a sauce in half of the photos, 3.65 pairs a photo
    assert best["roi"]["top1"] == pytest.approx(1 - 0.5 * sauces, abs=1e-6)
    assert best["both"]["top1"] == pytest.approx(1 - 0.2 * sauces, abs=1e-6)


def test_companions_that_are_twins_say_as_much_as_companions_of_another_colour() -> None:
    best = best_reachable(PlatesConfig(purity=0.9, companions="twins"))
    assert best["extra_roi"]["ambiguous_f1"] == pytest.approx(0.9, abs=1e-6)
    assert best["roi"]["ambiguous_f1"] == pytest.approx(0.5, abs=1e-6)


def test_best_scores_with_three_equal_cues_are_those_of_the_majority() -> None:
    best = best_reachable(PlatesConfig(purity=0.8, sauce_texture=0.8, sauce_shape=0.8))
    assert best["both"]["ambiguous_f1"] == pytest.approx(0.8**3 + 3 * 0.8**2 * 0.2, abs=1e-6)
    assert best["roi"]["ambiguous_f1"] == pytest.approx(0.8, abs=1e-3)
    weak = best_reachable(PlatesConfig(purity=0.8, sauce_texture=0.9))
    assert weak["both"]["ambiguous_f1"] == pytest.approx(0.9, abs=1e-6)


def test_best_top1_on_extra_roi_agrees_with_counting_ordered_draws() -> None:
    """All ordered draws, one by one: what the hole and the other foods leave open, the likeliest class wins."""
    config = PlatesConfig(sauce_share=0.0)
    weights = food_weights(config)
    table: dict[tuple[str, frozenset[str], str], float] = {}
    for count, p_count in CLASSES_PER_PHOTO.items():
        for order in itertools.permutations(FOODS, count):
            p, left = p_count, sum(weights.values())
            for name in order:
                p *= weights[name] / left
                left -= weights[name]
            for name in order:
                key = (FOODS[name][1], frozenset(order) - {name}, name)
                table[key] = table.get(key, 0.0) + p
    likeliest: dict[tuple[str, frozenset[str]], float] = {}
    for (hole, others, _), p in table.items():
        likeliest[hole, others] = max(likeliest.get((hole, others), 0.0), p)
    expected = sum(likeliest.values()) / sum(table.values())
    assert best_reachable(config)["extra_roi"]["top1"] == pytest.approx(expected, abs=1e-6)
    assert best_reachable(config)["roi"] == {"top1": 1.0, "macro_f1": 1.0, "ambiguous_f1": None}


def test_best_f1_rule_is_no_worse_than_any_rule_on_a_grid() -> None:
    steps = [(a / 10, b / 10, 1 - (a + b) / 10) for a in range(11) for b in range(11 - a)]
    rows = np.array(steps)
    for seed in range(6):
        joint = np.random.default_rng(seed).dirichlet(np.full(6, 0.6)).reshape(2, 3)
        first, second = (a.reshape(-1, 3) for a in np.meshgrid(np.arange(66), np.arange(66)) for a in [rows[a]])
        hits = joint[0] * first + joint[1] * second
        predicted = joint[0].sum() * first + joint[1].sum() * second
        brute = (2 * hits / (predicted + joint.sum(0))).mean(1).max()
        rule = best_f1_rule(joint, [0, 1, 2])
        assert np.allclose(rule.sum(1), 1)
        assert rule.min() >= 0
        assert class_f1(joint, rule).mean() >= brute - 1e-6


def test_no_lookup_rule_beats_the_best_reachable_score_by_more_than_luck(plates: list[Plate]) -> None:
    """A rule learned from half of the plates stays at or below what is said to be possible on the other half."""
    config = PlatesConfig(photos=MANY, seed=5)
    table: dict[Any, Counter[str]] = {}
    truth, guess = [], []
    for half in (0, 1):
        for plate in plates[half::2]:
            for name in plate.names:
                hole = FOODS[name][1] if name in FOODS else "dish"
                key = (hole, frozenset(plate.names) - {name})
                if half == 0:
                    table.setdefault(key, Counter())[name] += 1
                else:
                    truth.append(name)
                    guess.append(table[key].most_common(1)[0][0] if key in table else "octopus")
    best = best_reachable(config, plates[1::2])["extra_roi"]
    assert best["top1"] is not None
    top1 = np.mean([a == b for a, b in zip(truth, guess, strict=True)])
    assert best["top1"] - 0.05 < top1 < best["top1"] + 0.01


def test_scores_on_given_plates_are_those_of_the_rule_applied_to_them(plates: list[Plate]) -> None:
    some = plates[:200]
    truth = [plate.sauce.name for plate in some if plate.sauce]
    other = dict(zip(SAUCES, SAUCES[::-1], strict=True))
    guess = [
        plate.sauce.name if with_own_companions(PlatesConfig(), plate) else other[plate.sauce.name]
        for plate in some
        if plate.sauce
    ]
    expected = f1_score(truth, guess, average="macro")
    best = best_reachable(PlatesConfig(), some)
    assert best["both"]["ambiguous_f1"] == pytest.approx(expected, abs=1e-6)
    assert best["both"]["macro_f1"] == pytest.approx((8 + 2 * expected) / 10, abs=1e-6)
