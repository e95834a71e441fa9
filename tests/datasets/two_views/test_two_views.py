"""Random views of a photo: what is drawn, what the pictures show, and that the record says it."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_align
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from datasets.draws import generator, torch_seeded
from datasets.two_views.views import CropBox, TwoViews, ViewPlan, blur, draw_box, shift_hue
from utils.photo_sections import TwoViewConfig

if TYPE_CHECKING:
    from tests.datasets.two_views.conftest import PhotoFolder


def coordinates(width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture whose red is how far right a pixel's centre lies and whose green how far down, of 255."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[..., 0] = np.rint(255 * (np.arange(width) + 0.5) / width)
    picture[..., 1] = np.rint(255 * (np.arange(height) + 0.5) / height)[:, None]
    return picture


def inner(picture: Tensor, border: int = 3) -> Tensor:
    """Return a picture without its border, where the resized photo runs into its own edge."""
    return picture[..., border:-border, border:-border]


@pytest.mark.parametrize("size", [(200, 120), (90, 160), (20, 24)])
def test_each_pixel_of_a_view_lies_where_the_record_says(
    folder: "PhotoFolder", plain_views: TwoViewConfig, size: tuple[int, int]
) -> None:
    folder.add("a.png", coordinates(*size))
    dataset = folder.dataset(folder.config(views=plain_views))
    batch = dataset.__getitems__([(epoch, 0) for epoch in range(12)])
    flips = set()
    for number, name in enumerate(("view_1", "view_2")):
        for picture, record in zip(batch.views[name].double(), batch.extras["record"][:, number], strict=True):
            top, left, bottom, right, flip = record.tolist()
            steps = (torch.arange(32) + 0.5) / 32
            across = 255 * (left + (right - left) * (1 - steps if flip else steps))
            down = 255 * (top + (bottom - top) * steps)
            wrong = inner(torch.stack([picture[0] - across, picture[1] - down[:, None]]))
            assert wrong.abs().max() < 2  # of 255
            assert wrong.mean(dim=(1, 2)).abs().max() < 0.35  # half a pixel of the photo is 0.6 to 6
            flips.add(flip)
    assert flips == {0.0, 1.0}


def test_the_record_replayed_on_the_whole_photo_gives_the_view(
    folder: "PhotoFolder", plain_views: TwoViewConfig
) -> None:
    folder.add("a.png", coordinates(300, 180))
    dataset = folder.dataset(folder.config(views=plain_views, image_size=64))
    batch = dataset.__getitems__([(epoch, 0) for epoch in range(8)])
    for number, name in enumerate(("view_1", "view_2")):
        top, left, bottom, right, flip = batch.extras["record"][:, number].T
        boxes = torch.stack([torch.arange(8), left * 64, top * 64, right * 64, bottom * 64], dim=1)
        replayed = roi_align(batch.views["photo"].float(), boxes, 8, aligned=True)
        replayed = torch.where(flip.bool()[:, None, None, None], replayed.flip(-1), replayed)
        seen = torch.nn.functional.avg_pool2d(batch.views[name].float(), 8)
        assert inner(replayed - seen, 1)[:, :2].abs().max() < 1.5  # of 255


@pytest.mark.parametrize("size", [(640, 480), (33, 200), (1000, 7), (1, 1)])
def test_records_are_parts_of_the_photo(size: tuple[int, int]) -> None:
    maker = TwoViews(TwoViewConfig(), 32, seed=0)
    records = np.array([[plan.record(*size) for plan in maker.plan(*size, epoch, "a")] for epoch in range(60)])
    top, left, bottom, right, flip = np.moveaxis(records, -1, 0)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= 1).all()
    assert (right <= 1).all()
    assert (bottom > top).all()
    assert (right > left).all()
    assert set(flip.ravel()) == {0.0, 1.0}


def test_boxes_are_spread_as_torchvisions_are() -> None:
    width, height, many = 300, 200, 1500
    own = np.array([draw_box(generator(0, draw, "box"), width, height, 0.08, 4 / 3) for draw in range(many)])
    with torch_seeded(0, 0, "boxes", ""):
        crop, picture = v2.RandomResizedCrop(8), torch.zeros(1, height, width)
        drawn = [crop.make_params([picture]) for _ in range(many)]
    theirs = np.array([[params[name] for name in CropBox._fields] for params in drawn])
    for one, other in zip(measures(own), measures(theirs), strict=True):
        error = math.hypot(one.std(), other.std()) / math.sqrt(many)
        assert abs(one.mean() - other.mean()) < 4 * error
        assert one.std() == pytest.approx(other.std(), rel=0.1)


def test_boxes_reach_both_edges() -> None:
    boxes = np.array([draw_box(generator(0, draw, "box"), 12, 12, 0.08, 4 / 3) for draw in range(100)])
    part = boxes[(boxes[:, 2:] < 12).all(axis=1)]
    assert (part[:, :2].min(axis=0) == 0).all()
    assert ((part[:, :2] + part[:, 2:]).max(axis=0) == 12).all()


def measures(boxes: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    top, left, height, width = boxes.T.astype(np.float64)
    return [top, left, height * width, np.log(width / height)]


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (1, 90)])
def test_where_no_box_fits_it_is_torchvisions_in_the_middle(width: int, height: int) -> None:
    found = draw_box(generator(0, 0, "box"), width, height, 0.99, 4 / 3)
    params = v2.RandomResizedCrop(8, scale=(0.99, 1.0)).make_params([torch.zeros(1, height, width)])
    assert found == CropBox(params["top"], params["left"], params["height"], params["width"])


def test_everything_is_as_often_as_it_is_asked_for() -> None:
    maker = TwoViews(TwoViewConfig(), 32, seed=3)
    plans = [maker.plan(100, 80, 0, f"photo {number}") for number in range(500)]
    shares = np.array(
        [[(p.flip, bool(p.jitter), p.grey, p.sigma > 0, p.solarise) for p in both] for both in plans], dtype=float
    ).mean(axis=0)
    expected = np.array([[0.5, 0.8, 0.2, 1.0, 0.0], [0.5, 0.8, 0.2, 0.1, 0.2]])
    assert np.abs(shares - expected).max() < 0.08  # 3.5 deviations
    assert (shares[expected == 0] == 0).all()
    assert (shares[expected == 1] == 1).all()
    jitters = [p.jitter for both in plans for p in both if p.jitter]
    assert {jitter[0][0] for jitter in jitters} == {"brightness", "contrast", "saturation", "hue"}
    limits = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
    for name, (low, high) in limits.items():
        amounts = [amount for jitter in jitters for called, amount in jitter if called == name]
        assert low <= min(amounts) < low + 0.01
        assert high - 0.01 < max(amounts) <= high
    sigmas = [both[0].sigma for both in plans]
    assert 0.1 <= min(sigmas) < 0.12
    assert 1.98 < max(sigmas) <= 2.0


def test_views_photos_epochs_and_seeds_have_streams_of_their_own() -> None:
    maker = TwoViews(TwoViewConfig(), 32, seed=0)
    plans = [
        *maker.plan(300, 200, 0, "a"),
        *maker.plan(300, 200, 1, "a"),
        *maker.plan(300, 200, 0, "b"),
        *TwoViews(TwoViewConfig(), 32, seed=1).plan(300, 200, 0, "a"),
    ]
    assert len({plan.box for plan in plans}) == 8
    assert len({plan.sigma or plan.jitter for plan in plans}) == 8
    assert maker.plan(300, 200, 0, "a") == tuple(plans[:2])


def photo(side: int = 48) -> Tensor:
    colours = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 6, 6), dtype=np.uint8))
    resized: Tensor = functional.resize(colours, [side, side], antialias=True)
    return resized


def test_changes_come_in_their_order_and_are_torchvisions() -> None:
    picture, maker = photo(), TwoViews(TwoViewConfig(), 48, seed=0)
    jitter = (("hue", 0.08), ("contrast", 1.3), ("brightness", 0.8), ("saturation", 1.2))
    plan = ViewPlan(CropBox(0, 0, 48, 48), True, jitter, True, 1.5, True)
    assert maker.blur_kernel == 5
    wanted = functional.horizontal_flip(picture).float() / 255
    wanted = functional.adjust_hue(wanted, 0.08)
    wanted = functional.adjust_contrast(wanted, 1.3)
    wanted = functional.adjust_brightness(wanted, 0.8)
    wanted = functional.adjust_saturation(wanted, 1.2)
    wanted = functional.rgb_to_grayscale(wanted, 3)
    wanted = functional.gaussian_blur(wanted, [5, 5], [1.5, 1.5])
    wanted = functional.solarize(wanted, 128 / 255)
    difference = maker.view(picture, plan).int() - (wanted * 255).round().int()
    assert difference.abs().float().mean() < 0.01  # of 255; a pixel at the middle may turn over alone


@pytest.mark.parametrize(("size", "kernel"), [(224, 23), (96, 9), (32, 3), (448, 45)])
def test_the_blur_grows_with_the_view(size: int, kernel: int) -> None:
    assert TwoViews(TwoViewConfig(), size, seed=0).blur_kernel == kernel


def test_hue_and_blur_are_torchvisions() -> None:
    picture = photo().float() / 255
    for shift in (-0.5, -0.1, 0.03, 0.5):
        assert torch.allclose(shift_hue(picture, shift), functional.adjust_hue(picture, shift), atol=1e-5)
    grey = picture[:1].expand(3, -1, -1).contiguous()
    assert torch.allclose(shift_hue(grey, 0.2), grey, atol=1e-6)
    for kernel, sigma in ((3, 0.1), (9, 2.0)):
        expected = functional.gaussian_blur(picture, [kernel, kernel], [sigma, sigma])
        assert torch.allclose(blur(picture, kernel, sigma), expected, atol=1e-5)
