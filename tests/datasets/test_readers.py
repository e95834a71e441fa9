from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from datasets.index import PairIndex
from datasets.readers import FolderReader, open_reader
from datasets.transforms import channel_mask, recover_mask

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pairs_come_in_the_order_of_the_rows_and_stay_what_they_are(tree: "TreeMaker", suffix: str) -> None:
    generator = np.random.default_rng(0)
    for number, name in enumerate(("rice", "apple", "rice", "apple")):
        photo = generator.integers(1, 256, (9 + number, 14, 3), dtype=np.uint8)
        tree.add(name, f"p{number}", photo, photo[..., 0] > 120, suffix=suffix)
    index = PairIndex.from_tree(tree.root, "train")
    reader = open_reader(index)
    assert isinstance(reader, FolderReader)
    rows = [3, 0, 3, 2]
    for row, stored in zip(rows, list(reader.read(rows)), strict=True):  # all are held together
        roi, extra_roi = (np.asarray(Image.open(path)).transpose(2, 0, 1) for path in index.paths(row))
        if suffix == ".png":  # Pillow and torchvision need not decode JPEG alike to the last bit
            assert np.array_equal(stored.pictures["roi"], roi)
            assert np.array_equal(stored.pictures["extra_roi"], extra_roi)
        assert stored.mask.shape == roi.shape[1:] == (index.size[row][1], index.size[row][0])
        assert np.array_equal(stored.mask, recover_mask(stored.pictures["roi"], stored.pictures["extra_roi"]))
        assert np.array_equal(stored.channel_mask(), channel_mask(stored.mask))
    assert list(reader.read([])) == []
