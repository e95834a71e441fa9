from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from datasets import loaders, probe, shared_memory
from datasets.batches import Item
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.probe import LoaderPlan, covering, measure, plan_loader
from utils.batch import ViewSpec
from utils.data_sections import AugmentConfig, DataConfig
from utils.errors import ConfigError

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker

BATCHES: list[list[Item]] = [[(0, row), (0, row + 1)] for row in range(0, 20, 2)]


class Disk:
    """Loads batches in given times, by a clock of its own."""

    def __init__(self, *milliseconds: float) -> None:
        self.left = list(milliseconds)
        self.now = 0.0
        self.asked: list[int] = []

    def load(self, items: Sequence[Item]) -> None:
        self.asked.append(len(items))
        if len(items) > 1:
            self.now += self.left.pop(0) / 1000

    def clock(self) -> float:
        return self.now


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LoaderPlan]:
    """Plan for 6 cores, 5000 pairs and batches of 100 bytes."""
    monkeypatch.setattr(probe, "available_cores", lambda: 6)
    monkeypatch.setattr(loaders, "available_cores", lambda: 6)

    def planned(disk: Disk, *, n_pairs: int = 5000, **settings: object) -> LoaderPlan:
        return plan_loader(disk.load, BATCHES, n_pairs=n_pairs, batch_bytes=100, clock=disk.clock, **settings)  # type: ignore[arg-type]

    return planned


@pytest.mark.parametrize(
    ("load_ms", "step_ms", "processes", "workers"),
    [
        (31, 120, 1, 1),  # 1.25 · 31 / 120 = 0.32
        (100, 125, 1, 1),  # exactly 1
        (100, 124, 1, 2),
        (100, 30, 1, 5),  # 4.17
        (100, 10, 1, 6),  # 12.5, but 6 cores
        (100, 10, 4, 1),  # and one for each of 4 processes
        (100, 10, 9, 1),
        (100, None, 1, 6),
    ],
)
def test_workers_worked_by_hand(
    plan: Callable[..., LoaderPlan], load_ms: float, step_ms: float | None, processes: int, workers: int
) -> None:
    step = None if step_ms is None else step_ms / 1000
    disk = Disk(load_ms, load_ms, load_ms)
    assert plan(disk, step_seconds=step, processes=processes).workers == workers
    assert disk.asked == [1, 2, 2, 2]


def test_the_reason_names_what_was_measured(plan: Callable[..., LoaderPlan]) -> None:
    reason = "auto: 1 worker, 2 batches ahead (loading a batch takes 31 ms, a step 120 ms)"
    assert plan(Disk(31, 31, 31), step_seconds=0.12) == LoaderPlan(1, 2, reason)
    slow = plan(Disk(1500), step_seconds=0.12).reason  # one batch is enough to know
    assert slow.endswith("(loading a batch takes 1.5 s, a step 120 ms; 16 workers would keep ahead of it)")
    assert plan(Disk(), n_pairs=255).reason.startswith("auto: 0 workers (below 256 items")
    assert plan(Disk(31, 31, 62), workers=2).reason == "auto: 3 batches ahead (loading a batch takes 31 ms)"
    assert plan(Disk(), workers=2, prefetch=4) == LoaderPlan(2, 4)  # nothing is loaded
    assert plan(Disk(), workers=0, prefetch=4) == LoaderPlan(0, 4)


@pytest.mark.parametrize(
    ("milliseconds", "batches"), [((10, 10, 10), 2), ((10, 14, 9), 2), ((10, 26, 10), 4), ((1, 90, 1), 8), ((7,), 2)]
)
def test_prefetched_batches_cover_the_slowest(milliseconds: tuple[float, ...], batches: int) -> None:
    assert covering(milliseconds) == batches


def test_workers_and_batches_shrink_to_the_shared_memory(
    plan: Callable[..., LoaderPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 1000)  # 10 batches: 4 workers with 2 each, and 2
    fewer = plan(Disk(100, 100, 100), step_seconds=0.02)
    assert fewer.workers == 4
    assert fewer.reason.endswith("7 workers would keep ahead of it; /dev/shm has no room for the batches of 6 workers)")
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 399)
    none = plan(Disk(100, 100, 100), step_seconds=0.2)
    assert none.workers == 0
    assert none.reason.startswith("auto: 0 workers (loading a batch takes 100 ms, a step 200 ms; ")
    assert none.reason.endswith("; /dev/shm has no room for the batches of 1 worker)")
    with pytest.raises(ConfigError, match=r"data\.workers is 3 and data\.prefetch 2: .* take data\.workers 0"):
        plan(Disk(10, 10, 10), workers=3)
    assert loaders.resolve_workers("auto", 5000, batch_bytes=100) == 0


def test_more_workers_than_cores_are_refused_here_too(plan: Callable[..., LoaderPlan]) -> None:
    with pytest.raises(ConfigError, match=r"data\.workers is 7, but this machine offers 6 cores"):
        plan(Disk(), workers=7)


def test_measuring_leaves_every_random_state_and_the_threads_as_they_were(tree: "TreeMaker") -> None:
    tree.add_random(("rice", "apple"), [f"p{number}" for number in range(10)], (40, 30))
    augment = AugmentConfig(min_crop_area=0.4, rotate_degrees=15, color_jitter=0.3, policy="randaugment")
    view = {"roi": ViewSpec(24, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}
    index = PairIndex.from_tree(tree.root, "train")
    dataset = PairDataset(index, view, DataConfig(augment=augment), training=True, seed=0)
    before = torch.get_rng_state(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002  # the global one
    times = measure(dataset.__getitems__, BATCHES)
    assert len(times) == 3
    assert min(times) > 0
    after = torch.get_rng_state(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert str(before[1]) == str(after[1])
    assert before[2] == after[2]
