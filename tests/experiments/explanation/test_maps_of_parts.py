"""Maps of models that look at one part of a picture."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets.index import PairIndex
from experiments.explanation.command import explain_command
from experiments.explanation.maps import explaining
from experiments.explanation.measures import OtherCuts, enlarge, measure
from experiments.explanation.part_panels import part_numbers, part_panels
from experiments.explanation.sheets import TILE
from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.own_maps import Parts
from Off_the_shelfs.salience.config import SalienceConfig
from Off_the_shelfs.salience.model import SalienceClassifier
from utils.batch import Batch, ViewSpec
from utils.errors import DataError

SOURCE, SIDE, CLASSES = 96, 64, 5
# Left, top, width, height: the whole, four corners, the centre.
BOXES = [(0, 0, 3, 3), (0, 0, 2, 2), (1, 0, 2, 2), (0, 1, 2, 2), (1, 1, 2, 2), (0.5, 0.5, 2, 2)]


def model_config(name: str, choose: Any = "random") -> OffTheShelfModelConfig:  # noqa: ANN401  # one of three words
    salience = SalienceConfig(choose=choose, grey_side=16)
    return OffTheShelfModelConfig(
        backbone=BackboneConfig(name=name, pretrained=False), looks_at="salience", salience=salience
    )


def salience_model(name: str, choose: str = "random") -> SalienceClassifier:
    torch.manual_seed(0)
    data = OneViewDataConfig(image_size=SIDE, view="photo")
    model = build_off_the_shelf(model_config(name, choose), data, CLASSES).eval()
    assert isinstance(model, SalienceClassifier)
    return model


def pictures(count: int = 12) -> Tensor:
    return torch.rand(count, 3, SOURCE, SOURCE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_map_is_the_classifiers_own_of_the_part_that_is_looked_at(name: str) -> None:
    """A plain classifier of the same weights is given each pair's part as its picture."""
    model, views = salience_model(name), pictures()
    spec = ViewSpec(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    plain = OffTheShelf(model.backbone, "photo", spec, CLASSES, 0.0).eval()
    plain.head = model.head
    with explaining(model) as explainer:
        found = explainer.explain({"photo": views})
    parts = found.parts["photo"]
    np.testing.assert_allclose(parts.boxes.numpy() * 3, BOXES, atol=1e-6)
    assert len(set(parts.chosen.tolist())) > 2  # several parts in one batch
    seen = torch.cat([model.colour_view(views[k : k + 1], int(parts.chosen[k])) for k in range(len(views))])
    with explaining(plain) as explainer:
        expected = explainer.explain({"photo": seen})
    np.testing.assert_allclose(found.maps["photo"], expected.maps["photo"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(found.contributions["photo"], expected.contributions["photo"], rtol=1e-3, atol=1e-6)


def test_part_that_is_reported_is_the_one_on_which_the_answer_depends() -> None:
    model, views = salience_model("test_efficientnet", "learned"), pictures(4)
    parts = model.parts("photo", views)
    assert parts.small is not None
    assert parts.small.shape == (4, 6, 16, 16)
    torch.testing.assert_close(parts.probability.sum(dim=1), torch.ones(4))
    assert torch.equal(parts.chosen, parts.probability.argmax(dim=1))
    views.requires_grad_()
    torch.autograd.backward(model({"photo": views}).amax(dim=1).sum())
    assert views.grad is not None
    for gradient, chosen in zip(views.grad.abs().sum(dim=1), parts.chosen.tolist(), strict=True):
        left, top, width, height = (round(edge * SOURCE / 3) for edge in BOXES[chosen])
        outside = gradient.clone()
        outside[top : top + height, left : left + width] = 0
        assert gradient.sum() > 0
        assert not outside.any()


def test_map_of_a_control_that_sees_the_whole_covers_all_of_it() -> None:
    with explaining(salience_model("test_efficientnet", "whole")) as explainer:
        found = explainer.explain({"photo": pictures(2)})
    assert found.parts == {}
    assert found.places("photo") is None


def test_a_map_is_laid_where_its_part_lies() -> None:
    values = np.array([[[1.0, 2.0], [3.0, 4.0]]] * 2, np.float32)
    places = np.array([[1 / 3, 0, 2 / 3, 2 / 3], [0, 0, 1, 1]], np.float32)
    found = enlarge(values, 48, places)
    np.testing.assert_array_equal(found[0, :32, 16:], enlarge(values[:1], 32)[0])
    assert found[0].sum() == found[0, :32, 16:].sum()
    np.testing.assert_array_equal(found[1], enlarge(values, 48)[1])
    nothing = np.zeros((2, 48, 48), bool)
    left = nothing.copy()
    left[:, :, :16] = True
    others = {"photo": OtherCuts(nothing[:1], np.ones((2, 1), bool))}
    features = {"photo": np.ones((2, 3), np.float32)}
    counts = measure({"photo": values}, features, {"photo": left}, {"photo": nothing}, others, {"photo": places})
    assert counts["photo"].blacked_heat[0] == 0  # left of the part, which begins at a third
    assert counts["photo"].blacked_heat[1] > 0.2
    assert counts["photo"].map_sum.tolist() == [10, 10]


def square_parts(chosen: list[int]) -> Parts:
    probability = torch.tensor([[0.1, 0.1, 0.5, 0.1, 0.1, 0.1]] * len(chosen))
    small = torch.linspace(0, 1, 6)[None, :, None, None].expand(len(chosen), 6, 8, 8)
    return Parts(torch.tensor(BOXES) / 3, probability, torch.tensor(chosen), small)


def test_how_much_of_the_roi_a_part_holds() -> None:
    """A roi of 6×6 pixels in the upper right corner of a picture of 18×18."""
    photo = torch.full((2, 3, 18, 18), 200, dtype=torch.uint8)
    rest = photo.clone()
    rest[..., :6, 12:] = 0
    box = torch.tensor([[0, 0, 18, 18]] * 2)
    batch = Batch({"photo": photo, "extra_roi": rest}, torch.zeros(2), torch.zeros(2), {"photo": box}, {})
    found = part_numbers(square_parts([2, 3]), batch, "photo")
    assert found["part"].tolist() == [2, 3]
    np.testing.assert_allclose(found["part_probability"], [0.5, 0.1])
    np.testing.assert_allclose(found["part_area"], [4 / 9, 4 / 9])
    np.testing.assert_allclose(found["roi_in_part"], [1, 0])
    # Whole and upper right hold all of it, the centre (3 to 15 both ways) a quarter.
    np.testing.assert_allclose(found["roi_in_any_part"], [2.25 / 6] * 2)
    alone = Batch({"photo": photo}, torch.zeros(2), torch.zeros(2), {"photo": box}, {})
    assert np.isnan(part_numbers(square_parts([2, 3]), alone, "photo")["roi_in_part"]).all()


def test_panels_frame_the_chosen_part_and_its_grey_copy() -> None:
    picture = np.full((18, 18, 3), 90, np.uint8)
    panels = part_panels(square_parts([2]), picture, "photo", 0)
    parts, copies = panels["photo parts"].drawn(), panels["photo copies"].drawn()
    assert panels["photo parts"].captions == ["looks at part 2: 50 %"]
    orange = (np.array(parts).astype(int) - (230, 159, 0)).__abs__().sum(axis=2) == 0
    rows, columns = np.nonzero(orange[TILE // 3 + 8 :])  # below the label
    assert columns.min() >= TILE // 3 - 1
    assert rows.max() + TILE // 3 + 8 < 2 * TILE // 3 + 1
    third = TILE // 3
    assert (copies[:third, 2 * third :] == (230, 159, 0)).all(axis=2).any()  # the third copy of three by two
    assert not (copies[:third, : 2 * third] == (230, 159, 0)).all(axis=2).any()


@pytest.fixture(scope="module")
def part_run(tmp_path_factory: pytest.TempPathFactory, test_index: PairIndex, write: Callable[..., Path]) -> Path:
    data = OneViewDataConfig(root=str(test_index.root), image_size=20, view="photo")
    config = OffTheShelfConfig(data=data, model=model_config("test_efficientnet", "learned"))
    logits = np.eye(3, dtype=np.float32)[test_index.label]
    return write(tmp_path_factory.mktemp("parts") / "chooser", OFF_THE_SHELF, config, test_index, logits)


def test_gallery_of_a_model_that_looks_at_parts(part_run: Path, one_view_run: Path, tmp_path: Path) -> None:
    argv = ["--run", str(part_run), str(one_view_run), "--select", "first", "--count", "3"]
    summary = explain_command([*argv, "--out", str(tmp_path / "a")])
    with (tmp_path / "a" / "explanations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["run"] == "chooser"]
    assert {row["part_photo"] for row in own} <= set("012345")
    assert all(0 < float(row["part_probability_photo"]) <= 1 for row in own)
    assert all(row["part_photo"] == "" for row in rows if row["run"] == "roi")
    parts = summary["runs"]["chooser"]["parts"]["photo"]
    counted = np.bincount([int(row["part_photo"]) for row in own], minlength=6) / 3
    np.testing.assert_allclose(parts["shares"], counted)
    assert "roi_in_part" in summary["definitions"]
    assert any(line.startswith("chooser: looks at part") for line in summary["notes"])
    with Image.open(tmp_path / "a" / "sheets" / "0001.png") as sheet:
        assert sheet.width > 5 * TILE  # photo, roi of the other run, photo, parts, copies


def test_pictures_that_are_too_small_for_their_parts_are_refused(
    part_run: Path, test_index: PairIndex, tmp_path: Path, write: Callable[..., Path]
) -> None:
    data = OneViewDataConfig(root=str(test_index.root), image_size=32, view="photo")
    config = OffTheShelfConfig(data=data, model=model_config("test_efficientnet", "learned"))
    logits = np.eye(3, dtype=np.float32)[test_index.label]
    run = write(tmp_path / "large", OFF_THE_SHELF, config, test_index, logits)
    with pytest.raises(DataError, match=r"pictures are too small .*; use larger pictures, .*crop_fraction"):
        explain_command(["--run", str(part_run), str(run), "--out", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["large"]
