import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from experiments.robustness.corruptions import blank, blur, brightness, inside, jpeg, noise
from experiments.robustness.registry import PERTURBATIONS, Pictures, in_pixels

SIDE, BAR = 40, 125
BOX = torch.tensor([[0, 5, 40, 29], [3, 0, 33, 40]], dtype=torch.int16)  # left, top, width, height
KEYS = ["train/rice/a", "train/rice/b"]


def pictures(smooth: bool = False) -> Tensor:
    """Two letterboxed pictures with grey bars, a black corner in each content."""
    rng = np.random.default_rng(0)
    pixels = np.full((2, 3, SIDE, SIDE), BAR, dtype=np.uint8)
    for picture, (left, top, width, height) in enumerate(BOX.tolist()):
        content = rng.integers(1, 256, (3, height, width)).astype(float)
        if smooth:
            content = gaussian_filter(content, (0, 2, 2)) * 1.5 - 60
        content = content.clip(1, 255).round()
        content[:, : height // 2, : width // 3] = 0
        pixels[picture, :, top : top + height, left : left + width] = content
    return torch.from_numpy(pixels)


def contents(pixels: Tensor) -> list[NDArray[np.uint8]]:
    """The content of each picture, H×W×3."""
    return [
        pixels[picture, :, top : top + height, left : left + width].permute(1, 2, 0).numpy()
        for picture, (left, top, width, height) in enumerate(BOX.tolist())
    ]


def outside_is_untouched(before: Tensor, after: Tensor) -> bool:
    outside = ~inside(BOX, SIDE, before.device).expand_as(before)
    return torch.equal(before[outside], after[outside])


def test_inside_by_hand() -> None:
    box = inside(torch.tensor([[1, 0, 2, 3]]), 4, torch.device("cpu"))
    assert box.shape == (1, 1, 4, 4)
    assert box[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_noise_has_the_asked_deviation_and_spares_what_was_cut() -> None:
    flat = torch.full((2, 3, 160, 160), 128, dtype=torch.uint8)
    box = torch.tensor([[0, 0, 160, 120], [20, 0, 140, 160]])
    flat[:, :, :50, :60] = 0
    after = noise(flat, box, 12.5, seed=1, keys=KEYS)
    shown = (inside(box, 160, flat.device) & (flat[:, :1] > 0)).expand_as(flat)
    change = after[shown].double() - 128
    assert float(change.std()) == pytest.approx(12.5, rel=0.02)
    assert abs(float(change.mean())) < 0.2
    assert torch.equal(after[~shown], flat[~shown])
    assert not torch.equal(after[0, 0, 60:, 60:], after[0, 1, 60:, 60:])  # channels are independent


def test_noise_depends_on_seed_and_key_alone() -> None:
    before = pictures()
    first = noise(before, BOX, 20, 3, KEYS)
    assert torch.equal(first[1:], noise(before[1:], BOX[1:], 20, 3, KEYS[1:]))
    assert torch.equal(first, noise(before, BOX, 20, 3, KEYS))
    assert not torch.equal(first, noise(before, BOX, 20, 4, KEYS))
    assert not torch.equal(first[:1], noise(before[:1], BOX[:1], 20, 3, ["train/rice/c"]))


def test_both_views_carry_the_noise_of_one_photo() -> None:
    photo = pictures()
    cut = (torch.arange(SIDE) % 7 < 3)[None, None, None, :].expand_as(photo)
    outside = ~inside(BOX, SIDE, photo.device).expand_as(photo)
    views = [torch.where(cut | outside, photo, 0), torch.where(cut & ~outside, 0, photo)]
    roi, extra_roi = (noise(view, BOX, 30, 0, KEYS) for view in views)
    assert torch.equal(torch.where(cut, roi, extra_roi), noise(photo, BOX, 30, 0, KEYS))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_blur_is_the_gaussian_mean_of_what_is_visible(sigma: float) -> None:
    before = pictures()
    after = blur(before, BOX, sigma)
    assert outside_is_untouched(before, after)
    for old, new in zip(contents(before), contents(after), strict=True):
        shown = (old.max(axis=2) > 0).astype(float)
        radius = max(1, int(4 * sigma + 0.5))
        weight = gaussian_filter(shown, sigma, mode="constant", radius=radius)
        for channel in range(3):
            total = gaussian_filter(old[..., channel] * shown, sigma, mode="constant", radius=radius)
            mean = np.divide(total, weight, out=np.zeros_like(total), where=shown > 0)
            assert np.abs(new[..., channel] - mean).max() <= 0.501


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_jpeg_is_that_of_pillow(quality: int) -> None:
    before = pictures(smooth=True)
    after = jpeg(before, BOX, quality)
    assert outside_is_untouched(before, after)
    for old, new in zip(contents(before), contents(after), strict=True):
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(old)).save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file)).astype(int) * (old.max(axis=2, keepdims=True) > 0)
        assert np.abs(new - expected).max() <= 2  # the two libraries may differ in the codec's last bit
        assert np.abs(new - expected).mean() < 0.1


