from collections import Counter

import numpy as np
import pytest

from datasets.sampling import OrderedBatches, Sampling, StepSampler
from utils.errors import ConfigError

LABELS = np.repeat(np.arange(4), [60, 30, 9, 4])  # 103 pairs


def make(
    world_size: int = 1,
    rank: int = 0,
    *,
    batch_size: int = 10,
    micro_batch: int | None = 4,
    seed: int = 0,
    sampling: Sampling = "natural",
    shuffle: bool = True,
) -> StepSampler:
    return StepSampler(
        LABELS,
        batch_size,
        micro_batch,
        seed=seed,
        sampling=sampling,
        shuffle=shuffle,
        world_size=world_size,
        rank=rank,
    )


def rows_of(step: list[list[int]]) -> list[int]:
    return [row for micro_batch in step for row in micro_batch if row >= 0]


def test_an_epoch_shows_each_pair_once_and_keeps_the_short_last_step() -> None:
    plan = make().plan(0)
    assert len(plan) == make().steps_per_epoch == 11
    assert [len(rows_of(step)) for step in plan] == [10] * 10 + [3]
    assert sorted(row for step in plan for row in rows_of(step)) == list(range(103))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = make().plan(3)
    assert make().plan(3) == first
    assert make().plan(4) != first
    assert make(seed=1).plan(3) != first
    assert make(micro_batch=None).order(3).tolist() == make().order(3).tolist()


def test_rows_come_in_order_without_shuffling() -> None:
    assert [row for step in make(shuffle=False).plan(7) for row in rows_of(step)] == list(range(103))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes_share_out_the_same_steps(world_size: int) -> None:
    plans = [make(world_size, rank).plan(1) for rank in range(world_size)]
    alone = make().plan(1)
    for number, step in enumerate(alone):
        shares = [rows_of(plan[number]) for plan in plans]
        assert sorted(row for share in shares for row in share) == sorted(rows_of(step))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        sizes = [[len(micro_batch) for micro_batch in plan[number]] for plan in plans]
        assert all(size == sizes[0] for size in sizes)  # padded to the same shape


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [None, 1, 4, 7, 50])
def test_micro_batches_are_even_and_never_too_large(world_size: int, micro_batch: int | None) -> None:
    sampler = make(world_size, micro_batch=micro_batch)
    for number, step in enumerate(sampler.plan(0)):
        sizes = [len(rows) for rows in step]
        assert len(sizes) == sampler.micro_batches_in_step(number)
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= (micro_batch or 10)
        assert len(sizes) == 1 or micro_batch is not None
        assert sum(sizes) == -(-sampler.pairs_in_step(number) // world_size)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_plan_sizes_count_the_pairs_of_all_processes_without_padding(world_size: int) -> None:
    plans = [make(world_size, rank, micro_batch=2).plan(0) for rank in range(world_size)]
    expected = [
        [sum(row >= 0 for plan in plans for row in plan[number][part]) for part in range(len(step))]
        for number, step in enumerate(plans[0])
    ]
    sampler = make(world_size, micro_batch=2)
    assert sampler.plan_sizes() == expected
    assert [sum(step) for step in expected] == [10] * 10 + [3]
    sampler.set_position(0, 9)
    assert sampler.plan_sizes() == expected[9:]


def test_an_epoch_can_be_resumed_at_any_step() -> None:
    sampler = make(2, 1)
    sampler.set_position(5)
    items = list(sampler)
    assert len(items) == len(sampler)
    assert {epoch for batch in items for epoch, _ in batch} == {5}
    before = sum(sampler.micro_batches_in_step(step) for step in range(4))
    sampler.set_position(5, 4)
    assert list(sampler) == items[before:]
    assert len(sampler) == len(items) - before


def test_balanced_sampling_draws_classes_equally_often() -> None:
    sampler = make(sampling="balanced")
    order = sampler.order(0)
    assert len(order) == 103
    assert sorted(Counter(LABELS[order].tolist()).values()) == [25, 26, 26, 26]
    for label in range(4):
        rows = np.flatnonzero(label == LABELS)
        times = Counter(order[LABELS[order] == label].tolist())
        seen = [times[row] for row in rows.tolist()]
        assert max(seen) - min(seen) <= 1  # goes round the class before a pair comes again
    assert sampler.order(0).tolist() == order.tolist()
    assert sampler.order(1).tolist() != order.tolist()
    assert len(set(LABELS[order[:26]].tolist())) == 4  # mixed, not class after class


def test_over_many_epochs_balanced_sampling_reaches_every_pair() -> None:
    sampler = make(sampling="balanced")
    assert {row for epoch in range(30) for row in sampler.order(epoch).tolist()} == set(range(103))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_rows_come_in_order_and_exactly_once(world_size: int) -> None:
    shares = [OrderedBatches(11, 2, world_size=world_size, rank=rank) for rank in range(world_size)]
    rows = [[row for batch in share for _, row in batch] for share in shares]
    assert sorted(row for share in rows for row in share) == list(range(11))
    assert all(share == sorted(share) for share in rows)
    for share in shares:
        assert len(list(share)) == len(share)
        assert max(len(batch) for batch in share) <= 2


def test_a_process_without_rows_has_no_batches() -> None:
    assert list(OrderedBatches(1, 4, world_size=2, rank=1)) == []


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size is 0; allowed: 1 or more"):
        make(batch_size=0)
    with pytest.raises(ConfigError, match=r"train\.micro_batch is 0; allowed: 1 or more, or null"):
        make(micro_batch=0)
    with pytest.raises(ConfigError, match=r"train\.batch_size is 2 for 3 processes; each needs a pair a step"):
        make(3, batch_size=2)
    with pytest.raises(ConfigError, match=r"data\.sampling is 'fair'; allowed: natural, balanced"):
        make(sampling="fair")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ConfigError, match=r"eval\.batch_size is 0; allowed: 1 or more"):
        OrderedBatches(3, 0)
    with pytest.raises(ConfigError, match=r"there are no training pairs to sample from"):
        StepSampler(np.zeros(0, dtype=np.int16), 4)
