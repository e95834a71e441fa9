"""An archive that ``--layout archive`` made smaller, read without folder pairs."""

from pathlib import Path

import numpy as np

from datasets.preprocess import PreprocessOptions, preprocess
from datasets.sources import load_index_of, read_pair
from datasets.tree import Layout
from tests.conftest import write_archive
from utils.data_sections import ArchiveConfig, DataConfig


def test_it_gives_the_pairs_of_the_original_and_of_lossless_folders(tmp_path: Path) -> None:
    original = write_archive(tmp_path / "original", {"train": 5, "test": 2})
    layouts: dict[str, Layout] = {"small": "archive", "folders": "pairs"}
    for name, layout in layouts.items():
        options = PreprocessOptions(src=original, dst=tmp_path / name, layout=layout, size=20, format="png", workers=1)
        preprocess(options, say=lambda _line: None)
    data = [
        DataConfig(source="archive", root=str(tmp_path / "small")),
        DataConfig(source="archive", root=str(original), archive=ArchiveConfig(size=20)),
        DataConfig(root=str(tmp_path / "folders")),
    ]
    indices = [load_index_of(each, "train") for each in data]
    assert len(indices[0]) == 10
    for index in indices[1:]:
        assert [index.key(row) for row in range(10)] == [indices[0].key(row) for row in range(10)]
        for row in range(10):
            for found, expected in zip(read_pair(indices[0], row), read_pair(index, row), strict=True):
                assert np.array_equal(found, expected)
