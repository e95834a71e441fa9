"""The learning rates of PIM's training, step by step, against numbers worked out from its description."""

import itertools
import math

import numpy as np
import pytest

from utils.errors import ConfigError
from utils.schedule import Schedule, make_schedule
from utils.sections import TrainConfig

PEAK = 5e-4


def rates(total: int, warmup: int, peak: float = PEAK) -> list[float]:
    schedule = Schedule(total, warmup, 0.0, total, "step", shape="pim", peak_lr=peak)
    return [peak * schedule.factor(step) for step in range(total)]


def slow(total: int, warmup: int, peak: float) -> list[float]:
    """The description, word by word: a line of W values with both ends, then the cosine of the whole length."""
    rise = np.linspace(1e-9, peak, warmup).tolist() if warmup else []
    fall = [1e-12 + 0.5 * (peak - 1e-12) * (1 + math.cos(math.pi * t / total)) for t in range(total)]
    return (rise + fall)[:total]


def test_the_rates_of_cub() -> None:
    cub = rates(18_750, 800)
    assert cub[0] == pytest.approx(1e-9, rel=1e-9)
    assert cub[799] == pytest.approx(PEAK, rel=1e-12)
    assert cub[800] == pytest.approx(PEAK, rel=1e-12)
    assert cub[801] < cub[800]
    # 5e-4 sin²(π 801 / 37,500), worked out by hand: the cosine is cut off 801 steps before its end.
    assert cub[-1] == pytest.approx(2.25e-6, abs=0.005e-6)
    assert min(cub[800:]) == cub[-1] > 0


@pytest.mark.parametrize("total", [1, 7, 100])
@pytest.mark.parametrize("warmup", [0, 1, 2, 6, 99, 100, 1000])
@pytest.mark.parametrize("peak", [PEAK, 0.3])
def test_every_rate_is_the_closed_form(total: int, warmup: int, peak: float) -> None:
    found = rates(total, warmup, peak)
    assert found == pytest.approx(slow(total, warmup, peak), rel=1e-9)
    falling = found[max(0, warmup - 1) :] if warmup != 1 else found[1:]
    assert all(later <= sooner * (1 + 1e-12) for sooner, later in itertools.pairwise(falling))


def test_without_warm_up_the_first_rate_is_the_highest() -> None:
    found = rates(50, 0)
    assert found[0] == PEAK == max(found)


def test_a_warm_up_longer_than_the_run_only_rises() -> None:
    found = rates(50, 101)
    assert found[0] == pytest.approx(1e-9, rel=1e-9)
    assert found[-1] == pytest.approx(1e-9 + (PEAK - 1e-9) * 0.49, rel=1e-9)
    assert sorted(found) == found


def test_past_the_end_the_rate_stays_above_zero() -> None:
    schedule = Schedule(10, 0, 0.0, 10, "step", shape="pim", peak_lr=PEAK)
    assert PEAK * schedule.factor(10) == PEAK * schedule.factor(25) == pytest.approx(1e-12, rel=1e-6)


@pytest.mark.parametrize("warmup", [0, 1, 2, 30, 200])
def test_the_peak_is_the_first_step_at_the_highest_rate(warmup: int) -> None:
    schedule = Schedule(100, warmup, 0.0, 10, "step", epochs_run=10, shape="pim", peak_lr=PEAK)
    highest = max(schedule.factor(step) for step in range(100))
    assert schedule.peak_step() == next(step for step in range(100) if schedule.factor(step) >= highest * (1 - 1e-12))


def test_a_slower_group_follows_the_same_curve() -> None:
    train = TrainConfig(epochs=2, batch_size=10, backbone_lr=1e-4, head_lr=PEAK, warmup=0.2, schedule_shape="pim")
    schedule = make_schedule(train, 100, 10)
    assert (schedule.total_steps, schedule.warmup_steps, schedule.peak_lr) == (20, 4, PEAK)
    assert train.head_lr * schedule.factor(0) == pytest.approx(1e-9, rel=1e-9)
    assert train.backbone_lr * schedule.factor(3) == pytest.approx(1e-4, rel=1e-12)


def test_a_start_of_the_warm_up_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup_start is 0\.1, but train\.schedule_shape pim warms up from 1e-9"):
        TrainConfig(schedule_shape="pim", warmup_start=0.1)
