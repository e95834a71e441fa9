"""Baselines against published figures and against the law from which generated plates are drawn."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from datasets.plates_plan import CLASS_NAMES, SAUCES, PlatesConfig, plan_plate
from datasets.plates_scores import plate_law
from experiments.baselines import models
from experiments.baselines.features import label_context
from utils.metrics import scores


class Table(NamedTuple):
    labels: np.ndarray
    photos: np.ndarray
    geometry: np.ndarray


def test_a_class_without_training_pair_is_ruled_out() -> None:
    train, test = np.array([[0.0, 1], [1, 0], [0, 2]]), np.array([[0.0, 3], [2, 0]])
    values = models.from_colours(train, np.array([1, 3, 1]), test, 4)
    assert np.isneginf(values[:, [0, 2]]).all()
    assert values.argmax(axis=1).tolist() == [1, 3]
    np.testing.assert_allclose(np.exp(values).sum(axis=1), 1)
    assert models.majority(np.array([1, 3, 1]), 2, 4)[0].tolist() == pytest.approx(
        [-np.inf, np.log(2 / 3), -np.inf, np.log(1 / 3)]
    )


def test_a_single_training_class_is_predicted_for_all() -> None:
    values = models.from_geometry(np.zeros((3, 5)), np.array([2, 2, 2]), np.ones((2, 5)), 4)
    assert values.argmax(axis=1).tolist() == [2, 2]


def test_on_foodseg103_the_published_figures_are_met(real_data: Path) -> None:
    """Labels alone 21.6 % and macro-F1 6.6, with geometry 24.4 and 8.7, majority 5.4 %, on another random split.

    Over three splits by photo: labels 22.0 to 22.2 and 7.0 to 7.2, with geometry 24.5 to 24.9 and 9.1, majority 5.0
    to 5.5. The tolerance is two standard errors of a test set of 7,800 pairs, and what solvers differ by.
    """
    path = real_data / "foodseg103_objects.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["class"] for row in rows})
    labels = np.array([names.index(row["class"]) for row in rows])
    photos = np.unique([row["image"] for row in rows], return_inverse=True)[1]
    parts = [("area_percent", "100"), ("bbox_height_px", "image_height"), ("bbox_width_px", "image_width")]
    geometry = np.array([[float(row[a]) / float(row.get(b, b)) for a, b in parts] for row in rows])
    count = photos.max() + 1
    test = np.isin(photos, np.random.default_rng(0).permutation(count)[: round(0.3 * count)])
    context = label_context(labels, photos, len(names))
    seen = context[~test], labels[~test], context[test]
    found = {
        "majority": models.majority(labels[~test], int(test.sum()), len(names)),
        "labels": models.from_labels(*seen),
        "geometry too": models.from_labels_and_geometry(seen[0], geometry[~test], seen[1], seen[2], geometry[test]),
    }
    result = {name: scores(labels[test], values) for name, values in found.items()}
    assert (len(rows), count, len(names)) == (26_016, 7_118, 103)
    assert result["majority"]["top1"] == pytest.approx(0.054, abs=0.006)
    assert result["labels"]["top1"] == pytest.approx(0.216, abs=0.012)
    assert result["labels"]["macro_f1"] == pytest.approx(0.066, abs=0.01)
    assert result["geometry too"]["top1"] == pytest.approx(0.244, abs=0.012)
    assert result["geometry too"]["macro_f1"] == pytest.approx(0.087, abs=0.01)


@pytest.fixture(scope="module")
def plates() -> dict[str, Table]:
    """Labels and geometry of 1,200 generated plates, read from their plans."""
    config = PlatesConfig(photos=1200)
    rows: dict[str, list[tuple[int, int, list[float]]]] = {"train": [], "test": []}
    for number in range(config.photos):
        plate = plan_plate(config, number)
        boxes = {f.name: (f.x - f.radius, f.y - f.radius, 2 * f.radius, 2 * f.radius) for f in plate.foods}
        if plate.sauce is not None:
            boxes[plate.sauce.name] = plate.sauce.box
        for name, (left, top, width, height) in boxes.items():
            across, down = width / plate.width, height / plate.height
            place = [0.75 * across * down, left / plate.width, top / plate.height, across, down]
            rows[plate.split].append((CLASS_NAMES.index(name), number, place))
    return {split: Table(*map(np.array, zip(*found, strict=True))) for split, found in rows.items()}


def best_from_labels(config: PlatesConfig) -> tuple[float, float]:
    """Return top-1 and ambiguous-F1 of the most likely class given the other names, on endless plates."""
    law: dict[frozenset[str], np.ndarray] = {}
    for symbols, p in plate_law(config).items():
        names = symbols.foods | ({symbols.sauce} if symbols.sauce else set())
        for name in names:
            law.setdefault(names - {name}, np.zeros(len(CLASS_NAMES)))[CLASS_NAMES.index(name)] += p
    joint = np.array(list(law.values()))
    predicted = joint.argmax(axis=1)
    f1 = []
    for sauce in map(CLASS_NAMES.index, SAUCES):
        chosen = predicted == sauce
        f1.append(2 * joint[chosen, sauce].sum() / (joint[chosen].sum() + joint[:, sauce].sum()))
    return joint.max(axis=1).sum() / joint.sum(), float(np.mean(f1))


def between_sauces(truth: np.ndarray, values: np.ndarray) -> float:
    """Macro-F1 of the choice between the two sauces, where it is known that it is one of them."""
    sauces = [CLASS_NAMES.index(name) for name in SAUCES]
    rows = np.isin(truth, sauces)
    score = scores(truth[rows] - sauces[0], values[rows][:, sauces])["macro_f1"]
    assert isinstance(score, float)
    return score


def test_on_plates_names_tell_the_sauces_apart_as_often_as_they_come_with_their_own(plates: dict[str, Table]) -> None:
    train, test = plates["train"], plates["test"]
    contexts = [label_context(part.labels, part.photos, len(CLASS_NAMES)) for part in (train, test)]
    values = models.from_labels(contexts[0], train.labels, contexts[1])
    ambiguous = [CLASS_NAMES.index(name) for name in SAUCES]
    result = scores(test.labels, values, ambiguous)
    top1, ambiguous_f1 = best_from_labels(PlatesConfig())
    # Names do not tell that the missing one is a sauce, so the purity is met only where that is known.
    assert (round(top1, 3), round(ambiguous_f1, 3)) == (0.528, 0.706)
    assert result["top1"] == pytest.approx(top1, abs=0.05)
    assert result["ambiguous_f1"] == pytest.approx(ambiguous_f1, abs=0.06)
    assert between_sauces(test.labels, values) == pytest.approx(PlatesConfig().purity, abs=0.04)


def test_on_plates_geometry_tells_nothing_of_the_sauces(plates: dict[str, Table]) -> None:
    train, test = plates["train"], plates["test"]
    values = models.from_geometry(train.geometry, train.labels, test.geometry, len(CLASS_NAMES))
    # 170 sauces: the standard error of a coin is 0.04.
    assert between_sauces(test.labels, values) == pytest.approx(0.5, abs=0.1)
