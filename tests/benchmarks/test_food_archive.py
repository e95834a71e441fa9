"""The generated archive of FoodSeg103's size: counted, and painted as planned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.food_archive import PlannedPhoto, draw, read_plan, write_food_archive
from benchmarks.measure import measure
from datasets.cutouts import resize_labels
from utils.errors import DataError


@pytest.fixture(scope="module")
def plan(real_data: Path) -> list[PlannedPhoto]:
    return read_plan(real_data)


def test_plan_has_the_size_of_foodseg103(plan: list[PlannedPhoto]) -> None:
    assert len(plan) == 7118
    assert sum(len(photo.foods) for photo in plan) == 26_016
    assert sum(photo.split == "train" for photo in plan) == 4983
    trained = {food.label_id for photo in plan if photo.split == "train" for food in photo.foods}
    assert trained == set(range(1, 104))
    co_occurrence = np.bincount([len(photo.foods) for photo in plan])
    assert co_occurrence[1:5].tolist() == [11, 1548, 2172, 1680]  # photos with one, two, three and four classes


def test_masks_hold_the_classes_of_the_plan_after_resizing(plan: list[PlannedPhoto]) -> None:
    crowded = sorted(plan, key=lambda photo: -len(photo.foods))[:20]
    for photo in [*crowded, *plan[::400]]:
        pixels, mask = draw(photo, 96)
        assert pixels.shape == (*mask.shape, 3)
        assert max(mask.shape) == 96
        for labels in (mask, resize_labels(mask, 64)):
            assert set(np.unique(labels)) - {0} == {food.label_id for food in photo.foods}
        assert np.array_equal(draw(photo, 96)[0], pixels)


def test_areas_are_roughly_those_of_the_statistics(plan: list[PlannedPhoto]) -> None:
    pairs = [(np.mean(draw(photo, 96)[1] == food.label_id), food.area) for photo in plan[::150] for food in photo.foods]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.9


def test_a_small_archive_is_measured(soak: bool, real_data: Path, tmp_path: Path) -> None:
    if not soak:
        pytest.skip("with --soak")
    photos = read_plan(real_data, 110)  # at least one photo for each class that these photos show
    write_food_archive(photos, real_data, tmp_path / "archive", side=48)
    masks = sorted((tmp_path / "archive/Images/ann_dir").rglob("*.png"))
    assert len(masks) == 110
    assert np.asarray(Image.open(masks[0])).max() > 0
    totals = measure(tmp_path / "archive", tmp_path / "work", 32)
    pairs = sum(len(photo.foods) for photo in photos)
    assert (totals.photos, totals.pairs, totals.files) == (110, pairs, 2 * pairs)
    assert pairs / 110 == pytest.approx(3.65, rel=0.15)
    assert totals.decoded < 0.4  # a photo serves its three or four pairs
    assert totals.pair_bytes > 3 * totals.small_photo_bytes


def test_missing_statistics_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"foodseg103_objects\.csv is missing; RVERNET_DATA names the folder"):
        read_plan(tmp_path)
