"""The benchmarks of pre-training, taken through their parts with little to do."""

from pathlib import Path

import pytest
import torch

from benchmarks import refinement, superpixels
from benchmarks.common import Recorded, Result
from datasets.archive import PHOTO_FOLDER
from datasets.two_views.photos import index_photos
from utils.photo_sections import PhotoDataConfig

SMALL = ("--data.image_size", "64", "--data.superpixels.segments", "8", "--model.cluster_stride", "16")
PARTS = "R2O/train_cfgs/tiny_cpu.yaml"


def test_the_share_of_the_regions_is_part_of_a_step() -> None:
    found = refinement.row(refinement.Case(PARTS, 4, 5, "cpu", 30, SMALL, warm_up=1, steps=2))
    assert isinstance(found, Recorded)
    assert found.value is not None
    assert 0 < found.value < 100
    assert "K = 5, fp32" in found.note


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_its_row_was_not_measured() -> None:
    assert refinement.row(refinement.RESNET).verdict == "not measured"


def test_photos_are_loaded_with_slic_with_the_cache_and_without(pair_tree: Path, tmp_path: Path) -> None:
    photos = index_photos(PhotoDataConfig(root=str(pair_tree.parent / "archive" / PHOTO_FOLDER / "train")))
    loading, *numbers = superpixels.loading(superpixels.first(photos, 2), tmp_path / "cache", "PNG photos", repeats=1)
    assert isinstance(loading, Result)
    assert loading.ratios[0] > 1  # superpixels that are kept come sooner
    assert len(list((tmp_path / "cache").rglob("*.slic"))) == 2
    assert all(isinstance(row, Recorded) and row.value is not None for row in numbers)
