"""Pooling over regions: means whatever the area, absent regions flagged, nothing that is not a number."""

import pytest
import torch
from torch import Tensor

from R2O.lattice import soft_masks
from R2O.pooling import LEAST_AREA, pool_regions


def features(photos: int = 2, width: int = 5, height: int = 4, columns: int = 6) -> Tensor:
    return torch.randn(photos, width, height, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("area", [0.1, 0.9, 1.0, 3.7])
def test_a_constant_map_gives_its_constant_for_any_area(area: float) -> None:
    masks = torch.full((2, 1, 4, 6), area / 24)
    constant = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 4, 6)
    clean, authors = pool_regions(constant, masks), pool_regions(constant, masks, "at_least_one")
    expected = torch.tensor([3.0, -2.0]).expand(2, 1, 2)
    torch.testing.assert_close(clean.rows, expected)
    torch.testing.assert_close(authors.rows, expected * min(area, 1.0))
    for pooled in (clean, authors):
        torch.testing.assert_close(pooled.area, torch.full((2, 1), area))
        assert (pooled.area > LEAST_AREA).all()


@pytest.mark.parametrize("divisor", ["area", "at_least_one"])
def test_a_mask_of_one_cell_gives_that_cell(divisor: str) -> None:
    maps = features()
    masks = torch.zeros(2, 3, 4, 6)
    places = [(0, 0), (1, 5), (3, 2)]
    for region, (y, x) in enumerate(places):
        masks[:, region, y, x] = 1
    rows = pool_regions(maps, masks, divisor).rows  # type: ignore[arg-type]
    for region, (y, x) in enumerate(places):
        torch.testing.assert_close(rows[:, region], maps[:, :, y, x])


def test_soft_masks_weigh_cells_as_a_loop_does() -> None:
    maps, masks = features(), torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    pooled = pool_regions(maps, masks)
    for photo in range(2):
        for region in range(3):
            total, weights = torch.zeros(5), 0.0
            for y in range(4):
                for x in range(6):
                    total += masks[photo, region, y, x] * maps[photo, :, y, x]
                    weights += masks[photo, region, y, x].item()
            torch.testing.assert_close(pooled.rows[photo, region], total / weights)


@pytest.mark.parametrize("divisor", ["area", "at_least_one"])
def test_absent_regions_are_flagged_and_pass_no_gradient(divisor: str) -> None:
    maps = features().requires_grad_()
    masks = torch.zeros(2, 3, 4, 6)
    masks[:, 0] = 0.5
    masks[:, 1, 0, 0] = 0.9e-3
    pooled = pool_regions(maps, masks, divisor)  # type: ignore[arg-type]
    assert (pooled.area > LEAST_AREA).tolist() == [[True, False, False]] * 2
    assert torch.isfinite(pooled.rows).all()
    assert (pooled.rows[:, 2] == 0).all()
    if divisor == "area":
        assert (pooled.rows[:, 1] == 0).all()
    pooled.rows[:, 2].sum().backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert (maps.grad == 0).all()


def test_sums_are_fp32_under_autocast_and_gradients_arrive() -> None:
    maps = features().bfloat16().requires_grad_()
    masks = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pool_regions(maps, masks)
    assert pooled.rows.dtype == torch.float32
    torch.testing.assert_close(pooled.rows, pool_regions(maps.float(), masks).rows)
    pooled.rows.sum().backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert (maps.grad != 0).any()


def test_superpixels_are_pooled_from_the_four_pixels_of_each_cell() -> None:
    """Eight by eight pixels, two by two cells: the left half is superpixel 0, its lower part below row 5 is 2."""
    superpixels = torch.ones(1, 8, 8, dtype=torch.int16)
    superpixels[0, :, :4] = 0
    superpixels[0, 6:, :4] = 2
    superpixels[0, 0, 0] = 3  # read by no cell
    maps = torch.tensor([[[[1.0, 2.0], [5.0, 7.0]]]])
    pooled = pool_regions(maps, soft_masks(superpixels, 5, maps.shape[-1]))
    assert pooled.area.tolist() == [[1.5, 2.0, 0.5, 0.0, 0.0]]
    assert pooled.rows[0, :, 0].tolist() == pytest.approx([(1.0 + 0.5 * 5.0) / 1.5, 4.5, 5.0, 0.0, 0.0])
    assert (pooled.area > LEAST_AREA).tolist() == [[True, True, True, False, False]]
    assert soft_masks(superpixels, 5, 2).sum().item() == 4
