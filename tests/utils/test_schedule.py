import math
from pathlib import Path

import pytest
from torch import nn

from experiments.kinds import OFF_THE_SHELF, RVERNET, Kind
from utils.config import parse_config
from utils.optimisers import make_optimizer, set_learning_rates
from utils.schedule import Schedule, make_schedule
from utils.sections import TrainConfig

# Learning rates that the released code gave to epochs 1 to 30, in units of 1e-5: it moved the schedule once an
# epoch although its length was counted in steps. Epoch e received 4e-3 (e - 1) / 1098.
RELEASED_RATES = [
    0, 0.3643, 0.7286, 1.093, 1.457, 1.822, 2.186, 2.550, 2.914, 3.279,
    3.643, 4.007, 4.372, 4.736, 5.100, 5.464, 5.829, 6.193, 6.557, 6.922,
    7.286, 7.650, 8.015, 8.379, 8.743, 9.107, 9.472, 9.836, 10.20, 10.565,
]  # fmt: skip
PAPER_PAIRS = 18_320
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        (RVERNET, "RveRNets/train_cfgs/train_config_FoodSeg103_paper_as_run.yaml"),
        (OFF_THE_SHELF, "Off_the_shelfs/train_cfgs/train_config_paper_as_run.yaml"),
    ],
)
def test_recipes_as_run_give_the_optimiser_the_released_rates(kind: Kind, recipe: str) -> None:
    config, _ = parse_config(kind.config_class, ["--config", str(ROOT / recipe)], program="test", flags={})
    steps_per_epoch = math.ceil(PAPER_PAIRS / config.train.batch_size)
    schedule = make_schedule(config.train, PAPER_PAIRS, steps_per_epoch)
    optimizer = make_optimizer(config.train, [nn.Linear(2, 2)], nn.Linear(2, 2))
    for epoch, expected in enumerate(RELEASED_RATES):
        set_learning_rates(optimizer, schedule.factor(epoch * steps_per_epoch))
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(expected * 1e-5, abs=0.6e-8)


def paper(**changes: object) -> TrainConfig:
    return TrainConfig(epochs=30, batch_size=50, head_lr=4e-3, warmup=0.1, **changes)  # type: ignore[arg-type]


def test_released_rates_are_reproduced_to_four_digits() -> None:
    train = paper(schedule_unit="epoch", schedule_rounding="down")
    steps_per_epoch = math.ceil(PAPER_PAIRS / train.batch_size)
    schedule = make_schedule(train, PAPER_PAIRS, steps_per_epoch)
    assert (schedule.total_steps, schedule.warmup_steps) == (10_980, 1_098)
    for epoch, expected in enumerate(RELEASED_RATES):
        for step in (epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1):
            rate = train.head_lr * schedule.factor(step)
            assert rate == pytest.approx(4e-3 * epoch / 1098, rel=1e-12)
            assert rate == pytest.approx(expected * 1e-5, abs=0.6e-8)


def test_warm_up_and_cosine_by_hand() -> None:
    schedule = Schedule(12, 4, 0.0, 3, "step", epochs_run=4)
    expected = [0, 0.25, 0.5, 0.75, 1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]
    assert [schedule.factor(step) for step in range(12)] == pytest.approx(expected, abs=1e-6)
    assert schedule.peak_step() == 4


def test_rate_stays_at_zero_past_the_end() -> None:
    assert Schedule(10, 0, 0.0, 5, "step").factor(11) == 0.0


def test_warm_up_may_start_above_zero() -> None:
    schedule = Schedule(100, 10, 0.1, 100, "step")
    assert [schedule.factor(step) for step in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1.0])


def test_peak_of_the_released_schedule_is_its_last_epoch() -> None:
    schedule = make_schedule(paper(schedule_unit="epoch", schedule_rounding="down"), PAPER_PAIRS, 367)
    assert schedule.peak_step() // 367 == 29


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_peak_step_is_where_a_search_finds_it(unit: str, epochs: int) -> None:
    train = TrainConfig(epochs=epochs, batch_size=10, warmup=0.3, schedule_unit=unit)  # type: ignore[arg-type]
    schedule = make_schedule(train, 95, 10)
    factors = [schedule.factor(step) for step in range(10 * epochs)]
    assert schedule.factor(schedule.peak_step()) == max(factors)


def test_rounding_decides_on_the_short_last_batch() -> None:
    up = make_schedule(paper(), PAPER_PAIRS, 367)
    down = make_schedule(paper(schedule_rounding="down"), PAPER_PAIRS, 367)
    assert (up.total_steps, down.total_steps) == (367 * 30, 366 * 30)
