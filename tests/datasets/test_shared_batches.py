"""Batches in shared memory that is used again, and what happens when there is not enough of it or a worker dies."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from datasets import shared_memory
from datasets.batches import Item
from datasets.blocks import BatchLayout
from datasets.index import PairIndex
from datasets.loaders import PairLoader, make_loader
from datasets.pairs import PairDataset
from datasets.slots import Slots
from utils.batch import Batch, ViewSpec
from utils.data_sections import DataConfig
from utils.errors import ConfigError, RunError

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker

SPECS = {name: ViewSpec(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) for name, size in (("roi", 24), ("photo", 32))}
BATCHES: list[list[Item]] = [[(0, (start + step) % 8) for step in range(3)] for start in range(12)]
# Worker processes are started from a copy of this one, in which other tests may have used threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def dataset(tree: "TreeMaker") -> PairDataset:
    tree.add_random(("rice", "apple"), [f"p{number}" for number in range(4)], (40, 30))
    return PairDataset(PairIndex.from_tree(tree.root, "train"), SPECS, DataConfig(), training=True, seed=0)


def kill_worker(loader: PairLoader, then: Callable[[Iterator[Batch]], object]) -> None:
    """Kill the one worker, do something else meanwhile, and expect one line that names it."""
    others = multiprocessing.active_children()
    batches = iter(loader)
    next(batches)
    (pid,) = [process.pid for process in multiprocessing.active_children() if process not in others]
    assert pid is not None
    with pytest.raises(RunError) as caught:
        kill_and(pid, lambda: then(batches))
    assert str(caught.value) == (
        f"loader worker with process id {pid} was killed by a signal (Killed), as the system does when memory runs "
        f"out; go on with fewer workers (data.workers), or with data.workers 0, which loads in the main process"
    )


def kill_and(pid: int, then: Callable[[], object]) -> None:
    os.kill(pid, signal.SIGKILL)
    then()


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_tensors_of_a_block_have_room_beside_each_other(count: int) -> None:
    layout = BatchLayout({"roi": 5, "photo": 3})
    block = torch.zeros(layout.nbytes(count), dtype=torch.uint8)
    batch = layout.carve(block, count)
    for number, tensor in enumerate(batch.tensors(), start=1):
        tensor.fill_(number % 2 if tensor.dtype == torch.bool else number)
    for number, tensor in enumerate(batch.tensors(), start=1):
        assert (tensor == (number % 2 if tensor.dtype == torch.bool else number)).all()
    assert batch.views["roi"].shape == (count, 3, 5, 5)
    assert batch.content_box["photo"].shape == (count, 4)
    assert len(batch) == count


def test_memory_is_used_again_but_never_while_a_tensor_of_its_batch_is_held(dataset: PairDataset) -> None:
    alone = [dataset.__getitems__(items) for items in BATCHES]
    loader = make_loader(dataset, BATCHES, workers=2, prefetch=1)
    for _ in range(2):
        assert len({batch.views["roi"].data_ptr() for batch in loader}) <= 4  # 2 · 1 + 2
    kept = []
    for batch in loader:
        kept.append(batch.views["roi"][1:, 2])  # a part of a tensor of a batch
        del batch
    for part, expected in zip(kept, alone, strict=True):
        assert torch.equal(part, expected.views["roi"][1:, 2])
    for batch, expected in zip(list(loader), alone, strict=True):
        for mine, other in zip(batch.tensors(), expected.tensors(), strict=True):
            assert torch.equal(mine, other)


def test_epochs_that_are_left_early_lose_no_memory(dataset: PairDataset) -> None:
    loader = make_loader(dataset, BATCHES, workers=2, prefetch=1)
    for _ in range(4):
        next(iter(loader))
    assert len({batch.views["roi"].data_ptr() for batch in loader}) <= 4


def test_a_batch_larger_than_its_slot_finds_memory_of_its_own(dataset: PairDataset) -> None:
    slots = Slots(dataset.layout, 1, 2)
    items: list[Item] = [(0, 0), (0, 1), (0, 5)]
    assert slots.order(items).slot is None
    assert slots.order(items[:2]).slot == 0
    assert slots.order(items[:2]).slot is None  # the one slot is taken
    batch = slots.load(dataset, slots.order(items)).batch()
    assert torch.equal(batch.views["roi"], dataset.__getitems__(items).views["roi"])


def test_a_killed_worker_stops_the_run_with_one_line(dataset: PairDataset) -> None:
    kill_worker(make_loader(dataset, BATCHES, workers=1, prefetch=1), then=list)


def test_a_worker_killed_while_the_model_computes_is_told_at_once(dataset: PairDataset) -> None:
    loader = make_loader(dataset, BATCHES, workers=1, prefetch=1)
    kill_worker(loader, then=lambda _: time.sleep(20))  # the signal of its death ends the sleep


def test_workers_without_shared_memory_are_refused_with_what_is_needed(
    dataset: PairDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = 3 * 3 * (24 * 24 + 32 * 32)
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 7 * batch)
    make_loader(dataset, BATCHES, workers=2, prefetch=2)
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 6 * batch)  # without labels, boxes and flips
    with pytest.raises(ConfigError) as caught:
        make_loader(dataset, BATCHES, workers=2, prefetch=2)
    assert str(caught.value).startswith("data.workers is 2 and data.prefetch 2: their batches need 0 MB of shared ")
    for fix in ("data.workers 1,", "a smaller data.prefetch", "data.workers 0", "--shm-size"):
        assert fix in str(caught.value)
    make_loader(dataset, BATCHES, workers=0)


@pytest.mark.parametrize(("free", "fitting"), [(None, 8), (1800, 8), (1799, 7), (400, 1), (399, 0), (0, 0)])
def test_workers_that_fit_are_counted_with_the_batches_in_use(
    monkeypatch: pytest.MonkeyPatch, free: int | None, fitting: int
) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: free)
    assert shared_memory.fitting_workers(8, 2, 100) == fitting  # 8 · 2 + 2 batches of 100 bytes
