"""Learning rate, target momentum and number of clusters: the numbers of the authors' code, worked out by hand."""

import itertools
import math

import pytest

from R2O.config import ClustersConfig, PretrainConfig
from R2O.schedules import PretrainSchedule, clusters_at
from utils.errors import ConfigError

# Of 300 epochs of ImageNet in batches of 4096.
IMAGENET, BATCH = 1_281_167, 4096


class AuthorsSchedule(PretrainSchedule):
    """Its lengths count the rest of the photos that no epoch takes, as the published figures do."""

    def _steps(self, epochs: float) -> int:
        return int(epochs * IMAGENET / BATCH)


AUTHORS = AuthorsSchedule(IMAGENET // BATCH, PretrainConfig(batch_size=BATCH, lr_clusters=None))
SCALED = AuthorsSchedule(IMAGENET // BATCH, PretrainConfig(batch_size=BATCH))
FALL = {
    1: 127, 10: 127, 25: 126, 50: 123, 75: 118, 100: 111, 150: 91, 200: 66, 225: 51, 250: 36, 275: 20, 280: 16,
    290: 10, 295: 7, 299: 4, 300: 4,
}  # fmt: skip


def every_epoch(config: ClustersConfig, epochs: int = 300) -> list[int | None]:
    return [clusters_at(config, epochs, epoch) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("points", [None, [0, 300]])
def test_the_default_falls_along_a_quarter_of_a_cosine(points: list[int] | None) -> None:
    config = ClustersConfig(epochs=points)
    assert {epoch: clusters_at(config, 300, epoch) for epoch in FALL} == FALL


def test_the_default_falls_slowly_then_fast() -> None:
    found = [value for value in every_epoch(ClustersConfig()) if value is not None]
    assert all(later <= earlier for earlier, later in itertools.pairwise(found))
    assert max(epoch for epoch, value in enumerate(found, 1) if value >= 100) == 130
    assert max(epoch for epoch, value in enumerate(found, 1) if value >= 64) == 203
    assert sum(value <= 16 for value in found) == 21
    assert 128 not in found


def test_points_left_out_span_the_run() -> None:
    assert every_epoch(ClustersConfig(), 30) == every_epoch(ClustersConfig(epochs=[0, 30]), 30)
    assert every_epoch(ClustersConfig(), 30)[-1] == 4


def test_a_hold_keeps_the_first_value_and_moves_the_fall_behind_it() -> None:
    found = every_epoch(ClustersConfig(hold=40))
    assert found[:40] == [128] * 40
    assert found[40] == 127
    assert found[169] == int(4 + 124 * math.cos(math.pi / 4))  # half-way through the 260 epochs that are left
    assert found[-1] == 4
    assert every_epoch(ClustersConfig(hold=40, epochs=[0, 300])) == found


def test_a_rise_is_fast_then_slow() -> None:
    found = every_epoch(ClustersConfig(values=[4, 128]))
    assert found[149] == int(4 + 124 * math.sin(math.pi / 4))
    assert found[-1] == 128


def test_linear_stays_at_its_ends() -> None:
    config = ClustersConfig(kind="linear", epochs=[10, 72], values=[128, 4])
    found = every_epoch(config, 100)
    assert found[:10] == [128] * 10
    assert found[10:72] == [128 - 2 * step for step in range(1, 63)]
    assert found[72:] == [4] * 28


def test_linear_cuts_off_fractions_and_goes_through_whole_numbers() -> None:
    assert every_epoch(ClustersConfig(kind="linear", values=[10, 1]), 90)[9::10] == list(range(9, 0, -1))
    assert every_epoch(ClustersConfig(kind="linear", values=[1, 3]), 4) == [1, 2, 2, 3]


def test_piecewise_holds_each_value_from_its_epoch_on() -> None:
    config = ClustersConfig(kind="piecewise", epochs=[2, 4, 6], values=[None, 64, 4])
    assert every_epoch(config, 8) == [None, None, None, 64, 64, 4, 4, 4]


@pytest.mark.parametrize("value", [1, 64, 500, None])
def test_constant_is_constant(value: int | None) -> None:
    assert every_epoch(ClustersConfig(kind="constant", values=[value]), 5) == [value] * 5


def test_what_no_one_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"epochs is \[3\], which train\.clusters\.kind constant does not read"):
        ClustersConfig(kind="constant", values=[8], epochs=[3])
    with pytest.raises(ConfigError, match=r"momentum is 0\.8, which train\.optimizer adamw does not read"):
        PretrainConfig(optimizer="adamw", momentum=0.8)
    assert PretrainConfig(momentum=0.8).momentum == 0.8


@pytest.mark.parametrize(("points", "raise_it"), [(None, "train.epochs"), ([0, 300], "train.clusters.epochs")])
def test_a_hold_to_the_end_is_refused(points: list[int] | None, raise_it: str) -> None:
    train = PretrainConfig(clusters=ClustersConfig(hold=300, epochs=points))
    with pytest.raises(ConfigError, match=f"hold is 300, but .* epoch 300; .* raise {raise_it}$"):
        PretrainSchedule(10, train)


def test_lengths_come_from_the_loader() -> None:
    ours = PretrainSchedule(312, PretrainConfig(batch_size=BATCH, lr_clusters=None))
    assert (ours.total_steps, ours.warmup_steps) == (93_600, 936)
    assert ours.factor(936) == 1.0
    assert 0 < ours.factor(93_599) < 1e-8
    assert ours.factor(93_600) == 0.0
    assert ours.momentum(93_600) == 1.0
    # Of a hundredth of ImageNet 3 steps an epoch are left, and not 3.1.
    assert PretrainSchedule(3, PretrainConfig(batch_size=BATCH)).total_steps == 900


def test_peak_is_that_of_the_whole_batch() -> None:
    assert AUTHORS.peak_lr == pytest.approx(4.8)
    assert AUTHORS.factor(938) == 1.0


def test_the_rate_starts_at_exactly_zero() -> None:
    assert AUTHORS.factor(0) == 0.0
    assert SCALED.factor(0) == 0.0
    assert AUTHORS.factor(469) == 0.5
    assert PretrainSchedule(10, PretrainConfig(warmup_epochs=0, lr_clusters=None)).factor(0) == 1.0


RATES = {
    2: (12.67, 1.597), 5: (38.10, 4.800), 50: (34.77, 4.523), 100: (25.47, 3.671), 150: (14.06, 2.473),
    200: (5.178, 1.255), 250: (0.785, 0.349), 299: (3e-4, 1e-3),
}  # fmt: skip


@pytest.mark.parametrize("epoch", RATES)
def test_rates_at_the_first_step_of_an_epoch(epoch: int) -> None:
    step, (scaled, plain) = (epoch - 1) * 312, RATES[epoch]
    near = 0.1 if epoch == 299 else 5e-4  # as many digits as the table has
    assert AUTHORS.peak_lr * AUTHORS.factor(step) == pytest.approx(plain, rel=near)
    assert SCALED.peak_lr * SCALED.factor(step) == pytest.approx(scaled, rel=0.2 if epoch == 299 else 7e-4)


def test_without_clustering_the_rate_is_that_of_128_groups() -> None:
    train = PretrainConfig(clusters=ClustersConfig(kind="constant", values=[None]), warmup_epochs=0)
    schedule = PretrainSchedule(10, train)
    assert schedule.clusters(0) is None
    assert schedule.factor(0) == 128 / 16


def test_target_momentum_rises_to_one_along_half_a_cosine() -> None:
    gold = {0: 0.99, 149 * 312: 0.994928, 249 * 312: 0.999287, 93_835: 1.0, 94_000: 1.0}
    assert {step: AUTHORS.momentum(step) for step in gold} == pytest.approx(gold, abs=5e-7)
    assert AUTHORS.momentum(0) == pytest.approx(0.99, abs=1e-15)


def test_clusters_change_between_epochs_alone() -> None:
    schedule = PretrainSchedule(7, PretrainConfig(epochs=300))
    for epoch, value in FALL.items():
        assert {schedule.clusters(step) for step in range(7 * (epoch - 1), 7 * epoch)} == {value}


def test_peak_step_is_the_first_of_the_highest_rate() -> None:
    schedule = PretrainSchedule(5, PretrainConfig(epochs=10, warmup_epochs=2, lr_clusters=None))
    assert schedule.peak_step() == 10
    # The number of clusters falls faster here than the rate rises.
    train = PretrainConfig(epochs=4, warmup_epochs=3, clusters=ClustersConfig(values=[100, 1], epochs=[0, 2]))
    assert PretrainSchedule(10, train).peak_step() == 9
