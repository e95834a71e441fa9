"""What can be known of generated plates: the cues of each class and the best score that is possible on each view.

A plate is reduced to symbols: which foods, which sauce, which of its own two cues the sauce shows. The law of these
symbols is enumerated exactly; a classifier is then a rule from what a view shows to a class, and the best rule is
computed. ``docs/plates.md`` lists what is left out.
"""

from collections.abc import Hashable, Iterable, Mapping
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.plates_plan import (
    CLASS_NAMES,
    CLASSES_PER_PHOTO,
    COMPANIONS,
    FOODS,
    NEUTRAL,
    PAIRS,
    SAUCES,
    Plate,
    PlatesConfig,
    food_weights,
)

Matrix = NDArray[np.float64]
View = Literal["roi", "extra_roi", "both"]
VIEWS: tuple[View, ...] = ("roi", "extra_roi", "both")


class Symbols(NamedTuple):
    """A plate without its geometry: food names, sauce name, and the cues (lobed, specked) that the sauce shows."""

    foods: frozenset[str]
    sauce: str | None
    lobed: bool
    specked: bool


def cue_table(config: PlatesConfig) -> dict[str, dict[str, float]]:
    """Return for each class how much of the choice against its twin texture, shape and context each decide.

    0: the cue says nothing; 1: it decides alone. A cue that shows the class's own value with probability p has the
    weight 2p - 1 without its sign. A class and its twin share everything else, colours included.
    """
    table: dict[str, dict[str, float]] = {}
    for pair, cue in PAIRS.items():
        weights = {"texture": 0.0, "shape": 0.0, "context": 0.0}
        if pair == SAUCES:
            shown = {"texture": config.sauce_texture, "shape": config.sauce_shape, "context": config.purity}
            weights = {name: round(abs(2 * p - 1), 12) for name, p in shown.items()}
        else:
            weights[cue] = 1.0
        table |= {name: dict(weights) for name in pair}
    return {name: table[name] for name in CLASS_NAMES}


def sets_of(weights: Mapping[str, float], names: tuple[str, ...], count: int) -> dict[frozenset[str], float]:
    """Return the probability of each set of ``count`` names drawn one after the other without replacement."""
    law = {frozenset[str](): 1.0}
    total = sum(weights[name] for name in names)
    for _ in range(count):
        longer: dict[frozenset[str], float] = {}
        for chosen, p in law.items():
            left = total - sum(weights[name] for name in chosen)
            for name in set(names) - chosen:
                key = chosen | {name}
                longer[key] = longer.get(key, 0.0) + p * weights[name] / left
        law = longer
    return law


def plate_law(config: PlatesConfig) -> dict[Symbols, float]:
    """Return the probability of every plate that ``plan_plate`` can draw, reduced to its symbols."""
    weights = food_weights(config)
    law: dict[Symbols, float] = {}
    for count, p_count in CLASSES_PER_PHOTO.items():
        for foods, p in sets_of(weights, tuple(FOODS), count).items():
            law[Symbols(foods, None, lobed=False, specked=False)] = (1 - config.sauce_share) * p_count * p
        for sauce, host, lobed, specked in product(SAUCES, SAUCES, (False, True), (False, True)):
            p_sauce = 0.5 * config.sauce_share * p_count * (config.purity if sauce == host else 1 - config.purity)
            for shown, reliability in ((lobed, config.sauce_shape), (specked, config.sauce_texture)):
                p_sauce *= reliability if shown == (sauce == SAUCES[1]) else 1 - reliability
            pair = sets_of(weights, COMPANIONS[host], min(count - 1, 2))
            rest = sets_of(weights, NEUTRAL, max(count - 3, 0))
            for (some, p), (others, q) in product(pair.items(), rest.items()):
                key = Symbols(some | others, sauce, lobed, specked)
                law[key] = law.get(key, 0.0) + p_sauce * p * q
    return {symbols: p for symbols, p in law.items() if p > 0}


def symbols_of(plate: Plate) -> Symbols:
    """Reduce a plate to its symbols."""
    foods = frozenset(food.name for food in plate.foods)
    if plate.sauce is None:
        return Symbols(foods, None, lobed=False, specked=False)
    return Symbols(foods, plate.sauce.name, plate.sauce.lobed, plate.sauce.specked)


def observation(symbols: Symbols, name: str, view: View) -> Hashable:
    """Return what a view shows of the class ``name`` on a plate, at best.

    roi: colours, silhouette and texture of the class. extra_roi: its silhouette (the hole), whether the hole lies in
    a dish, and everything about the other classes. both: the two together.
    """
    sauce = (symbols.lobed, symbols.specked) if symbols.sauce else None
    if name == symbols.sauce:
        own: Hashable = ("sauce", *sauce) if sauce else None
        hole: Hashable = ("sauce", symbols.lobed)
        others: Hashable = symbols.foods
    else:
        own = FOODS[name]
        hole = FOODS[name][1]
        others = (symbols.foods - {name}, sauce)
    return {"roi": own, "extra_roi": (hole, others), "both": (own, others)}[view]


