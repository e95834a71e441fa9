"""The lattice of regions: which pixels a cell reads, how it is painted, and where its masks lie in a crop."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from R2O.lattice import paint, replay, sample_four, soft_masks

# top, left, bottom, right, flip; the first reaches the photo's border.
RECORDS = [[0.0, 0.0, 1.0, 1.0, 0], [0.11, 0.23, 0.83, 0.71, 0], [0.3, 0.05, 0.62, 0.9, 1], [0.07, 0.41, 0.95, 0.97, 1]]


def coordinates(height: int, width: int) -> Tensor:
    """Return 2×height×width: y and x of the cells' centres as parts of the photo."""
    y, x = (torch.arange(count) + 0.5 for count in (height, width))
    return torch.stack(torch.meshgrid(y / height, x / width, indexing="ij"))


def centres_in_the_photo(record: list[float], cells: int) -> Tensor:
    """Return 2×cells×cells: where the cells' centres of a cropped, then mirrored picture lie in the photo."""
    top, left, bottom, right, flip = record
    steps = [(i + 0.5) / cells for i in range(cells)]
    columns = steps[::-1] if flip else steps
    y, x = [top + s * (bottom - top) for s in steps], [left + s * (right - left) for s in columns]
    return torch.tensor([[[b for _ in x] for b in y], [x for _ in y]])


@pytest.mark.parametrize("record", RECORDS[1:])
@pytest.mark.parametrize(("height", "width", "cells"), [(56, 56, 7), (56, 40, 7), (16, 16, 2), (56, 56, 5)])
def test_each_cell_of_a_view_reads_the_place_that_it_shows(
    record: list[float], height: int, width: int, cells: int
) -> None:
    lattice = coordinates(height, width)[None]
    found = replay(lattice, torch.tensor([record]), cells)[0]
    torch.testing.assert_close(found, centres_in_the_photo(record, cells), atol=1e-5, rtol=0)


@pytest.mark.parametrize("record", RECORDS[1:])
def test_the_authors_replay_is_two_pixels_off(record: list[float]) -> None:
    lattice = 224 * coordinates(56, 56)[None]
    shift = replay(lattice, torch.tensor([record]), 7, aligned=False)[0] - 224 * centres_in_the_photo(record, 7)
    inner = shift[:, :, 1:-1] if record[3] > 0.96 else shift  # the last column would read beyond the photo
    torch.testing.assert_close(inner, torch.full_like(inner, 2.0), atol=1e-3, rtol=0)


def test_the_whole_photo_is_the_mean_of_eight_by_eight_cells() -> None:
    masks = torch.rand(3, 5, 56, 56, generator=torch.Generator().manual_seed(0))
    found = replay(masks, torch.tensor([RECORDS[0]] * 3), 7)
    torch.testing.assert_close(found, F.avg_pool2d(masks, 8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_regions_of_a_cell_add_up_to_one(aligned: bool) -> None:
    ids = torch.randint(9, (4, 56, 56), generator=torch.Generator().manual_seed(0))
    masks = F.one_hot(ids, 9).permute(0, 3, 1, 2).float()
    found = replay(masks, torch.tensor(RECORDS), 7, aligned)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4, 7, 7), atol=1e-6, rtol=0)


def test_only_flagged_views_are_mirrored_and_twice_is_once_more_the_same() -> None:
    masks = torch.rand(4, 2, 56, 56, generator=torch.Generator().manual_seed(0))
    record = torch.tensor(RECORDS)
    straight = record.clone()
    straight[:, 4] = 0
    found, plain = replay(masks, record, 7), replay(masks, straight, 7)
    assert torch.equal(found[:2], plain[:2])
    assert torch.equal(found[2:].flip(-1), plain[2:])
    assert not torch.equal(found[2:], plain[2:])


