"""Edited masks against the geometry of discs and half planes; the reader that hands them out."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.readers import StoredPair, open_reader
from experiments.mask_quality.edits import EDIT_KINDS, Edit, EditedReader, EditKind, signed_depth
from utils.batch import ViewSpec
from utils.data_sections import DataConfig

RADIUS, SIDE = 60.0, 200
Mask = NDArray[np.bool_]


def disc(radius: float = RADIUS, side: int = SIDE) -> Mask:
    across = np.arange(side) + 0.5 - side / 2
    inside: Mask = across[None, :] ** 2 + across[:, None] ** 2 <= radius**2
    return inside


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize(("kind", "sign"), [("erode", -1), ("dilate", 1)])
def test_a_disc_shrinks_and_grows_by_the_formula(kind: EditKind, sign: int, level: float) -> None:
    reach = level * math.sqrt(math.pi) * RADIUS
    edited = Edit(kind, level)(disc(), "test/x/y")
    assert np.count_nonzero(edited) == pytest.approx(math.pi * (RADIUS + sign * reach) ** 2, rel=0.02)
    assert np.array_equal(edited, edited.T)
    assert (edited <= disc()).all() if sign < 0 else (edited >= disc()).all()


def test_a_shifted_disc_keeps_its_area_and_moves_by_its_level() -> None:
    for key in ("test/a/1", "test/a/2", "test/b/1"):
        edited = Edit("shift", 0.2)(disc(), key)
        assert edited.sum() == disc().sum()
        rows, columns = np.nonzero(edited)
        moved = math.hypot(rows.mean() + 0.5 - SIDE / 2, columns.mean() + 0.5 - SIDE / 2)
        assert moved == pytest.approx(0.2 * math.sqrt(disc().sum()), abs=0.75)  # whole pixels


def test_a_jittered_edge_deviates_by_its_level() -> None:
    half = np.zeros((300, 300), dtype=bool)
    half[:, :150] = True
    edit = Edit("jitter", 0.02)
    places = np.concatenate([edit(half, f"test/a/{number}").sum(axis=1) for number in range(12)])
    assert places.mean() == pytest.approx(150, abs=1)
    assert places.std() == pytest.approx(0.02 * math.sqrt(half.sum()), rel=0.15)


@pytest.mark.parametrize("kind", ["jitter", "shift"])
def test_draws_depend_on_seed_and_key_alone(kind: EditKind) -> None:
    edit = Edit(kind, 0.1, seed=3)
    first = edit(disc(), "test/a/1")
    edit(disc(), "test/a/2")
    assert np.array_equal(first, Edit(kind, 0.1, seed=3)(disc(), "test/a/1"))
    assert not np.array_equal(first, edit(disc(), "test/a/2"))
    assert not np.array_equal(first, Edit(kind, 0.1, seed=4)(disc(), "test/a/1"))


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_both_cut_outs_always_exist(kind: EditKind) -> None:
    thin, nearly_all = np.zeros((12, 12), dtype=bool), np.ones((12, 12), dtype=bool)
    thin[0, 3:5] = True
    nearly_all[5, 5] = False
    for mask in (thin, nearly_all):
        for key in ("test/a/1", "test/a/2", "test/a/3"):
            edited = Edit(kind, 1.0)(mask, key)
            assert edited.any()
            assert not edited.all()
    everywhere = np.ones((4, 4), dtype=bool)
    assert Edit(kind, 1.0)(everywhere, "test/a/1").all()
    assert not Edit(kind, 1.0)(~everywhere, "test/a/1").any()


def test_depth_is_half_a_pixel_on_either_side_of_a_straight_contour_and_the_frame_is_none() -> None:
    half = np.zeros((5, 6), dtype=bool)
    half[:, :3] = True
    assert signed_depth(half)[2].tolist() == [2.5, 1.5, 0.5, -0.5, -1.5, -2.5]


def index_and_specs(root: Path) -> tuple[PairIndex, dict[str, ViewSpec]]:
    spec = ViewSpec(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bicubic")
    return PairIndex.from_tree(root, "test"), {"roi": spec, "extra_roi": spec}


class Unedited(Edit):
    def __call__(self, mask: Mask, key: str) -> Mask:  # noqa: ARG002  # as every edit
        return mask


def test_pairs_with_the_stored_mask_are_the_stored_pairs_and_others_are_cut_anew(pair_tree: Path) -> None:
    index, specs = index_and_specs(pair_tree)
    data, items = DataConfig(root=str(pair_tree)), [(0, row) for row in range(6)]

    def batch(edit: Edit | None) -> dict[str, NDArray[np.uint8]]:
        reader = None if edit is None else EditedReader(open_reader(index), index, edit)
        dataset = PairDataset(index, specs, data, training=False, seed=0, reader=reader)
        return {name: pixels.numpy().astype(np.int64) for name, pixels in dataset.__getitems__(items).views.items()}

    stored, same, other = batch(None), batch(Unedited("erode", 0.1)), batch(Edit("dilate", 0.3))
    for view in specs:
        assert np.array_equal(stored[view], same[view])
        assert not np.array_equal(stored[view], other[view])
    # Whatever the mask, the two cut-outs are the photo.
    assert np.array_equal(stored["roi"] + stored["extra_roi"], other["roi"] + other["extra_roi"])


def test_the_reader_edits_each_pair_by_its_own_key(pair_tree: Path) -> None:
    index, _ = index_and_specs(pair_tree)
    edit = Edit("shift", 0.3)

    class Counting:
        def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
            yield from open_reader(index).read(rows)

    rows = [4, 1]
    stored = list(open_reader(index).read(rows))
    for row, before, after in zip(rows, stored, EditedReader(Counting(), index, edit).read(rows), strict=True):
        assert np.array_equal(after.mask, edit(before.mask, index.draw_key(row)))
        assert after.pictures["roi"] is after.pictures["extra_roi"]
