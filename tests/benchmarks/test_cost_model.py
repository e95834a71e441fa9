"""The cost model by hand, the counts of networks against published ones, and the document against the code."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cost_model as model
from benchmarks.cost_constants import Constants, Gpu
from benchmarks.flops import BackboneCost

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"


def constants(**values: float) -> Constants:
    base = Constants()
    return replace(base, **{name: replace(getattr(base, name), value=value) for name, value in values.items()})


def test_storage_by_hand() -> None:
    c = constants(pairs_per_photo=4, pair_bytes=1000, manifest_bytes=100, slack_bytes=50)
    assert model.folder_bytes(20, c) == 20 * (1000 + 100 + 100)
    c = replace(c, photo_bytes=replace(c.photo_bytes, value=3000), mask_bytes=replace(c.mask_bytes, value=500))
    assert model.photos(20, c) == 5
    assert model.archive_bytes(20, c, small=False) == 5 * (3000 + 500 + 100)


def test_core_times_by_hand() -> None:
    c = constants(pairs_per_photo=4, cut_photo_ms=8, cut_pair_ms=3, archive_photo_ms=2, archive_pair_ms=0.5)
    assert model.preprocessing_seconds(4000, c) == pytest.approx(1000 * 0.008 + 4000 * 0.003)
    assert model.pair_ms("archive", c) == 2.5
    assert model.pair_ms("grouped", c) == 1.0  # one photo for four pairs


def test_training_is_bound_by_computing_or_by_memory() -> None:
    gpu = Gpu("one", flops=100e12, bandwidth=1e12)
    heavy = BackboneCost("heavy", 10, forward_flops=10**12, step_elements=0)
    light = BackboneCost("light", 10, forward_flops=0, step_elements=7 * 10**9)
    assert model.training_seconds(heavy, gpu) == pytest.approx(3e12 / 40e12)  # 40 % of the peak, three passes
    assert model.training_seconds(light, gpu) == pytest.approx(14e9 / 0.7e12)  # two bytes, 70 % of the peak
    costs = {"heavy": heavy, "light": light}
    assert model.pairs_per_second(("heavy", "light"), gpu, costs) == pytest.approx(1 / 0.095)
    # 26,089 pairs: 18,320 trained 30 times, 7,769 scored once, a third of a training pass.
    assert model.gpu_hours(26_089, ("heavy", "heavy"), gpu, costs) == pytest.approx(
        0.15 * (30 * 18_320 + 7_769 / 3) / 3600
    )


@pytest.mark.parametrize(("gpus", "copies"), [(1, 0.0), (2, 1.0), (4, 1.5), (64, 1.96875)])
def test_ring_sends_almost_two_copies(gpus: int, copies: float) -> None:
    assert model.ring_bytes(1000, gpus) == 1000 * copies


@pytest.mark.parametrize(
    ("name", "multiply_adds", "parameters"),
    [
        # Touvron et al. 2021 (Liu et al. 2021: 17.5), Sandler et al. 2018, timm's card of the model. Parameters less
        # the classifier of 1,000 classes.
        ("DeiT-B", 17.6e9, 86.6e6 - 0.769e6),
        ("MobileNetV2", 0.300e9, 3.5e6 - 1.281e6),
        ("Mixer-B/16", 12.6e9, 59.9e6 - 0.769e6),
    ],
)
def test_counts_agree_with_published_ones(soak: bool, name: str, multiply_adds: float, parameters: float) -> None:
    if not soak:
        pytest.skip("with --soak")
    cost = model.backbone_costs()[name]
    assert cost.forward_flops / 2 == pytest.approx(multiply_adds, rel=0.05)
    assert cost.parameters == pytest.approx(parameters, rel=0.01)


def test_document_holds_the_tables_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    stale = [title for title, table in model.tables().items() if f"### {title}\n\n{table}\n" not in text]
    assert not stale, f"run: python -m benchmarks.cost_model --write {DOCUMENT}"


@pytest.mark.parametrize(
    ("value", "text"), [(950, "950 B"), (26_016 * 250, "6.5 MB"), (1.5e12, "1.5 TB"), (4e15, "4e+03 TB")]
)
def test_sizes_in_words(value: float, text: str) -> None:
    assert model.size(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(90, "90 s"), (150, "2.5 min"), (7200, "2 h"), (864_000, "10 days")])
def test_durations_in_words(seconds: float, text: str) -> None:
    assert model.duration(seconds) == text
