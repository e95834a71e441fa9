import pytest
import torch
from torch import Tensor

from experiments.robustness.perturbations import content_kept, permute_patches, scaled, translate

SIDE, BAR = 24, 125
BOX = torch.tensor([[0, 4, 24, 17], [3, 0, 18, 24]])  # left, top, width, height
KEYS = ["train/rice/a", "train/rice/b"]


def pictures(seed: int = 0) -> Tensor:
    """Two letterboxed pictures of random content with grey bars."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.full((2, 3, SIDE, SIDE), BAR, dtype=torch.uint8)
    for picture, (left, top, width, height) in enumerate(BOX.tolist()):
        content = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        pixels[picture, :, top : top + height, left : left + width] = content
    return pixels


def patches_of(pixels: Tensor, picture: int, patch: int) -> list[bytes]:
    left, top, width, height = BOX[picture].tolist()
    corners = [(y, x) for y in range(height // patch) for x in range(width // patch)]
    return [
        pixels[picture, :, top + y * patch : top + (y + 1) * patch, left + x * patch : left + (x + 1) * patch]
        .numpy()
        .tobytes()
        for y, x in corners
    ]


def test_permutation_moves_whole_patches_of_the_content_and_nothing_else() -> None:
    before = pictures()
    after = permute_patches(before, BOX, 5, seed=0, keys=KEYS)
    for picture in range(2):
        old, new = patches_of(before, picture, 5), patches_of(after, picture, 5)
        assert sorted(old) == sorted(new)
        assert old != new
    touched = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    touched[0, 4:19, 0:20] = True
    touched[1, 0:20, 3:18] = True
    assert torch.equal(before.movedim(1, -1)[~touched], after.movedim(1, -1)[~touched])


def test_permutation_depends_on_seed_and_key_alone() -> None:
    before = pictures()
    first = permute_patches(before, BOX, 6, seed=3, keys=KEYS)
    alone = permute_patches(before[1:], BOX[1:], 6, seed=3, keys=KEYS[1:])
    assert torch.equal(first[1:], alone)
    assert not torch.equal(first, permute_patches(before, BOX, 6, seed=4, keys=KEYS))
    assert not torch.equal(first[1:], permute_patches(before[1:], BOX[1:], 6, seed=3, keys=["train/rice/c"]))


def test_both_views_of_a_pair_are_permuted_alike() -> None:
    """Equation 5 has one P for both inputs: the cut-outs of a photo still add up to the permuted photo."""
    photo = pictures()
    inside = (torch.arange(SIDE) % 7 < 3)[None, None, None, :].expand_as(photo)
    roi, extra_roi = torch.where(inside, photo, 0), torch.where(inside, 0, photo)
    permuted = [permute_patches(view, BOX, 4, seed=1, keys=KEYS) for view in (roi, extra_roi, photo)]
    assert torch.equal(permuted[0] + permuted[1], permuted[2])


def test_a_picture_without_two_whole_patches_stays_as_it_is() -> None:
    before = pictures()
    after = permute_patches(before, BOX, 12, seed=0, keys=KEYS)  # 2×1 patches in the first picture, 1×2 in the second
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 0
    assert torch.equal(permute_patches(before, BOX, 13, seed=0, keys=KEYS), before)


@pytest.mark.parametrize(("dx", "dy"), [(3, 5), (-4, 2), (0, -7), (6, 0)])
def test_translation_there_and_back_restores_what_stayed_inside(dx: int, dy: int) -> None:
    before = pictures()
    back = translate(translate(before, dx, dy, BAR), -dx, -dy, BAR)
    rows = slice(max(0, dy), SIDE - max(0, -dy))
    columns = slice(max(0, -dx), SIDE - max(0, dx))
    assert torch.equal(back[..., rows, columns], before[..., rows, columns])
    back[..., rows, columns] = BAR
    assert bool((back == BAR).all())


def test_translation_goes_right_and_up() -> None:
    dot = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    dot[0, :, 10, 10] = 255
    moved = translate(dot, 2, 3, 0)
    assert moved[0, 0].nonzero().tolist() == [[7, 12]]
    assert bool((translate(dot, SIDE, 0, BAR) == BAR).all())


def test_content_kept_by_hand_and_by_counting() -> None:
    assert content_kept(BOX, SIDE, 6, 0).tolist() == pytest.approx([18 / 24, 15 / 18])
    assert content_kept(BOX, SIDE, 0, 10).tolist() == pytest.approx([11 / 17, 14 / 24])
    for dx, dy in ((0, 0), (5, -9), (-20, 3), (30, 30)):
        for picture, (left, top, width, height) in enumerate(BOX.tolist()):
            content = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
            content[..., top : top + height, left : left + width] = 1
            counted = translate(content, dx, dy, 0)[0, 0].sum().item() / (width * height)
            assert content_kept(BOX, SIDE, dx, dy)[picture].item() == pytest.approx(counted)


def test_distances_scale_with_the_side() -> None:
    assert [scaled(p, 224) for p in (16, -30, 63)] == [16, -30, 63]
    assert [scaled(p, 64) for p in (16, -30, 63, 1, -1, 0)] == [5, -9, 18, 1, -1, 0]
