"""Maps of models with the plug-in module: of the combiner's logit, and those of its levels."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.index import PairIndex
from experiments.explanation.command import explain_command
from experiments.explanation.maps import explaining
from experiments.explanation.measures import OtherCuts, measure_region
from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs import backbones
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.maps import energy_maps
from Off_the_shelfs.pim.module import PimBackbone
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import build_rvernet
from utils.data_sections import DataConfig
from utils.errors import ConfigError

SIDE, CLASSES = 64, 5
PIM = PimConfig(width=16, counts=0.5, positions_per_joint=4)
SWIN = "swin_tiny_patch4_window7_224"


def pim_config(name: str) -> BackboneConfig:
    return BackboneConfig(name=name, pretrained=False, features="pim", pim=PIM)


def model_of(name: str) -> tuple[OffTheShelf, PimBackbone]:
    """Build a one-view model of random weights; the Swin narrowed to one block of 16 channels a stage."""
    narrow = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)} if name == SWIN else {}
    create = backbones._call_factory
    torch.manual_seed(0)
    config = OffTheShelfModelConfig(backbone=pim_config(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "_call_factory", lambda called, options: create(called, options | narrow))
        model = build_off_the_shelf(config, OneViewDataConfig(image_size=SIDE), CLASSES).eval()
    assert isinstance(model.backbone, PimBackbone)
    return model, model.backbone


def pictures(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["test_efficientnet", "test_vit", SWIN])
def pim(request: pytest.FixtureRequest) -> tuple[OffTheShelf, PimBackbone]:
    return model_of(request.param)


def test_gradcam_of_the_combiners_logit_is_that_of_the_deepest_level(pim: tuple[OffTheShelf, PimBackbone]) -> None:
    """Selvaraju et al. 2017: channels weighed by the mean gradient, here by hand from the module's maps."""
    model, backbone = pim
    views, target = pictures(), torch.tensor([3, 1])
    *shallow, deepest = (each.detach() for each in backbone.maps(views))
    deepest.requires_grad_()
    logits = model.head(backbone.plug_in([*shallow, deepest]).features)
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), deepest)
    expected = torch.einsum("bk,bkhw->bhw", gradient.mean(dim=(2, 3)), deepest).detach().numpy()
    with explaining(model) as explainer:
        found = explainer.explain({"roi": views}, target)
        again = explainer.explain({"roi": views}, target)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found.maps["roi"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(found.maps["roi"], again.maps["roi"])
    np.testing.assert_allclose(found.logits, logits.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_what_changes_in_a_corner_of_the_picture_changes_that_corner_of_each_map(
    pim: tuple[OffTheShelf, PimBackbone],
) -> None:
    """Noise in the lower left corner, then in the upper right one, of an even picture."""
    model, backbone = pim

    def seen(picture: Tensor) -> list[Tensor]:
        """The scores of all classes, and the maps from which the energy is."""
        scores = [model.own_maps("score", {"roi": picture}, torch.tensor([k]))["roi"] for k in range(CLASSES)]
        levels = [torch.cat([found.values for found in of_level]) for of_level in zip(*scores, strict=True)]
        return [*levels, *(found[0] for found in backbone.maps(picture))]

    for rows, columns in ((slice(48, 64), slice(0, 16)), (slice(0, 16), slice(48, 64))):
        changed = torch.zeros(1, 3, SIDE, SIDE)
        changed[..., rows, columns] = 3 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            before, after = seen(torch.zeros(1, 3, SIDE, SIDE)), seen(changed)
        for one, other in zip(before, after, strict=True):
            difference = (other - one).abs().sum(dim=0)
            row, column = divmod(int(difference.argmax()), len(difference))
            assert (2 * row >= len(difference), 2 * column >= len(difference)) == (rows.start > 0, columns.start > 0)


def test_energy_is_that_of_the_maps_that_the_module_takes(pim: tuple[OffTheShelf, PimBackbone]) -> None:
    model, backbone = pim
    views = pictures()
    found = model.own_maps("energy", {"roi": views}, torch.zeros(2, dtype=torch.int64))["roi"]
    for energy, features in zip(found, backbone.maps(views), strict=True):
        summed = features.detach().clamp(min=0).sum(dim=1)
        for pair in range(2):
            least, most = summed[pair].min(), summed[pair].max()
            torch.testing.assert_close(energy.values[pair], (summed[pair] - least) / (most - least))


def test_scores_of_all_classes_add_up_to_one_and_kept_positions_are_the_surest(
    pim: tuple[OffTheShelf, PimBackbone],
) -> None:
    model, backbone = pim
    views = {"roi": pictures()}
    scores = [model.own_maps("score", views, torch.full((2,), k))["roi"] for k in range(CLASSES)]
    kept = model.own_maps("kept", views, torch.zeros(2, dtype=torch.int64))["roi"]
    assert [each.name for each in kept] == ["level_1", "level_2", "level_3", "level_4"]
    for number, (mask, level) in enumerate(zip(kept, backbone.levels, strict=True)):
        stack = torch.stack([of_class[number].values for of_class in scores])
        assert stack.shape == (CLASSES, 2, level.height, level.width)
        torch.testing.assert_close(stack.sum(dim=0), torch.ones(2, level.height, level.width))
        surest = stack.amax(dim=0)
        for pair in range(2):
            chosen = mask.values[pair] == 1
            assert int(chosen.sum()) == level.positions // 2
            assert surest[pair][chosen].min() >= surest[pair][~chosen].max()


def test_energy_by_hand_and_of_an_even_map() -> None:
    features = torch.tensor([[[[1.0, -5.0], [0.0, 2.0]], [[1.0, 1.0], [-3.0, 3.0]]]])
    (found,) = energy_maps([features])
    torch.testing.assert_close(found.values, torch.tensor([[[0.4, 0.2], [0.0, 1.0]]]))  # of 2, 1, 0, 5
    (even,) = energy_maps([torch.full((1, 4, 3, 3), 7.0)])
    assert torch.equal(even.values, torch.zeros(1, 3, 3))


def test_tracing_leaves_the_plug_in_module_as_it_was() -> None:
    model, _ = model_of("test_efficientnet")
    model.train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with explaining(model) as explainer:
        explainer.explain({"roi": pictures()})
    assert model.training
    assert model.backbone.plug_in.training  # type: ignore[union-attr]
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_finer_maps_come_from_earlier_layers_and_the_last_level_may_be_any() -> None:
    config = BackboneConfig(
        name="test_efficientnet", pretrained=False, features="pim",
        pim=PimConfig(width=16, counts=0.5, positions_per_joint=4, levels=[0, 1]),
    )  # fmt: skip
    model = build_off_the_shelf(OffTheShelfModelConfig(backbone=config), OneViewDataConfig(image_size=SIDE), CLASSES)
    assert isinstance(model.backbone, PimBackbone)
    deepest = model.backbone.levels[-1]
    layer = model.backbone.spatial_layer()
    assert (layer.height, layer.channels) == (deepest.height, deepest.channels)
    assert model.backbone.spatial_layer(deepest.height + 1).height > deepest.height


def test_in_a_two_view_network_each_module_has_a_map_and_only_pim_has_maps_of_its_own() -> None:
    torch.manual_seed(0)
    config = RveRNetModelConfig(
        roi_backbone=pim_config("test_efficientnet"),
        extra_roi_backbone=BackboneConfig(name="test_vit", pretrained=False),
        hidden_width=8,
    )
    model = build_rvernet(config, DataConfig(image_size=SIDE), CLASSES).eval()
    for layer in model.head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    views = {"roi": pictures(), "extra_roi": pictures().flip(0)}
    with explaining(model) as explainer:
        found = explainer.explain(views)
    assert all(np.abs(values).max() > 0 for values in found.maps.values())
    total = sum(values.sum(axis=1) for values in found.contributions.values())
    np.testing.assert_allclose(total, found.logits.max(axis=1), rtol=1e-3, atol=1e-5)  # Euler: no biases in the head
    assert model.map_methods == ("energy", "score", "kept")
    assert list(model.own_maps("kept", views, torch.zeros(2, dtype=torch.int64))) == ["roi"]


def test_region_measures_by_hand() -> None:
    """A map of 2×2 cells over 4×4 pixels whose lowest row is a bar; the roi is the left half of the others."""
    kept = np.array([[[1.0, 0.0], [1.0, 1.0]]], np.float32)
    outside, roi = np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool)
    outside[:, 3], roi[:, :3, :2] = True, True
    other = np.zeros((1, 4, 4), bool)
    other[:, 0] = True
    found = measure_region(kept, roi, outside, OtherCuts(other, np.array([[True]])))
    assert found.inside_roi == pytest.approx([6 / 8])  # of 4 + 2 + 2 kept pixels above the bar
    assert found.roi_area == pytest.approx([6 / 12])
    assert found.control_inside == pytest.approx([2 / 8])
    assert found.control_area == pytest.approx([4 / 12])
    assert found.on_bars == pytest.approx([4 / 12])
    nothing = measure_region(np.zeros((1, 2, 2), np.float32), roi, outside, OtherCuts(other, np.array([[True]])))
    assert np.isnan(nothing.inside_roi).all()
    assert np.isnan(measure_region(kept, None, outside, None).inside_roi).all()


@pytest.fixture(scope="module")
def pim_run(tmp_path_factory: pytest.TempPathFactory, test_index: PairIndex, write: Any) -> Path:  # noqa: ANN401  # a function
    config = OffTheShelfConfig(
        data=OneViewDataConfig(root=str(test_index.root), image_size=SIDE, view="photo"),
        model=OffTheShelfModelConfig(backbone=pim_config("test_efficientnet")),
    )
    logits = np.eye(3, dtype=np.float32)[test_index.label]
    folder: Path = write(tmp_path_factory.mktemp("pim") / "pim", OFF_THE_SHELF, config, test_index, logits)
    return folder


def test_gallery_of_kept_positions(pim_run: Path, tmp_path: Path) -> None:
    argv = ["--run", str(pim_run), "--select", "first", "--count", "2", "--method", "kept", "--batch_size", "1"]
    summaries = [explain_command([*argv, "--out", str(tmp_path / name)]) for name in ("a", "b")]
    assert summaries[0] == summaries[1]
    for name in ("explanations.csv", "index.html", "sheets/0001.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with (tmp_path / "a" / "explanations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    levels = summaries[0]["runs"]["pim"]["maps"]["photo"]
    assert [entry["cells"] for entry in levels.values()] == [[16, 16], [8, 8], [4, 4], [2, 2]]
    for row in rows:
        for level in levels:
            assert 0 <= float(row[f"inside_roi_photo_{level}"]) <= 1
            assert float(row[f"roi_area_photo_{level}"]) == pytest.approx(float(row["roi_area_photo_level_1"]))
    mean = np.mean([float(row["inside_roi_photo_level_2"]) for row in rows])
    assert levels["level_2"]["inside_roi"] == pytest.approx(mean, rel=1e-4)
    page = (tmp_path / "a" / "index.html").read_text(encoding="utf-8")
    assert "% of the kept positions of level 2 in photo lie on the annotated roi" in page
    assert not (tmp_path / "a" / "evidence_by_class.png").exists()


def test_scores_of_the_truth(pim_run: Path, tmp_path: Path) -> None:
    argv = ["--run", str(pim_run), "--select", "random", "--count", "4", "--method", "score"]
    summary = explain_command([*argv, "--target", "truth", "--out", str(tmp_path / "truth")])
    with (tmp_path / "truth" / "explanations.csv").open(encoding="utf-8", newline="") as file:
        assert all(row["target"] == row["class"] for row in csv.DictReader(file))
    assert summary["definitions"].keys() >= {"score", "inside_roi"}
    assert "kept" not in summary["definitions"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "kept", "--least_cells", "7"], r"--least_cells 7: maps of --method kept have the cells of the"),
        (["--method", "energy", "--target", "truth"], r"--target truth: maps of --method energy know of no class"),
        (["--method", "kep"], r"--method kep is not known; did you mean 'kept'"),
    ],
)
def test_bad_options_of_own_maps(pim_run: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain_command(["--run", str(pim_run), "--out", str(tmp_path / "out"), *options])
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_own_maps_is_told_what_it_has(pim_run: Path, one_view_run: Path, tmp_path: Path) -> None:
    argv = ["--run", str(pim_run), str(one_view_run), "--method", "kept", "--out", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match=r"--method kept: roi has no such maps .*It has: gradcam, .*eigengradcam$"):
        explain_command(argv)
    assert list(tmp_path.iterdir()) == []
