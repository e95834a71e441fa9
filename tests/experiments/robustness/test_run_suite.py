"""Suites over small untrained networks: every number against a plain loop over pictures."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from datasets.index import PairIndex
from experiments.kinds import OFF_THE_SHELF, RVERNET, Model
from experiments.robustness import run as run_module
from experiments.robustness.perturbations import permute_patches
from experiments.robustness.picture import save_transformed_views
from experiments.robustness.run import run_suite, suite_loader
from experiments.robustness.suite import Suite, load_suite
from experiments.runs import RunRecord, load_index
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.engine import compute_logits
from utils.errors import ConfigError
from utils.sections import TrainConfig

SUITES = Path(__file__).parents[3] / "configs" / "suites"
CLASSES = ("blueberry", "spinach", "tomato")
TRAIN = TrainConfig(device="cpu", precision="fp32", batch_size=8)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return make_accelerator(TRAIN)


@pytest.fixture(scope="module")
def two_views(pair_tree: Path) -> tuple[RunRecord, Model]:
    config = RveRNetConfig(
        data=DataConfig(root=str(pair_tree), image_size=32, workers=0, bars="grey"),
        model=RveRNetModelConfig(
            roi_backbone=BackboneConfig(name="test_efficientnet", pretrained=False),
            extra_roi_backbone=BackboneConfig(name="test_resnet", pretrained=False),
            hidden_width=8,
        ),
        train=TRAIN,
    )
    torch.manual_seed(0)
    classes = tuple(PairIndex.from_tree(pair_tree, "test").classes.names)
    return RunRecord(pair_tree, "two", RVERNET, config, classes, {}), RVERNET.build(config, 3, False).eval()


@pytest.fixture(scope="module")
def one_view(pair_tree: Path) -> tuple[RunRecord, Model]:
    config = OffTheShelfConfig(
        data=OneViewDataConfig(root=str(pair_tree), image_size=32, workers=0, view="extra_roi"),
        model=OffTheShelfModelConfig(backbone=BackboneConfig(name="test_resnet", pretrained=False)),
        train=TRAIN,
    )
    torch.manual_seed(1)
    classes = tuple(PairIndex.from_tree(pair_tree, "test").classes.names)
    return RunRecord(pair_tree, "one", OFF_THE_SHELF, config, classes, {}), OFF_THE_SHELF.build(config, 3, False).eval()


@pytest.fixture
def calls(two_views: tuple[RunRecord, Model]) -> Iterator[dict[str, int]]:
    """How many pictures each module of the two-view model has seen."""
    seen = dict.fromkeys(two_views[1].backbones, 0)

    def count(view: str) -> Any:  # noqa: ANN401
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[view] += len(inputs[0])

        return hook

    handles = [part.register_forward_pre_hook(count(view)) for view, part in two_views[1].backbones.items()]
    yield seen
    for handle in handles:
        handle.remove()


def suite(name: str, seeds: tuple[int, ...] | None = None) -> Suite:
    loaded = load_suite(SUITES / f"{name}.yaml")
    return loaded if seeds is None else dataclasses.replace(loaded, seeds=seeds)


def written(folder: Path, conditions: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(f"seeds: [4, 5]\nconditions:\n{conditions}\n")
    return load_suite(path)


def test_each_distinct_input_is_computed_once(
    two_views: tuple[RunRecord, Model], accelerator: Accelerator, calls: dict[str, int]
) -> None:
    record, model = two_views
    index = load_index(record)
    outcome = run_suite(record, model, index, suite("paper", seeds=(0,)), accelerator)
    assert calls == {"roi": 2 * len(index), "extra_roi": 5 * len(index)}
    assert (outcome.distinct_passes, outcome.naive_passes) == (7, 14)
    assert [condition.name for condition in outcome.conditions] == list(outcome.logits)
    assert {scores.shape for scores in outcome.logits.values()} == {(1, len(index), 3)}
    assert {scores.dtype for scores in outcome.logits.values()} == {np.dtype(np.float32)}
    assert outcome.pixels["permute_both"] == {"patch": 2}  # 16 · 32 / 224 = 2.3
    assert outcome.pixels["translate_a"] == {"dx": -4, "dy": 9}  # -4.3 and 9.0
    # 32×24 pictures centred on 32: 28 of 32 columns stay; moved up by 9, the top 5 of 24 rows are lost.
    assert outcome.content_kept["translate_a"] == {"extra_roi": pytest.approx(28 / 32 * 19 / 24)}
    assert outcome.content_kept["permute_both"] == {"roi": 1.0, "extra_roi": 1.0}
    assert outcome.content_kept["identity"] == {}
    assert not outcome.not_applicable


@pytest.mark.parametrize("letterbox", ["run", "released"])
def test_identity_is_the_engines_own_result_bit_for_bit(
    two_views: tuple[RunRecord, Model], accelerator: Accelerator, letterbox: str
) -> None:
    record, model = two_views
    index = load_index(record)
    chosen = suite("paper" if letterbox == "run" else "as_run", seeds=(0,))
    loader = suite_loader(record, model, index, chosen.letterbox, accelerator)
    expected = compute_logits(model, loader, model.prepare, accelerator, len(index), 3)
    outcome = run_suite(record, model, index, chosen, accelerator)
    assert np.array_equal(outcome.logits["identity"][0], expected)
    assert not np.array_equal(outcome.logits["permute_both"][0], expected)


def test_conditions_against_a_plain_loop(two_views: tuple[RunRecord, Model], accelerator: Accelerator) -> None:
    """Pictures are read with Pillow, moved with NumPy and run one by one."""
    record, model = two_views
    index = load_index(record).subset([1, 8, 17])
    outcome = run_suite(record, model, index, suite("paper", seeds=(6,)), accelerator)
    for row in range(len(index)):
        views = {}
        for view, path in zip(("roi", "extra_roi"), index.paths(row), strict=True):
            canvas = np.full((32, 32, 3), 125, dtype=np.uint8)
            canvas[4:28] = np.asarray(Image.open(path))
            views[view] = canvas
        moved = np.full_like(views["extra_roi"], 125)
        moved[:23, :28] = views["extra_roi"][9:, 4:]
        box = torch.tensor([[0, 4, 32, 24]])
        shuffled = {
            view: permute_patches(torch.from_numpy(v).permute(2, 0, 1)[None], box, 2, 6, [index.draw_key(row)])[0]
            .permute(1, 2, 0)
            .numpy()
            for view, v in views.items()
        }
        for name, changed in {
            "identity": {},
            "translate_a": {"extra_roi": moved},
            "permute_roi": {"roi": shuffled["roi"]},
            "permute_both": shuffled,
        }.items():
            with torch.no_grad():
                expected = model({view: normalised(p, model, view) for view, p in (views | changed).items()})
            assert outcome.logits[name][0, row] == pytest.approx(expected[0].numpy(), abs=1e-4), name


def normalised(picture: np.ndarray, model: Model, view: str) -> Tensor:
    spec = model.view_specs[view]
    scaled = (picture / 255 - np.array(spec.mean)) / np.array(spec.std)
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]


def test_seeds_and_batches(two_views: tuple[RunRecord, Model], accelerator: Accelerator, tmp_path: Path) -> None:
    record, model = two_views
    index = load_index(record).subset(list(range(0, 20, 2)))
    conditions = """
  noisy: {perturbation: noise, views: each, sd: 20}
  shuffled: {perturbation: permute_patches, views: [roi, extra_roi], patch: 28}
  dark: {perturbation: brightness, views: [extra_roi], factor: 0.5}"""
    chosen = written(tmp_path, conditions)
    outcome = run_suite(record, model, index, chosen, accelerator)
    assert [len(scores) for scores in outcome.logits.values()] == [1, 2, 2, 2, 1]
    assert outcome.distinct_passes == (1 + 2 + 2) + (1 + 2 + 2 + 1)
    assert outcome.naive_passes == 2 * (1 + 2 + 2 + 2 + 1)
    for name in ("noisy-roi", "shuffled"):
        assert not np.allclose(outcome.logits[name][0], outcome.logits[name][1])
    again = run_suite(record, model, index, chosen, accelerator, batch_size=3, workers=0)
    part = run_suite(record, model, index.subset([7, 2]), chosen, accelerator)
    for name, scores in outcome.logits.items():
        assert again.logits[name] == pytest.approx(scores, abs=1e-5)
        assert part.logits[name] == pytest.approx(scores[:, [7, 2]], abs=1e-5)
    second = run_suite(record, model, index, dataclasses.replace(chosen, seeds=(5,)), accelerator)
    assert np.array_equal(second.logits["shuffled"][0], outcome.logits["shuffled"][1])


def test_a_one_view_model(one_view: tuple[RunRecord, Model], accelerator: Accelerator) -> None:
    record, model = one_view
    index = load_index(record)
    outcome = run_suite(record, model, index, suite("paper"), accelerator)
    assert list(outcome.logits) == ["identity", "permute_extra_roi", "translate_a", "translate_b", "translate_c"]
    assert outcome.not_applicable == dict.fromkeys(("permute_roi", "permute_both"), "the run has no view roi")
    assert (outcome.distinct_passes, outcome.naive_passes) == (7, 7)
    single = run_suite(record, model, index, suite("paper_single"), accelerator)
    assert list(single.conditions[1].inputs) == ["extra_roi"]
    assert np.array_equal(single.logits["permute"], outcome.logits["permute_extra_roi"])
    assert single.content_kept["permute"] == {"extra_roi": 1.0}


def test_outputs_of_excluded_classes_are_left_out(one_view: tuple[RunRecord, Model], accelerator: Accelerator) -> None:
    record, model = one_view
    whole, part = load_index(record), load_index(record, exclude=["spinach"])
    all_scores = run_suite(record, model, whole, suite("paper_single"), accelerator).logits["identity"][0]
    scores = run_suite(record, model, part, suite("paper_single"), accelerator).logits["identity"][0]
    rows = [row for row in range(len(whole)) if whole.key(row)[1] != "spinach"]
    columns = [place for place, name in enumerate(record.classes) if name != "spinach"]
    assert scores == pytest.approx(all_scores[np.ix_(rows, columns)], abs=1e-5)


def test_a_blank_view_gives_every_pair_the_same_features(
    one_view: tuple[RunRecord, Model], accelerator: Accelerator, tmp_path: Path
) -> None:
    record, model = one_view
    chosen = written(tmp_path, "  gone: {perturbation: blank, views: single}")
    outcome = run_suite(record, model, load_index(record), chosen, accelerator)
    scores = outcome.logits["gone"][0]
    assert scores == pytest.approx(np.broadcast_to(scores[0], scores.shape), abs=1e-5)
    assert outcome.content_kept["gone"] == {"extra_roi": 0.0}


@pytest.mark.parametrize(
    ("letterbox", "largest"), [("run", "16 pixels .112 at 224"), ("released", "31 pixels .217 at 224")]
)
def test_patches_larger_than_the_picture(
    two_views: tuple[RunRecord, Model], accelerator: Accelerator, tmp_path: Path, letterbox: str, largest: str
) -> None:
    record, model = two_views
    chosen = written(tmp_path, "  big: {perturbation: permute_patches, views: [extra_roi], patch: 300}")
    chosen = dataclasses.replace(chosen, letterbox=cast(Any, letterbox))
    message = (
        rf"condition 'big': a patch of 43 pixels \(300 at 224\) is too large for extra_roi pictures of 32 .*{largest}"
    )
    with pytest.raises(ConfigError, match=message):
        run_suite(record, model, load_index(record), chosen, accelerator)


def test_pictures_too_narrow_for_two_patches_are_counted(
    two_views: tuple[RunRecord, Model], accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, model = two_views
    index = load_index(record)
    chosen = written(tmp_path, "  big: {perturbation: permute_patches, views: [roi], patch: 112}")
    assert run_suite(record, model, index, chosen, accelerator).notes == ()
    narrow = dataclasses.replace(index, size=np.where(np.arange(20)[:, None] < 3, [[32, 8]], index.size))
    monkeypatch.setattr(run_module, "_compute", lambda *_: ({}, {}))
    monkeypatch.setattr(run_module, "_mean_kept", lambda *_: {})
    outcome = run_suite(record, model, narrow, chosen, accelerator)
    assert outcome.notes == (
        "big: 3 of 20 roi pictures hold fewer than two patches of 16 pixels and are left as they are",
    )


@pytest.mark.parametrize("name", ["paper", "as_run", "severity"])
def test_a_picture_of_the_views(two_views: tuple[RunRecord, Model], tmp_path: Path, name: str) -> None:
    record, model = two_views
    path = tmp_path / f"{name}.png"
    save_transformed_views(model.view_specs, record.config.data, load_index(record), suite(name), [3], path)
    with Image.open(path) as image:
        assert min(image.size) > 400
        assert image.height < 6000
