"""Lengths of trainings and what is read off frozen features, against numbers worked out by hand."""

import numpy as np
import pytest

from experiments.pretraining.study.frozen import linear_probe, nearest_neighbours
from experiments.pretraining.study.longer import longer_epochs
from experiments.pretraining.study.plan import equal_epochs


def test_passes_make_the_same_number_of_steps() -> None:
    # 1775, 176 and 16 pairs in batches of 50: 36, 4 and 1 steps a pass.
    assert equal_epochs({0.01: 1, 0.1: 4, 1.0: 36}, 72) == {0.01: 72, 0.1: 18, 1.0: 2}
    # 80 steps are nearer to 2 passes of 36 than to 3.
    assert equal_epochs({0.01: 1, 0.1: 4, 1.0: 36}, 80) == {0.01: 72, 0.1: 18, 1.0: 2}
    # A pass that is longer than asked for is taken whole, and the others follow it: 93, 90 of 93, 93.
    assert equal_epochs({0.01: 1, 0.1: 10, 1.0: 93}, 40) == {0.01: 93, 0.1: 9, 1.0: 1}


def test_the_longer_training_takes_the_seconds_of_pre_training_more() -> None:
    # 2 passes of 36 steps took 36 s, half a second each; 60 s are 120 steps more, 3.3 passes.
    assert longer_epochs(2, 36, 36.0, 60.0) == 2 + 4
    assert longer_epochs(72, 1, 36.0, 60.0) == 72 + 120


def test_the_probe_and_the_neighbours_tell_apart_what_is_apart() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    # By direction: a probe and the cosine both see it.
    train, test = (np.eye(3)[labels] * 4 + draw.normal(0, 0.5, (60, 3)) for _ in range(2))
    logits, iterations, converged = linear_probe(train.astype(np.float32), labels, test.astype(np.float32), 1.0)
    assert converged
    assert iterations > 1
    assert (logits.argmax(axis=1) == labels).all()
    assert np.exp(logits).sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    votes = nearest_neighbours(train.astype(np.float32), labels, test.astype(np.float32), 5)
    assert (votes.argmax(axis=1) == labels).all()


def test_neighbours_go_by_the_angle_and_nearer_ones_count_more() -> None:
    train = np.array([[1, 0], [0, 9], [1, 3]], dtype=np.float32)
    test = np.array([[50, 1]], dtype=np.float32)
    angles = 1 - np.array([50, 1, 53 / np.sqrt(10)]) / np.sqrt(2501)
    expected = (1 / angles) / (1 / angles).sum()
    votes = nearest_neighbours(train, np.array([0, 1, 1]), test, 20)  # more than there are: all three
    assert np.exp(votes[0]) == pytest.approx([expected[0], expected[1] + expected[2]], rel=1e-3)
