"""Measures of a split in one process; ``tests/experiments/test_processes.py`` has those of two."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from utils.batch import Batch
from utils.devices import make_accelerator
from utils.measures import compute_measures
from utils.sections import TrainConfig


class Doubles:
    """Measures twice the brightness of a picture, and whether the label is 1."""

    def measures(self, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        return {"light": 2 * views["roi"].mean(dim=(1, 2, 3)), "one": label == 1}


def batches(rows: list[list[int]]) -> Iterator[Batch]:
    for some in rows:
        index = torch.tensor(some)
        pictures = index.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
        yield Batch(views={"roi": pictures}, label=index % 3, index=index, content_box={}, flip={})


def test_numbers_stand_in_the_order_of_the_index() -> None:
    seen: list[int] = []
    found = compute_measures(
        Doubles(),
        batches([[4, 0, 2], [3, 1]]),
        lambda batch: {name: pixels.double() for name, pixels in batch.views.items()},
        make_accelerator(TrainConfig(device="cpu")),
        n_pairs=5,
        on_batch=seen.append,
    )
    assert list(found) == ["light", "one"]
    np.testing.assert_array_equal(found["light"], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(found["one"], [0, 1, 0, 0, 1])
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    assert seen == [3, 2]


def test_no_pairs_give_no_measures() -> None:
    accelerator = make_accelerator(TrainConfig(device="cpu"))
    assert compute_measures(Doubles(), [], lambda _: {}, accelerator, n_pairs=0) == {}
