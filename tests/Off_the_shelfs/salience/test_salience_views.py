import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from Off_the_shelfs.salience.views import (
    blend,
    colour_view,
    crop_corners,
    grey_copies,
    luminance,
    pick,
    reduce,
    source_side,
)
from utils.errors import ConfigError

CORNERS = crop_corners(36, 24, 5)
PLACES = torch.tensor([(0, 0), *CORNERS])


def corner_colours(side: int = 36) -> Tensor:
    """A picture 1×3×S×S: red, green, blue, yellow at the corners, white in the middle, each a sixth of the side."""
    picture, spot = torch.zeros(3, side, side), side // 6
    for (top, left), colour in {
        (0, 0): (1, 0, 0),
        (0, side - spot): (0, 1, 0),
        (side - spot, 0): (0, 0, 1),
        (side - spot, side - spot): (1, 1, 0),
        (side // 2 - spot // 2, side // 2 - spot // 2): (1, 1, 1),
    }.items():
        picture[:, top : top + spot, left : left + spot] = torch.tensor(colour)[:, None, None]
    return picture[None]


def test_the_references_views_of_336_pixels() -> None:
    """Five parts of 224 as torchvision's FiveCrop cuts them; each shows two thirds of each side."""
    assert source_side(224, 2 / 3) == 336
    assert crop_corners(336, 224, 5) == [(0, 0), (0, 112), (112, 0), (112, 112), (56, 56)]


def test_grids_run_row_by_row_from_border_to_border() -> None:
    assert crop_corners(10, 4, 9) == [(top, left) for top in (0, 3, 6) for left in (0, 3, 6)]
    assert crop_corners(10, 4, 4) == [(0, 0), (0, 6), (6, 0), (6, 6)]
    assert crop_corners(10, 4, 1) == [(3, 3)]


def test_each_view_holds_its_own_corner() -> None:
    picture = corner_colours()
    seen = [colour_view(picture, number, CORNERS, 24)[0] for number in range(6)]
    ends = {"top left": (0, 0), "top right": (0, -1), "bottom left": (-1, 0), "bottom right": (-1, -1)}
    colours = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    for number, ((top, left), colour) in enumerate(zip(ends.values(), colours, strict=True), start=1):
        assert tuple(seen[number][:, top, left].tolist()) == colour
        assert tuple(seen[0][:, top, left].tolist()) == pytest.approx(colour)  # the whole holds them all
    assert [tuple(view[:, 12, 12].tolist()) for view in (seen[0], seen[5])] == [(1, 1, 1)] * 2
    assert all(not seen[5][:, top, left].any() for top, left in ends.values())


def test_grey_and_colour_of_a_view_show_the_same_region() -> None:
    picture = corner_colours()
    grey = grey_copies(luminance(picture, (0, 0, 0), (1, 1, 1)), CORNERS, 24, 12)
    assert grey.shape == (1, 6, 1, 12, 12)
    for number, corner in enumerate([None, *CORNERS]):
        source = picture if corner is None else picture[..., corner.top :, corner.left :][..., :24, :24]
        red, green, blue = F.interpolate(source, size=12, mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(grey[0, number, 0], 0.299 * red + 0.587 * green + 0.114 * blue)


def test_grey_is_that_of_pil_whatever_the_normalisation() -> None:
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    expected = torch.from_numpy(np.array(Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L"))) / 255
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalised = (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    grey = luminance(normalised[None], mean, std)
    torch.testing.assert_close(grey[0, 0], expected, atol=1.01 / 255, rtol=0)
    assert grey.shape == (1, 1, 8, 8)


def test_crops_keep_detail_that_the_whole_cannot() -> None:
    """A checkerboard of single pixels: reduced to two thirds, its frequency lies beyond what the pixels can carry."""
    board = ((torch.arange(36)[:, None] + torch.arange(36)) % 2).float().expand(1, 3, 36, 36)
    for number in range(1, 6):
        view = colour_view(board, number, CORNERS, 24)
        assert (view[..., 1:, :] - view[..., :-1, :]).abs().min() == 1
    inside = colour_view(board, 0, CORNERS, 24)[..., 2:-2, 2:-2]
    assert (inside - 0.5).abs().max() < 0.15


def test_a_flip_moves_colour_and_grey_alike() -> None:
    picture, mirrored = torch.rand(2, 3, 36, 36), [0, 2, 1, 4, 3, 5]
    flipped = picture.flip(-1)
    for number, other in enumerate(mirrored):
        view = colour_view(flipped, number, CORNERS, 24)
        torch.testing.assert_close(view, colour_view(picture, other, CORNERS, 24).flip(-1))
    grey, grey_flipped = (grey_copies(x[:, :1], CORNERS, 24, 8) for x in (picture, flipped))
    torch.testing.assert_close(grey_flipped, grey[:, mirrored].flip(-1))


def test_picking_and_one_hot_weights_give_the_view_itself() -> None:
    picture = torch.randn(6, 3, 36, 36)
    choice = torch.tensor([5, 0, 3, 1, 0, 4])
    expected = torch.stack([colour_view(picture[i : i + 1], int(c), CORNERS, 24)[0] for i, c in enumerate(choice)])
    assert torch.equal(pick(picture, choice, PLACES, 24), expected)
    assert torch.equal(blend(picture, F.one_hot(choice, 6).float(), CORNERS, 24), expected)


def test_blending_weighs_each_view() -> None:
    picture, weights = torch.rand(2, 3, 36, 36), torch.rand(2, 6)
    views = torch.stack([colour_view(picture, number, CORNERS, 24) for number in range(6)], dim=1)
    torch.testing.assert_close(blend(picture, weights, CORNERS, 24), torch.einsum("bv,bvchw->bchw", weights, views))


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    picture = torch.rand(1, 3, 24, 24)
    assert reduce(picture, 24) is picture


@pytest.mark.parametrize(("side", "fraction"), [(8, 0.99), (224, 0.999)])
def test_parts_as_large_as_the_picture_are_refused(side: int, fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"crop_fraction is {fraction}.* show all of it; use at most 0\.\d+ with"):
        source_side(side, fraction)
