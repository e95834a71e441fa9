"""The states of generators, put away and put back."""

import io
import random

import numpy as np
import torch

from utils.seeding import random_states, restore_random_states, seed_everything


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]  # noqa: NPY002


def test_generators_go_on_where_they_were_after_a_trip_through_a_file() -> None:
    before = random_states()
    try:
        draw()  # numpy keeps the second of two normal numbers
        buffer = io.BytesIO()
        torch.save(random_states(), buffer)
        expected = [draw() for _ in range(3)]
        seed_everything(5)
        random.seed(1)
        np.random.seed(2)  # noqa: NPY002
        assert draw() != expected[0]
        buffer.seek(0)
        restore_random_states(torch.load(buffer, weights_only=True))
        assert [draw() for _ in range(3)] == expected
    finally:
        restore_random_states(before)
