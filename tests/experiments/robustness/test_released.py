"""The released transforms against slow formulas in Pillow, written from the specification's text."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datasets.index import PairIndex
from datasets.pairs import PairDataset
from experiments.robustness.perturbations import permutation
from experiments.robustness.released import (
    ReleasedPairs,
    released_box,
    released_content_kept,
    released_permutation,
    released_size,
    released_translocation,
)
from utils.batch import Batch, ViewSpec
from utils.data_sections import DataConfig
from utils.errors import DataError

SIZES = [(40, 29), (29, 40), (33, 33), (64, 47), (61, 10), (33, 20)]
SIDES_AND_PATCHES = [(64, 5), (33, 4), (33, 33 // 2), (64, 16), (32, 8), (40, 7)]
GREY = (125, 125, 125)


def resized(image: Image.Image, side: int) -> Image.Image:
    r = side / max(image.size)
    return image if r == 1 else image.resize((math.floor(image.width * r), math.floor(image.height * r)))


def letterboxed(image: Image.Image, side: int) -> Image.Image:
    small = resized(image, side)
    canvas = Image.new("RGB", (side, side), GREY)
    canvas.paste(small, (math.ceil((side - small.width) / 2), math.ceil((side - small.height) / 2)))
    return canvas


def permuted(image: Image.Image, side: int, patch: int, order: NDArray[np.int64]) -> Image.Image:
    small = resized(image, side)
    across, down = math.ceil(small.width / patch), math.ceil(small.height / patch)
    padded = Image.new("RGB", (across * patch, down * patch), (0, 0, 0))
    padded.paste(small, ((padded.width - small.width) // 2, (padded.height - small.height) // 2))
    corners = [(x * patch, y * patch) for y in range(down) for x in range(across)]
    result = Image.new("RGB", padded.size)
    for place, source in zip(corners, order, strict=True):
        x, y = corners[source]
        result.paste(padded.crop((x, y, x + patch, y + patch)), place)
    return letterboxed(result, side)


def translocated(image: Image.Image, side: int, dx: int, dy: int) -> Image.Image:
    canvas = Image.new("RGB", (side, side), GREY)
    canvas.paste(resized(image, side), (dx, -dy))
    return canvas


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> PairIndex:
    """Pairs of odd sizes, half of them JPEG."""
    root = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        photo = rng.integers(1, 256, (height, width, 3)).astype(np.uint8)
        mask = rng.random((height, width, 1)) < 0.4
        suffix = "jpg" if number % 2 else "png"
        for view, picture in (("roi", photo * mask), ("extra-roi", photo * ~mask)):
            folder = root / "test" / view / f"food{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{number}.{suffix}", quality=95)
    return PairIndex.from_tree(root, "test")


def released_batch(index: PairIndex, side: int, views: tuple[str, ...] = ("roi", "extra_roi")) -> Batch:
    spec = ViewSpec(side, (0.0,) * 3, (1.0,) * 3, "bilinear")
    dataset = ReleasedPairs(index, dict.fromkeys(views, spec), DataConfig(), training=False, seed=0)
    return dataset.__getitems__([(0, row) for row in range(len(index))])


def stored(index: PairIndex, row: int, view: str) -> Image.Image:
    return Image.open(index.paths(row)[("roi", "extra_roi").index(view)]).convert("RGB")


def same(pixels: Tensor, image: Image.Image) -> bool:
    return np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize("side", [64, 33, 40, 224])
def test_letterbox_of_the_stored_cut_outs(tree: PairIndex, side: int) -> None:
    batch = released_batch(tree, side)
    for view, pixels in batch.views.items():
        for row in range(len(tree)):
            image = stored(tree, row, view)
            assert same(pixels[row], letterboxed(image, side))
            left, top, width, height = batch.content_box[view][row].tolist()
            inner = pixels[row, :, top : top + height, left : left + width]
            assert same(inner, resized(image, side))


@pytest.mark.parametrize(("side", "patch"), SIDES_AND_PATCHES)
def test_permutation_for_a_given_order(tree: PairIndex, side: int, patch: int) -> None:
    batch = released_batch(tree, side)
    keys = [tree.draw_key(row) for row in range(len(tree))]
    for view, pixels in batch.views.items():
        after = released_permutation(pixels, batch.content_box[view], patch, 7, keys, view)
        for row in range(len(tree)):
            image = stored(tree, row, view)
            small = resized(image, side)
            count = math.ceil(small.width / patch) * math.ceil(small.height / patch)
            order = permutation(count, 7, f"patches {view}", keys[row])
            assert same(after[row], permuted(image, side, patch, order)), (SIZES, row, view)


def test_each_view_is_shuffled_in_its_own_order(tree: PairIndex) -> None:
    batch = released_batch(tree, 64)
    keys = [tree.draw_key(row) for row in range(len(tree))]
    pixels, box = batch.views["roi"], batch.content_box["roi"]
    as_roi, as_extra = (released_permutation(pixels, box, 8, 0, keys, view) for view in ("roi", "extra_roi"))
    assert not any(torch.equal(one, other) for one, other in zip(as_roi, as_extra, strict=True))
    assert torch.equal(as_roi, released_permutation(pixels, box, 8, 0, keys, "roi"))


@pytest.mark.parametrize("shift", [(-9, 18), (17, -24), (11, 40), (0, 0), (64, 0), (3, 70), (-70, 1)])
def test_translocation_gives_up_the_centring(tree: PairIndex, shift: tuple[int, int]) -> None:
    batch = released_batch(tree, 64)
    kept = released_content_kept(batch.content_box["roi"], 64, *shift)
    after = released_translocation(batch.views["roi"], batch.content_box["roi"], *shift)
    for row in range(len(tree)):
        image = stored(tree, row, "roi")
        assert same(after[row], translocated(image, 64, *shift))
        white = translocated(Image.new("RGB", image.size, (255, 255, 255)), 64, *shift)
        small = resized(image, 64)
        share = (np.asarray(white)[..., 0] == 255).sum() / (small.width * small.height)
        assert float(kept[row]) == pytest.approx(share)


def test_some_longer_sides_come_out_one_pixel_short() -> None:
    """The survey of the released code counts 526 such sizes among 1 to 6000 at 224 pixels."""
    short = [size for size in range(1, 6001) if released_size(size, size, 224)[0] == 223]
    assert len(short) == 526
    width = short[0]
    assert released_box(width, width, 224) == (1, 1, 223, 223)


def test_a_content_one_pixel_short_is_permuted_as_released() -> None:
    """Padding to a multiple of the patch brings the lost pixel back, in black."""
    width = next(size for size in range(225, 6001) if released_size(size, size, 224)[0] == 223)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (width // 2, width, 3)).astype(np.uint8))
    pixels = torch.from_numpy(np.asarray(letterboxed(image, 224)).copy()).permute(2, 0, 1)[None]
    box = torch.tensor([released_box(*image.size, 224)])
    count = 14 * math.ceil(int(box[0, 3]) / 16)
    after = released_permutation(pixels, box, 16, 0, ["test/a/b"], "roi")
    assert same(after[0], permuted(image, 224, 16, permutation(count, 0, "patches roi", "test/a/b")))


def test_photo_is_composed_before_the_letterbox(pair_tree: Path) -> None:
    index = PairIndex.from_tree(pair_tree, "test").subset([0, 5])
    photo = released_batch(index, 64, ("photo",)).views["photo"]
    for row in range(2):
        roi, extra_roi = (np.asarray(stored(index, row, view)) for view in ("roi", "extra_roi"))
        assert same(photo[row], letterboxed(Image.fromarray(roi + extra_roi), 64))


def test_a_strip_without_height_is_refused(tmp_path: Path) -> None:
    for food in ("a", "b"):
        for view in ("roi", "extra-roi"):
            folder = tmp_path / "test" / view / food
            folder.mkdir(parents=True)
            Image.new("RGB", (200, 2), (9, 9, 9)).save(folder / "strip.png")
    index = PairIndex.from_tree(tmp_path, "test")
    with pytest.raises(DataError, match=r"roi/a/strip.png is 200×2 pixels.*side 64; take the pair out, or use"):
        released_batch(index, 64)


def test_the_honest_letterbox_differs_from_the_released_one(tree: PairIndex) -> None:
    """Cutting before the resize lets black into the border; the project resizes first."""
    spec = {"roi": ViewSpec(33, (0.0,) * 3, (1.0,) * 3)}
    ours = PairDataset(tree, spec, DataConfig(bars="grey"), training=False, seed=0).__getitems__([(0, 0)])
    assert not torch.equal(ours.views["roi"][0], released_batch(tree, 33).views["roi"][0])


def test_jpeg_cut_outs_are_taken_as_stored(tree: PairIndex) -> None:
    """No pixel is set to black again: what the compression left outside the mask is seen, as it was."""
    row = next(row for row in range(len(tree)) if tree.paths(row)[0].suffix == ".jpg")
    side = int(tree.size[row].max())
    data = io.BytesIO(tree.paths(row)[0].read_bytes())
    assert same(released_batch(tree, side).views["roi"][row], letterboxed(Image.open(data).convert("RGB"), side))