def random_superpixels(size: int, count: int, photos: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    coarse = torch.randint(count, (photos, 1, 23, 23), generator=generator)
    return F.interpolate(coarse.float(), size=size, mode="nearest")[:, 0].to(torch.int16)


@pytest.mark.parametrize("side", [14, 56])
def test_four_pixels_are_one_hot_masks_interpolated_to_the_bit(side: int) -> None:
    labels = random_superpixels(224, 30)
    one_hot = F.one_hot(labels.long(), 30).permute(0, 3, 1, 2).float()
    expected = F.interpolate(one_hot, size=(side, side), mode="bilinear", align_corners=False, antialias=False)
    assert torch.equal(soft_masks(labels, 30, side), expected)


def test_the_four_pixels_of_a_cell_in_order() -> None:
    labels = torch.arange(64).view(1, 8, 8)
    assert sample_four(labels, 2)[0].flatten(1).T.tolist() == [
        [9, 10, 17, 18],
        [13, 14, 21, 22],
        [41, 42, 49, 50],
        [45, 46, 53, 54],
    ]
    assert sample_four(labels.view(1, 8, 8)[:, :6, :6], 2)[0, 0].tolist() == [[9, 12], [33, 36]]  # the middle pixels
    assert torch.equal(sample_four(labels, 8), labels[:, None].expand(1, 4, 8, 8))
    assert sample_four(labels, 16)[0, 0, :3, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("size", "side"), [(10, 4), (97, 24), (225, 15), (30, 7)])
def test_sizes_that_the_cells_do_not_divide_read_the_pixels_next_to_their_centres(size: int, side: int) -> None:
    rows = sample_four(torch.arange(size)[:, None].expand(1, size, size), side)[0, :, :, 0].float() + 0.5
    columns = sample_four(torch.arange(size).expand(1, size, size), side)[0, :, 0].float() + 0.5
    centres = (torch.arange(side) + 0.5) * size / side
    assert ((rows - centres).abs() <= 1).all()
    torch.testing.assert_close(rows[0] + rows[2], 2 * rows.mean(dim=0))
    assert torch.equal(rows[0], columns[0])
    assert (rows[0] <= centres + 1e-4).all()
    assert (rows[2] >= centres - 1e-4).all()


def cell(*labels: int) -> Tensor:
    """Return superpixels 1×4×4 whose only cell reads these four labels; the pixels round it hold 3."""
    superpixels = torch.full((1, 4, 4), 3)
    superpixels[0, 1:3, 1:3] = torch.tensor(labels).view(2, 2)
    return superpixels


@pytest.mark.parametrize(
    ("labels", "ids", "largest", "blended"),
    [
        ((0, 0, 0, 0), (7, 1, 1, 1), 7, 7),
        ((0, 0, 0, 1), (10, 20, 0, 0), 10, 12),
        ((0, 0, 1, 1), (10, 20, 0, 0), 10, 15),
        ((1, 1, 0, 0), (10, 20, 0, 0), 20, 15),  # of equals the first that is read, not the smaller number
        ((0, 1, 1, 1), (10, 20, 0, 0), 20, 17),
        ((0, 1, 2, 2), (10, 20, 30, 0), 30, 22),
        ((0, 1, 2, 3), (10, 20, 30, 40), 10, 25),
        ((0, 1, 2, 2), (5, 5, 9, 0), 5, 7),  # two superpixels of one cluster count together
        ((0, 1, 1, 2), (9, 5, 9, 0), 9, 7),
    ],
)
def test_borders_go_to_the_larger_part_or_are_blended(
    labels: tuple[int, ...], ids: tuple[int, ...], largest: int, blended: int
) -> None:
    table = torch.tensor([ids])
    assert paint(cell(*labels), table, 1).item() == largest
    assert paint(cell(*labels), table, 1, "blended").item() == blended


def test_a_renaming_of_ids_renames_the_painting() -> None:
    superpixels = random_superpixels(64, 20)
    ids = torch.randint(6, (2, 20), generator=torch.Generator().manual_seed(0))
    names = torch.tensor([3, 5, 0, 1, 4, 2])
    assert torch.equal(paint(superpixels, names[ids], 16), names[paint(superpixels, ids, 16)])
    assert not torch.equal(paint(superpixels, names[ids], 16, "blended"), names[paint(superpixels, ids, 16, "blended")])