@pytest.mark.parametrize("factor", [0.25, 0.7, 1.5, 2])
def test_brightness_is_a_factor(factor: float) -> None:
    before = pictures()
    after = brightness(before, BOX, factor)
    assert outside_is_untouched(before, after)
    for old, new in zip(contents(before), contents(after), strict=True):
        assert np.abs(new - np.clip(old * float(factor), 0, 255)).max() < 0.5 + 1e-9


def test_blank_leaves_the_bars_alone() -> None:
    before = pictures()
    after = blank(before, BOX)
    assert outside_is_untouched(before, after)
    assert all(not content.any() for content in contents(after))


STRENGTHS: dict[str, dict[str, float]] = {
    "permute_patches": {"patch": 40},
    "translate": {"dx": -30, "dy_percent": 20},
    "noise": {"sd": 15},
    "blur": {"sigma": 8},
    "jpeg": {"quality": 30},
    "brightness": {"factor": 1.3},
    "blank": {},
}


@pytest.mark.parametrize("letterbox", ["run", "released"])
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_batches_change_no_pixel(name: str, letterbox: str) -> None:
    """Each picture comes out as if it were alone, and the one that goes in is left as it was."""
    before = pictures(smooth=True)
    kept = before.clone()

    def perturbed(rows: list[int]) -> tuple[Tensor, Tensor]:
        part = Pictures(before[rows], BOX[rows], [KEYS[row] for row in rows], "roi", BAR, letterbox)  # type: ignore[arg-type]
        return PERTURBATIONS[name].apply(part, in_pixels(STRENGTHS[name], SIDE), 2)

    together, shares = perturbed([0, 1])
    assert torch.equal(before, kept)
    assert together.dtype == torch.uint8
    assert not torch.equal(together, before)
    assert 0 <= float(shares.min()) <= float(shares.max()) <= 1
    for row in (0, 1):
        alone, share = perturbed([row])
        assert torch.equal(alone[0], together[row])
        assert torch.equal(share[0], shares[row])
    swapped, _ = perturbed([1, 0])
    assert torch.equal(swapped, together.flip(0))


def test_lengths_scale_and_the_rest_stays() -> None:
    assert in_pixels({"patch": 16}, 64) == {"patch": 5}
    assert in_pixels({"dx": -30, "dy": 63}, 64) == {"dx": -9, "dy": 18}
    assert in_pixels({"dx_percent": 12.5, "dy_percent": -50}, 32) == {"dx": 4, "dy": -16}
    assert in_pixels({"sigma": 2}, 56) == {"sigma": 0.5}
    assert in_pixels({"sd": 25, "quality": 10, "factor": 0.5}, 64) == {"sd": 25, "quality": 10, "factor": 0.5}
