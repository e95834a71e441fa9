"""Context, geometry and colours against cases worked by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.index import PairIndex
from experiments.baselines.features import GEOMETRY, colour_counts, label_context, manifest_geometry, measure_pairs
from utils.errors import DataError


def test_context_is_the_other_classes_of_the_photo() -> None:
    labels = np.array([0, 2, 3, 1, 0, 2], np.int16)
    photos = np.array(["a", "a", "a", "b", "c", "c"])
    expected = [
        [0, 0, 1, 1],
        [1, 0, 0, 1],
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
        [1, 0, 0, 0],
    ]
    context = label_context(labels, photos, 4)
    assert context.toarray().tolist() == expected
    assert context.nnz == 8, "no zero is stored"


def test_an_excluded_class_is_no_context(pair_tree: Path) -> None:
    """Two foods lie on every photo, so leaving one out leaves some photos with a single pair."""
    index = PairIndex.from_tree(pair_tree, "train", exclude=["spinach"])
    stems = np.array(index.stems)
    context = label_context(index.label, stems, 2).toarray()
    both = np.array([(stems == stem).sum() == 2 for stem in stems])
    assert context.shape == (len(index), 2)
    assert (context.sum(axis=1) == both).all()
    assert 0 < both.sum() < len(index)


def test_colour_bins_by_hand() -> None:
    picture = np.zeros((3, 1, 4), np.uint8)
    picture[:, 0, 0] = (255, 0, 31)  # 7, 0, 0
    picture[:, 0, 1] = (224, 31, 0)  # 7, 0, 0
    picture[:, 0, 2] = (32, 64, 96)  # 1, 2, 3
    picture[:, 0, 3] = (200, 200, 200)  # outside
    counts = colour_counts(picture, np.array([[True, True, True, False]]))
    assert counts.sum() == 3
    assert counts[7 * 64] == 2
    assert counts[1 * 64 + 2 * 8 + 3] == 1


@pytest.fixture
def one_pair(tmp_path: Path) -> Path:
    """A tree of two classes with one pair each and no manifest: 8×6 pixels, a box of 4×3 at (2, 1) less a corner."""
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:6] = True
    mask[1, 2] = False
    photo = np.full((6, 8, 3), (40, 100, 220), np.uint8)
    for name in ("apple", "bread"):
        for view, side in (("roi", mask), ("extra-roi", ~mask)):
            folder = tmp_path / "test" / view / name
            folder.mkdir(parents=True)
            Image.fromarray(photo * side[..., None]).save(folder / f"{name}_1.png")
    return tmp_path


def test_geometry_and_colour_of_a_pair_by_hand(one_pair: Path) -> None:
    index = PairIndex.from_tree(one_pair, "test")
    assert manifest_geometry(index) is None
    measured = measure_pairs(index)
    expected = {"area_fraction": 11 / 48, "box_left": 2 / 8, "box_top": 1 / 6, "box_width": 4 / 8, "box_height": 3 / 6}
    assert measured.geometry[0].tolist() == pytest.approx([expected[name] for name in GEOMETRY])
    colour = measured.colour.toarray()
    assert colour[0, 1 * 64 + 3 * 8 + 6] == 1
    assert colour[0].sum() == 1


def test_manifest_and_stored_pairs_tell_the_same_geometry(pair_tree: Path) -> None:
    index = PairIndex.from_tree(pair_tree, "test")
    told = manifest_geometry(index)
    assert told is not None
    measured = measure_pairs(index)
    np.testing.assert_allclose(told, measured.geometry, atol=1e-6)
    # Square roots of shares: the squares of a pair sum to one.
    np.testing.assert_allclose((measured.colour**2).sum(axis=1), 1, atol=1e-6)
    # A tomato is red: the bins of its commonest colour say so.
    tomato = index.classes.index("tomato")
    commonest = np.asarray(measured.colour[index.label == tomato].argmax(axis=1)).ravel()
    assert (commonest // 64 >= 5).all()


def test_geometry_follows_the_rows_of_a_subset(pair_tree: Path) -> None:
    index = PairIndex.from_tree(pair_tree, "test")
    rows = [7, 2, 11]
    whole, part = manifest_geometry(index), manifest_geometry(index.subset(rows))
    assert whole is not None
    assert part is not None
    assert (whole[rows] == part).all()


def test_a_damaged_cut_out_is_named(one_pair: Path) -> None:
    index = PairIndex.from_tree(one_pair, "test")
    path = index.paths(1)[1]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"bread_1\.png cannot be decoded"):
        measure_pairs(index)


def test_cut_outs_of_two_sizes_are_refused(one_pair: Path) -> None:
    index = PairIndex.from_tree(one_pair, "test")
    Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(index.paths(0)[0])
    with pytest.raises(DataError, match=r"apple_1\.png is 8×5 and .*apple_1\.png is 8×6 pixels"):
        measure_pairs(index)


def test_a_manifest_that_lacks_a_pair_is_refused(pair_tree: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(pair_tree, tmp_path / "tree")
    index = PairIndex.from_tree(tree, "test")
    lines = (tree / "manifest.csv").read_text().splitlines(keepends=True)
    gone = next(line for line in lines if line.startswith("test,"))
    (tree / "manifest.csv").write_text("".join(line for line in lines if line != gone))
    with pytest.raises(DataError, match=f"has no row for {'/'.join(gone.split(',')[:3])}"):
        manifest_geometry(index)
