"""Batches of two views: what is in them, and that neither workers, nor order, nor kept superpixels change them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datasets.batches import Item
from datasets.loaders import make_loader
from datasets.two_views.dataset import TwoViewDataset, TwoViewLayout
from datasets.two_views.superpixels import Slic
from utils.batch import Batch

if TYPE_CHECKING:
    from tests.datasets.two_views.conftest import PhotoFolder

# Worker processes are started from a copy of this one, in which other tests may have used threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
BATCHES: list[list[Item]] = [[(0, 2), (0, 0)], [(0, 1), (0, 3)], [(1, 2), (1, 1), (1, 0)]]


@pytest.fixture
def dataset(folder: "PhotoFolder") -> TwoViewDataset:
    for number in range(4):
        folder.add(f"p{number}.png", size=(50 + number, 40))
    return folder.dataset()


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


@pytest.mark.parametrize("count", [1, 3])
def test_the_tensors_of_a_block_have_room_beside_each_other(count: int) -> None:
    layout = TwoViewLayout(36)
    batch = layout.carve(torch.zeros(layout.nbytes(count), dtype=torch.uint8), count)
    tensors = list(batch.tensors())
    for number, tensor in enumerate(tensors, start=1):
        tensor.fill_(number)
    assert len(tensors) == 7
    for number, tensor in enumerate(tensors, start=1):
        assert (tensor == number).all()
        assert len(tensor) == count
    assert len(batch) == count


def test_a_batch_holds_what_it_says(dataset: TwoViewDataset) -> None:
    batch = dataset.__getitems__([(0, 3), (0, ~1)])
    assert list(batch.views) == ["view_1", "view_2", "photo"]
    for view in batch.views.values():
        assert view.dtype == torch.uint8
        assert view.shape == (2, 3, 32, 32)
        assert view.is_contiguous(memory_format=torch.channels_last)
    superpixels, record = batch.extras["superpixels"], batch.extras["record"]
    assert (superpixels.dtype, superpixels.shape) == (torch.int16, (2, 32, 32))
    assert (record.dtype, record.shape) == (torch.float32, (2, 2, 5))
    for labels in superpixels:
        assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert batch.label.tolist() == [0, 0]
    assert batch.index.tolist() == [3, -1]  # a row that fills a share is loaded and does not count
    assert not batch.flip
    assert not batch.content_box
    assert torch.equal(batch.views["photo"][1], dataset[0, 1].views["photo"][0])


def test_workers_change_nothing(dataset: TwoViewDataset) -> None:
    alone = [dataset.__getitems__(items) for items in BATCHES]
    loader = make_loader(dataset, BATCHES, workers=2, prefetch=1)
    for _ in range(2):
        assert all(same(one, other) for one, other in zip(loader, alone, strict=True))


def test_neither_neighbours_nor_threads_nor_the_state_of_torch_change_anything(
    dataset: TwoViewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, threads, used = dataset[1, 2], torch.get_num_threads(), set()
    divide = Slic.divide

    def watched(slic: Slic, photo: NDArray[np.uint8]) -> NDArray[np.int16]:
        used.add(torch.get_num_threads())
        return divide(slic, photo)

    monkeypatch.setattr(Slic, "divide", watched)
    torch.rand(3)
    state = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        together = dataset.__getitems__([(0, 2), (1, 3), (1, 2)])
        assert torch.get_num_threads() == 2
        assert used == {1}  # sums that several threads share are rounded otherwise
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    for name, view in alone.views.items():
        assert torch.equal(view[0], together.views[name][2])
    assert torch.equal(alone.extras["record"][0], together.extras["record"][2])


def test_equal_photos_of_other_names_are_seen_otherwise_and_in_each_epoch_anew(folder: "PhotoFolder") -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        folder.add(name, pixels)
    batch = folder.dataset().__getitems__([(0, 0), (0, 1), (1, 0)])
    assert len({tuple(row) for row in batch.extras["record"].flatten(0, 1).tolist()}) == 6
    assert torch.equal(batch.extras["superpixels"][0], batch.extras["superpixels"][1])
    for name in ("view_1", "view_2"):
        assert not torch.equal(batch.views[name][0], batch.views[name][1])
    assert not same(folder.dataset(seed=1)[0, 0], folder.dataset(seed=0)[0, 0])


def test_kept_superpixels_change_nothing(folder: "PhotoFolder", dataset: TwoViewDataset, tmp_path: Path) -> None:
    items = [(0, row) for row in range(4)]
    alone = dataset.__getitems__(items)
    for _ in range(2):
        assert same(folder.dataset(superpixel_cache=tmp_path / "kept").__getitems__(items), alone)
    assert len(list((tmp_path / "kept").rglob("*.slic"))) == 4


def test_the_input_of_slic_is_chosen(folder: "PhotoFolder", dataset: TwoViewDataset) -> None:
    normalised = folder.dataset(slic_input="normalised")[0, 0]
    assert torch.equal(normalised.views["photo"], dataset[0, 0].views["photo"])
    assert not torch.equal(normalised.extras["superpixels"], dataset[0, 0].extras["superpixels"])


def test_the_seconds_of_slic_are_measured(dataset: TwoViewDataset) -> None:
    assert 0 < dataset.slic_seconds(2) < 5
