from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.sampling import OrderedBatches, Sampling, StepSampler
from utils.errors import ConfigError

LABELS = np.repeat(np.arange(4), [60, 30, 9, 4])  # 103 pairs
PHOTOS = np.concatenate([np.arange(60), np.arange(30), np.arange(50, 59), np.arange(4)]) * 3  # up to 3 pairs each
Photos = NDArray[np.int64] | None


def make(
    world_size: int = 1,
    rank: int = 0,
    *,
    batch_size: int = 10,
    micro_batch: int | None = 4,
    seed: int = 0,
    sampling: Sampling = "natural",
    photos: Photos = None,
    shuffle: bool = True,
) -> StepSampler:
    return StepSampler(
        LABELS,
        batch_size,
        micro_batch,
        seed=seed,
        sampling=sampling,
        photos=photos,
        shuffle=shuffle,
        world_size=world_size,
        rank=rank,
    )


def rows_of(step: list[list[int]]) -> list[int]:
    return [row for micro_batch in step for row in micro_batch if row >= 0]


def runs(codes: NDArray[np.int64]) -> int:
    """Count the stretches of equal neighbours."""
    return int(np.count_nonzero(np.diff(codes))) + 1


@pytest.mark.parametrize("photos", [None, PHOTOS], ids=["pairs", "photos"])
def test_an_epoch_shows_each_pair_once_and_keeps_the_short_last_step(photos: Photos) -> None:
    plan = make(photos=photos).plan(0)
    assert len(plan) == make().steps_per_epoch == 11
    assert [len(rows_of(step)) for step in plan] == [10] * 10 + [3]
    assert sorted(row for step in plan for row in rows_of(step)) == list(range(103))


@pytest.mark.parametrize("photos", [None, PHOTOS], ids=["pairs", "photos"])
def test_the_order_depends_on_seed_and_epoch_alone(photos: Photos) -> None:
    first = make(photos=photos).order(3).tolist()
    assert make(4, 2, batch_size=7, micro_batch=None, photos=photos).order(3).tolist() == first
    assert make(photos=photos).order(4).tolist() != first
    assert make(seed=1, photos=photos).order(3).tolist() != first


def test_rows_come_in_order_without_shuffling() -> None:
    assert [row for step in make(shuffle=False).plan(7) for row in rows_of(step)] == list(range(103))
    by_photo = make(shuffle=False, photos=PHOTOS).order(7).tolist()
    assert by_photo == sorted(range(103), key=lambda row: (PHOTOS[row], row))


def test_pairs_of_a_photo_stand_together_in_a_random_order_of_photos() -> None:
    order = make(photos=PHOTOS).order(2)
    assert runs(PHOTOS[order]) == len(set(PHOTOS.tolist())) == 60
    assert runs(PHOTOS[make().order(2)]) > 90  # else nothing was shown
    assert not np.array_equal(np.sort(PHOTOS), PHOTOS[order])
    inside = [make(photos=PHOTOS).order(epoch) for epoch in range(6)]
    first = {tuple(rows[PHOTOS[rows] == 0].tolist()) for rows in inside}
    assert len(first) > 1  # those of one photo come in a random order too


def test_balanced_draws_of_a_photo_stand_together_round_by_round() -> None:
    order = make(sampling="balanced", photos=PHOTOS).order(0)
    assert sorted(Counter(LABELS[order].tolist()).values()) == [25, 26, 26, 26]
    times = Counter(order.tolist())
    rounds = {(PHOTOS[row].item(), turn) for row, count in times.items() for turn in range(count)}
    assert runs(PHOTOS[order]) <= len(rounds) < len(order)
    assert max(times.values()) >= 6  # 4 pairs stand for 25 of the class
    neighbours = order[1:][np.diff(order) == 0]
    assert len(neighbours) <= 5  # a pair that is drawn again comes elsewhere


@pytest.mark.parametrize("photos", [None, PHOTOS], ids=["pairs", "photos"])
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes_share_out_the_same_steps(world_size: int, sampling: Sampling, photos: Photos) -> None:
    plans = [make(world_size, rank, sampling=sampling, photos=photos).plan(1) for rank in range(world_size)]
    alone = make(sampling=sampling, photos=photos)
    for number, step in enumerate(alone.plan(1)):
        assert [row for part in step for row in part] == alone.order(1)[10 * number : 10 * number + 10].tolist()
        shares = [rows_of(plan[number]) for plan in plans]
        assert sorted(row for share in shares for row in share) == sorted(rows_of(step))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert len({len(plan[number]) for plan in plans}) == 1  # as many micro-batches in each


@pytest.mark.parametrize("photos", [None, PHOTOS], ids=["pairs", "photos"])
@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
@pytest.mark.parametrize("micro_batch", [None, 1, 2, 4, 7, 50])
def test_micro_batches_are_even_and_never_too_large(world_size: int, micro_batch: int | None, photos: Photos) -> None:
    plans = [make(world_size, rank, micro_batch=micro_batch, photos=photos).plan(0) for rank in range(world_size)]
    sampler = make(world_size, micro_batch=micro_batch, photos=photos)
    for number in range(sampler.steps_per_epoch):
        sizes = [len(part) for plan in plans for part in plan[number]]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= (micro_batch or 10)
        assert len(plans[0][number]) == sampler.micro_batches_in_step(number)
        assert len(plans[0][number]) == 1 or micro_batch is not None
    assert sampler.smallest_part == min(len(part) for plan in plans for step in plan for part in step)


@pytest.mark.parametrize("photos", [None, PHOTOS], ids=["pairs", "photos"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_plan_sizes_count_the_pairs_of_all_processes_without_copies(
    world_size: int, micro_batch: int | None, photos: Photos
) -> None:
    plans = [make(world_size, rank, micro_batch=micro_batch, photos=photos).plan(0) for rank in range(world_size)]
    expected = [
        [sum(row >= 0 for plan in plans for row in plan[number][part]) for part in range(len(step))]
        for number, step in enumerate(plans[0])
    ]
    sampler = make(world_size, micro_batch=micro_batch, photos=photos)
    assert sampler.plan_sizes() == expected
    assert [sum(step) for step in expected] == [10] * 10 + [3]
    sampler.set_position(0, 9)
    assert sampler.plan_sizes() == expected[9:]


def test_a_process_gets_a_copy_only_where_it_would_have_nothing() -> None:
    """The last step has 3 pairs for 7 processes, the others 10: with single pairs, two micro-batches for 7."""
    plans = [make(7, rank, micro_batch=1).plan(0) for rank in range(7)]
    parts = [part for plan in plans for step in plan for part in step]
    copies = [part for part in parts if part[0] < 0]
    assert all(len(part) == 1 for part in parts)
    assert len(copies) == 10 * (2 * 7 - 10) + (7 - 3)
    for plan in plans:
        for number, step in enumerate(plan):
            batch = make().order(0)[10 * number : 10 * number + 10]
            assert all(~row in batch for part in step for row in part if row < 0)
    assert all(row >= 0 for rank in range(2) for step in make(2, rank).plan(0) for part in step for row in part)


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
def test_evaluation_rows_by_photo_come_exactly_once_in_neighbouring_parts(world_size: int) -> None:
    codes = np.array([7, 1, 7, 3, 1, 1, 3, 9, 7, 1, 2])
    shares = [OrderedBatches(11, 2, photos=codes, world_size=world_size, rank=rank) for rank in range(world_size)]
    rows = [row for share in shares for batch in share for _, row in batch]
    assert rows == [1, 4, 5, 9, 10, 3, 6, 0, 2, 8, 7]


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
