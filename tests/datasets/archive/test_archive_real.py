"""Real photos: ten of CamVid, and the photos of tables, whose sizes and EXIF blocks differ."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.sources import load_index_of
from utils.batch import ViewSpec
from utils.data_sections import ArchiveConfig, AugmentConfig, DataConfig

AUGMENT = AugmentConfig(min_crop_area=0.5, rotate_degrees=20, color_jitter=0.2)
SPECS = {view: ViewSpec(96, (0.5,) * 3, (0.5,) * 3) for view in ("roi", "extra_roi")}


def excerpt(source: Path, target: Path, each: int) -> Path:
    """Copy some photos of each split with their masks, evenly spread."""
    target.mkdir()
    shutil.copy(source / "category_id.txt", target)
    for split in ("train", "test"):
        masks = sorted((source / "Images/ann_dir" / split).glob("*.png"))
        for mask in masks[:: max(1, len(masks) // each)][:each]:
            (photo,) = (source / "Images/img_dir" / split).glob(f"{mask.stem}.*")
            for path in (photo, mask):
                (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(source))
    return target


@pytest.mark.parametrize("name", ["camvid", "table_photos"])
def test_real_photos_give_the_batches_of_their_tree(real_data: Path, tmp_path: Path, name: str) -> None:
    archive, tree = excerpt(real_data / name, tmp_path / "archive", 5), tmp_path / "tree"
    preprocess(PreprocessOptions(src=archive, dst=tree, size=128, format="png", workers=1), say=lambda _: None)
    data = DataConfig(source="archive", root=str(archive), archive=ArchiveConfig(size=128), augment=AUGMENT)
    for split in ("train", "test"):
        indices = load_index_of(data, split), PairIndex.from_tree(tree, split)
        assert indices[0].fingerprint() == indices[1].fingerprint()
        rows = np.random.default_rng(0).permutation(len(indices[0]))[:25]
        for training in (True, False):
            batches = [
                PairDataset(index, SPECS, data, training=training, seed=1).__getitems__([(2, int(row)) for row in rows])
                for index in indices
            ]
            for view in SPECS:
                assert torch.equal(batches[0].views[view], batches[1].views[view])
