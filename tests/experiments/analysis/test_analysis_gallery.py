"""Which pairs are shown, and what their pictures look like."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.index import PairIndex
from experiments.analysis import gallery
from experiments.analysis.gallery import confidently_wrong, hardest, save_gallery
from utils.errors import DataError

TRUTH = np.array([0, 0, 0, 1, 1])
OF_CLASS_0 = np.array([0.9, 0.1, 0.2, 0.6, 0.7])
PROBABILITY = np.stack([OF_CLASS_0, 1 - OF_CLASS_0], axis=1)


def test_the_hardest_have_the_lowest_probability_of_their_class() -> None:
    # Of the true class: 0.9, 0.1, 0.2, 0.4, 0.3.
    assert hardest(TRUTH, PROBABILITY, np.arange(5), 3).tolist() == [1, 2, 4]
    assert hardest(TRUTH, PROBABILITY, np.arange(5)).tolist() == [1, 2, 4, 3, 0]


def test_one_pair_of_each_group_comes_first() -> None:
    groups = np.array(["a", "b", "b", "b", "c"])
    assert hardest(TRUTH, PROBABILITY, groups).tolist() == [1, 4, 0, 2, 3]


def test_confidently_wrong_leaves_right_ones_out() -> None:
    assert confidently_wrong(TRUTH, PROBABILITY, np.arange(5)).tolist() == [1, 2, 4, 3]
    assert confidently_wrong(TRUTH[:1], PROBABILITY[:1], np.arange(1)).size == 0


@pytest.fixture
def index(pair_tree: Path) -> PairIndex:
    return PairIndex.from_tree(pair_tree, "test")


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 1, 1), (5, 3, 2), (12, 3, 4)])
def test_figure_grows_with_the_pairs(index: PairIndex, tmp_path: Path, count: int, columns: int, lines: int) -> None:
    probability = np.full((len(index), 3), 1 / 3)
    save_gallery(index, range(count), probability, "Title", tmp_path / "gallery.png")
    with Image.open(tmp_path / "gallery.png") as image:
        width, height = (side / 130 for side in image.size)
        pixels = np.asarray(image.convert("RGB"))
    assert width == pytest.approx(max(7.0, columns * 3.45 + 0.15), abs=0.02)
    # 32×24 pixels, shown 1.55 inches wide.
    assert height == pytest.approx(0.82 + lines * (1.55 * 24 / 32 + 0.72), abs=0.02)
    black = (pixels == 0).all(axis=2).mean()
    assert black > 0.05, "the cut-outs are mostly black"
    assert (pixels[-5:] == 255).all(), "nothing is clipped at the lower edge"


def test_large_pictures_are_made_small_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((900, 1200, 3), 90, np.uint8)
    for view in ("roi", "extra-roi"):
        for name in ("apple", "bread"):
            (tmp_path / "test" / view / name).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(pixels).save(tmp_path / "test" / view / name / f"{name}{number}.png")
    index = PairIndex.from_tree(tmp_path, "test")
    probability = np.full((6, 2), 0.5)
    monkeypatch.setattr(gallery, "draw", lambda *_: None)
    tracemalloc.start()
    save_gallery(index, range(6), probability, "Title", tmp_path / "gallery.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6, "twelve whole pictures would be 39 MB"


def test_a_picture_that_cannot_be_read_is_named(index: PairIndex, tmp_path: Path, pair_tree: Path) -> None:
    gone = PairIndex.from_tree(pair_tree, "test")
    gone.stems[2] = "nowhere"
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        save_gallery(gone, [1, 2], np.full((len(index), 3), 1 / 3), "Title", tmp_path / "gallery.png")
    assert not (tmp_path / "gallery.png").exists()