def joint_law(law: Mapping[Symbols, float], view: View) -> tuple[list[Hashable], Matrix]:
    """Return the observations of a view and the probability of each with each class (observations × classes)."""
    table: dict[Hashable, Matrix] = {}
    for symbols, p in law.items():
        for name in (*symbols.foods, *((symbols.sauce,) if symbols.sauce else ())):
            row = table.setdefault(observation(symbols, name, view), np.zeros(len(CLASS_NAMES)))
            row[CLASS_NAMES.index(name)] += p
    joint = np.stack(list(table.values()))
    return list(table), joint / joint.sum()


def class_f1(joint: Matrix, rule: Matrix) -> Matrix:
    """Return each class's F1 (nan for a class that never occurs) of a rule: P(class | observation), same shape."""
    hits, predicted, present = (joint * rule).sum(0), joint.sum(1) @ rule, joint.sum(0)
    return np.where(present > 0, 2 * hits / np.maximum(present + predicted, 1e-300), np.nan)


def most_likely_rule(scores: Matrix) -> Matrix:
    """Return the rule that picks the class with the highest score; equal scores share the observation."""
    best = scores >= scores.max(1, keepdims=True) - 1e-12
    rule: Matrix = best / best.sum(1, keepdims=True)
    return rule


def best_f1_rule(joint: Matrix, classes: list[int]) -> Matrix:
    """Return the rule with the highest mean F1 over ``classes``, found by ascent from two starts.

    Mean F1 is a smooth function of the rule; each step moves towards the rule that its gradient favours, as far as
    the mean rises (Frank and Wolfe's method with line search).
    """
    present = joint.sum(0)
    seen = joint.sum(1, keepdims=True)
    active = np.zeros(joint.shape[1])
    active[[c for c in classes if present[c] > 0]] = 1.0
    steps = np.concatenate([[0.0], np.logspace(-5, 0, 60)])[:, None]

    def mean_f1(hits: Matrix, predicted: Matrix) -> Matrix:
        f1: Matrix = (2 * hits / np.maximum(present + predicted, 1e-300)) @ active / active.sum()
        return f1

    best, best_score = most_likely_rule(joint), -1.0
    for rule in (most_likely_rule(joint), joint / seen):
        score = -1.0
        for _ in range(400):
            hits, predicted = (joint * rule).sum(0), (seen * rule).sum(0)
            f1 = 2 * hits / np.maximum(present + predicted, 1e-300)
            gradient = active * (2 * joint - f1 * seen) / np.maximum(present + predicted, 1e-300)
            target = most_likely_rule(gradient / seen)
            scores = mean_f1(
                hits + steps * ((joint * target).sum(0) - hits),
                predicted + steps * ((seen * target).sum(0) - predicted),
            )
            step = float(steps[int(scores.argmax()), 0])
            gain, score = float(scores.max()) - score, float(scores.max())
            rule = rule + step * (target - rule)
            if step == 0 or gain < 1e-10:
                break
        if score > best_score:
            best, best_score = rule, score
    return best


def best_reachable(config: PlatesConfig, plates: Iterable[Plate] | None = None) -> dict[str, dict[str, float | None]]:
    """Return the best ``top1``, ``macro_f1`` and ``ambiguous_f1`` for each view: roi, extra_roi, both.

    Each figure is the highest that any rule can reach in that score alone, in 0..1. Without ``plates`` it is the
    expectation on endless plates. With plates it is what those same rules score on exactly these plates (where a
    rule tosses a coin, on average over the coin); a classifier may exceed it by luck. None where no class occurs.
    """
    law = plate_law(config)
    counts: dict[Symbols, float] = {}
    for plate in plates or ():
        counts[symbols_of(plate)] = counts.get(symbols_of(plate), 0.0) + 1
    return {view: _best_of_view(law, counts if plates is not None else None, view) for view in VIEWS}


def _best_of_view(
    law: dict[Symbols, float], counts: dict[Symbols, float] | None, view: View
) -> dict[str, float | None]:
    seen, joint = joint_law(law, view)
    ambiguous = [CLASS_NAMES.index(name) for name in SAUCES]
    rules = {
        "top1": most_likely_rule(joint / joint.sum(1, keepdims=True)),
        "macro_f1": best_f1_rule(joint, list(range(len(CLASS_NAMES)))),
        "ambiguous_f1": best_f1_rule(joint, ambiguous),
    }
    judged = joint
    if counts is not None:
        rows = {key: row for row, key in enumerate(seen)}
        found, values = joint_law(counts, view)
        judged = np.zeros_like(joint)
        judged[[rows[key] for key in found]] = values
    f1 = {name: class_f1(judged, rule) for name, rule in rules.items()}
    return {
        "top1": round(float((judged * rules["top1"]).sum()), 6),
        "macro_f1": _mean(f1["macro_f1"]),
        "ambiguous_f1": _mean(f1["ambiguous_f1"][ambiguous]),
    }


def _mean(values: Matrix) -> float | None:
    return None if np.isnan(values).all() else round(float(np.nanmean(values)), 6)
