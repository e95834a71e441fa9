"""What can be known of generated plates: the cues of each class and the best score that is possible on each view.

A plate is reduced to symbols: which foods, which sauce, which of its own two cues the sauce shows. The law of these
symbols is enumerated exactly; a classifier is then a rule from what a view shows to a class, and the best rule is
computed. ``docs/plates.md`` lists what is left out.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
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
            pair = sets_of(weights, COMPANIONS[config.companions][host], min(count - 1, 2))
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
    f1: Matrix = np.where(present > 0, 2 * hits / np.maximum(present + predicted, 1e-300), np.nan)
    return f1


def most_likely_rule(scores: Matrix) -> Matrix:
    """Return the rule that picks the class with the highest score; equal scores share the observation."""
    best = scores >= scores.max(1, keepdims=True) - 1e-12
    rule: Matrix = best / best.sum(1, keepdims=True)
    return rule


def best_f1_rule(joint: Matrix, classes: list[int]) -> Matrix:
    """Return the rule with the highest mean F1 over ``classes``, found by ascent from two starts.

    Mean F1 is a smooth function of the rule. One observation after the other moves probability from the class that
    the gradient favours least to the one that it favours most, as far as the mean rises, until nothing rises.
    """
    active = [c for c in classes if joint[:, c].any()]
    posterior: Matrix = joint / joint.sum(1, keepdims=True)
    starts = [most_likely_rule(posterior), posterior]
    if not active:
        return starts[0]
    found = [_ascend(joint, start, active) for start in starts]
    means = [float(class_f1(joint, rule)[active].mean()) for rule in found]
    return found[means.index(max(means))]


def _ascend(joint: Matrix, start: Matrix, active: list[int]) -> Matrix:
    rule, seen = start.copy(), joint.sum(1)
    weight = np.isin(np.arange(joint.shape[1]), active) / len(active)
    hits, size = 2 * (joint * rule).sum(0), np.maximum(joint.sum(0) + seen @ rule, 1e-300)
    steps = np.concatenate([[0.0], np.logspace(-6, 0, 60)])
    for _ in range(100):
        before = float(weight @ (hits / size))
        for row, held in enumerate(rule):
            gradient = weight * (2 * joint[row] - seen[row] * hits / size) / size
            pair = [int(gradient.argmax()), int(np.where(held > 0, gradient, np.inf).argmin())]
            if gradient[pair[0]] - gradient[pair[1]] < 1e-9:
                continue
            moved = np.array([1.0, -1.0]) * held[pair[1]] * steps[:, None]
            more_hits, more_size = hits[pair] + 2 * joint[row, pair] * moved, size[pair] + seen[row] * moved
            best = int((more_hits / more_size @ weight[pair]).argmax())
            held[pair] = np.maximum(held[pair] + moved[best], 0)
            hits[pair], size[pair] = more_hits[best], more_size[best]
        if float(weight @ (hits / size)) < before + 1e-8:
            break
    return rule


def best_reachable(config: PlatesConfig, plates: Iterable[Plate] | None = None) -> dict[str, dict[str, float | None]]:
    """Return the best ``top1``, ``macro_f1`` and ``ambiguous_f1`` for each view: roi, extra_roi, both.

    Each figure is the highest that any rule can reach in that score alone, in 0..1. Without ``plates`` it is the
    expectation on endless plates. With plates it is what those same rules score on exactly these plates (where a
    rule tosses a coin, on average over the coin); a classifier may exceed it by luck. None where no class occurs.
    """
    counts: dict[Symbols, float] | None = None
    if plates is not None:
        plates = list(plates)
        if not plates:
            raise ValueError("no plates to score")
        counts = {symbols: float(count) for symbols, count in Counter(map(symbols_of, plates)).items()}
    return {view: _scores(_best_rules(config, view), counts, view) for view in VIEWS}


class _Rules(NamedTuple):
    rows: dict[Hashable, int]
    joint: Matrix
    top1: Matrix
    macro_f1: Matrix
    ambiguous_f1: Matrix


@lru_cache(maxsize=16)
def _best_rules(config: PlatesConfig, view: View) -> _Rules:
    seen, joint = joint_law(plate_law(config), view)
    every, ambiguous = list(range(len(CLASS_NAMES))), [CLASS_NAMES.index(name) for name in SAUCES]
    top1 = most_likely_rule(joint / joint.sum(1, keepdims=True))
    rows = {key: row for row, key in enumerate(seen)}
    return _Rules(rows, joint, top1, best_f1_rule(joint, every), best_f1_rule(joint, ambiguous))


def _scores(rules: _Rules, counts: dict[Symbols, float] | None, view: View) -> dict[str, float | None]:
    judged = rules.joint
    if counts is not None:
        found, values = joint_law(counts, view)
        judged = np.zeros_like(rules.joint)
        judged[[rules.rows[key] for key in found]] = values
    ambiguous = [CLASS_NAMES.index(name) for name in SAUCES]
    return {
        "top1": round(float((judged * rules.top1).sum()), 6),
        "macro_f1": _mean(class_f1(judged, rules.macro_f1)),
        "ambiguous_f1": _mean(class_f1(judged, rules.ambiguous_f1)[ambiguous]),
    }


def _mean(values: Matrix) -> float | None:
    return None if np.isnan(values).all() else round(float(np.nanmean(values)), 6)
