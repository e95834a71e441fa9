import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from datasets.index import PairIndex
from datasets.pairs import PADDING_ROW, PairDataset
from utils.batch import Batch, ViewSpec
from utils.data_sections import POLICIES, AugmentConfig, DataConfig
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker

Noise = Callable[[int, int, int], tuple[NDArray[np.uint8], NDArray[np.bool_]]]

NAMES = ("rice", "apple")
VIEWS = ("roi", "extra_roi", "photo")
STILL = AugmentConfig(flip=0.0)
EVERYTHING = AugmentConfig(min_crop_area=0.3, rotate_degrees=20, color_jitter=0.3, policy="randaugment")


def spec(size: int) -> ViewSpec:
    return ViewSpec(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def make(
    tree: "TreeMaker",
    sizes: dict[str, int],
    augment: AugmentConfig = STILL,
    *,
    bars: str = "black",
    training: bool = True,
    seed: int = 0,
) -> PairDataset:
    index = PairIndex.from_tree(tree.root, "train")
    data = DataConfig(augment=augment, bars=bars)  # type: ignore[arg-type]  # one of the two colours
    return PairDataset(index, {view: spec(size) for view, size in sizes.items()}, data, training=training, seed=seed)


def same(first: Batch, second: Batch) -> bool:
    tensors = [(first.label, second.label), (first.index, second.index)]
    for one, other in ((first.views, second.views), (first.content_box, second.content_box), (first.flip, second.flip)):
        assert one.keys() == other.keys()
        tensors += [(one[view], other[view]) for view in one]
    return all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_lossless_views_are_the_photo_cut_in_two(tree: "TreeMaker", noise: Noise, suffix: str) -> None:
    photos = {}
    for seed, name in enumerate(NAMES):
        photos[name] = noise(seed, 24, 16)
        tree.add(name, "p1", *photos[name], suffix=suffix)
    batch = make(tree, dict.fromkeys(VIEWS, 24)).__getitems__([(0, 0), (0, 1)])
    assert batch.label.tolist() == [0, 1]
    for row, name in enumerate(("apple", "rice")):
        photo, mask = photos[name]
        planar = torch.from_numpy(np.moveaxis(photo, 2, 0).copy())
        content = {view: batch.views[view][row, :, 4:20] for view in VIEWS}
        assert torch.equal(content["photo"], planar)
        assert torch.equal(content["roi"], planar * torch.from_numpy(mask))
        assert torch.equal(content["roi"] + content["extra_roi"], planar)
        assert batch.content_box["roi"][row].tolist() == [0, 4, 24, 16]
        assert batch.views["photo"][row, :, :4].sum() == batch.views["photo"][row, :, 20:].sum() == 0


def test_grey_bars_surround_the_content_only(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    grey = make(tree, {"roi": 24, "photo": 32}, bars="grey").__getitems__([(0, 0)])
    black = make(tree, {"roi": 24, "photo": 32}).__getitems__([(0, 0)])
    for view in ("roi", "photo"):
        left, top, width, height = grey.content_box[view][0].tolist()
        inside = torch.zeros(grey.views[view].shape[2:], dtype=torch.bool)
        inside[top : top + height, left : left + width] = True
        assert (grey.views[view][0][:, ~inside] == 125).all()
        assert (black.views[view][0][:, ~inside] == 0).all()
        assert torch.equal(grey.views[view][0][:, inside], black.views[view][0][:, inside])


def test_jpeg_pairs_are_cut_again_within_the_stated_bounds(tree: "TreeMaker") -> None:
    columns, rows = np.meshgrid(np.arange(160), np.arange(120))
    generator = np.random.default_rng(0)
    grain = generator.integers(-8, 9, (120, 160, 3))
    waves = np.stack([120 + 80 * np.sin(columns / 9), 130 + 70 * np.cos(rows / 7), 90 + columns / 2], axis=2)
    photo = np.clip(waves + grain, 20, 255).astype(np.uint8)
    mask = (columns - 70) ** 2 + (rows - 60) ** 2 < 40**2
    for name in NAMES:
        tree.add(name, "p1", photo, mask, suffix=".jpg")
    assert np.asarray(Image.open(tree.path("roi", "rice", "p1", suffix=".jpg")))[~mask].max() > 0  # JPEG rings
    batch = make(tree, dict.fromkeys(VIEWS, 160)).__getitems__([(0, 0)])
    roi, extra_roi, whole = (batch.views[view][0, :, 20:140].numpy() for view in VIEWS)
    wrong = int((roi.any(axis=0) != mask).sum())
    assert wrong <= 2  # of 19,200 pixels
    assert roi[:, ~mask].any(axis=0).sum() <= wrong  # nothing else of the ringing is left
    assert extra_roi[:, mask].any(axis=0).sum() <= wrong
    assert np.array_equal(roi + extra_roi, whole)
    Image.fromarray(photo).save(tree.root / "whole.jpg", quality=95, subsampling=0)
    once = np.moveaxis(np.asarray(Image.open(tree.root / "whole.jpg")), 2, 0).astype(int)
    planar = np.moveaxis(photo, 2, 0).astype(int)
    assert np.abs(whole - planar).mean() < 1.2 * np.abs(once - planar).mean()  # no worse than JPEG itself


@pytest.mark.parametrize("epoch", range(4))
def test_after_every_augmentation_the_two_views_still_make_the_photo(tree: "TreeMaker", epoch: int) -> None:
    tree.add_random(NAMES, ("p1", "p2"), (60, 40))
    batch = make(tree, dict.fromkeys(VIEWS, 48), EVERYTHING).__getitems__([(epoch, row) for row in range(4)])
    roi, extra_roi, photo = (batch.views[view] for view in VIEWS)
    assert torch.equal(roi + extra_roi, photo)
    assert not (roi.any(dim=1) & extra_roi.any(dim=1)).any()
    assert roi.flatten(1).any(dim=1).all()
    assert torch.equal(batch.content_box["roi"], batch.content_box["extra_roi"])


def test_one_geometry_for_both_views_at_two_sizes(tree: "TreeMaker") -> None:
    columns, rows = np.meshgrid(np.arange(128), np.arange(96))
    photo = np.stack([columns * 2, rows * 2 + 20, np.full_like(rows, 255)], axis=2).astype(np.uint8)
    mask = np.zeros((96, 128), dtype=bool)
    mask[30:70, 40:90] = True
    for name in NAMES:
        tree.add(name, "p1", photo, mask)
    augment = AugmentConfig(flip=0, min_crop_area=0.3)
    batch = make(tree, {"roi": 96, "extra_roi": 48}, augment).__getitems__([(5, 0)])
    shown = {}
    for view in ("roi", "extra_roi"):
        left, top, width, height = batch.content_box[view][0].tolist()
        content = batch.views[view][0, :, top : top + height, left : left + width].float()
        ys, xs = torch.nonzero(content[2], as_tuple=True)
        columns_seen, rows_seen = content[0][ys, xs] / 2, (content[1][ys, xs] - 20) / 2
        x_fit = np.polyfit((xs + 0.5) / width, columns_seen, 1)
        y_fit = np.polyfit((ys + 0.5) / height, rows_seen, 1)
        shown[view] = np.concatenate([x_fit, y_fit])
        assert max(width, height) == batch.views[view].shape[-1]
    assert np.abs(shown["roi"] - shown["extra_roi"]).max() < 1.5  # stored pixels: both views show the same crop
    assert shown["roi"][0] < 120  # and it is a crop indeed: 128 columns would give 128


def test_both_views_flip_together_or_neither(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1", "p2"))
    dataset = make(tree, {"roi": 24, "extra_roi": 24}, AugmentConfig(flip=0.5))
    items = [(epoch, row) for epoch in range(25) for row in range(4)]
    batch = dataset.__getitems__(items)
    assert torch.equal(batch.flip["roi"], batch.flip["extra_roi"])
    assert 30 < int(batch.flip["roi"].sum()) < 70  # 100 draws at 0.5
    unflipped = make(tree, {"roi": 24, "extra_roi": 24}).__getitems__(items)
    assert torch.equal(batch.views["roi"], unflipped.views["roi"])  # drawn here, done on the device


def test_separate_flips_disagree_about_half_the_time(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1", "p2"))
    dataset = make(tree, {"roi": 24, "extra_roi": 24}, AugmentConfig(flip=0.5, flip_views="separate"))
    batch = dataset.__getitems__([(epoch, row) for epoch in range(25) for row in range(4)])
    assert 30 < int((batch.flip["roi"] ^ batch.flip["extra_roi"]).sum()) < 70


@pytest.mark.parametrize(("flip", "expected"), [(0.0, False), (1.0, True)])
def test_certain_flips(tree: "TreeMaker", flip: float, expected: bool) -> None:
    tree.add_random(NAMES, ("p1",))
    batch = make(tree, {"roi": 24}, AugmentConfig(flip=flip)).__getitems__([(e, 0) for e in range(20)])
    assert (batch.flip["roi"] == expected).all()


def test_evaluation_is_not_random(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    augment = AugmentConfig(flip=1.0, min_crop_area=0.2, color_jitter=1.0)
    scored = make(tree, {"roi": 24, "extra_roi": 24}, augment, training=False)
    plain = make(tree, {"roi": 24, "extra_roi": 24}, STILL)
    assert same(scored.__getitems__([(0, 0), (3, 1)]), plain.__getitems__([(0, 0), (0, 1)]))


def test_a_draw_depends_on_seed_epoch_and_key_alone(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1", "p2"), (60, 40))
    sizes = {"roi": 32, "extra_roi": 40}
    items = [(2, 3), (2, 0), (7, 1), (2, 2)]
    together = make(tree, sizes, EVERYTHING).__getitems__(items)
    for position, item in enumerate(items):
        alone = make(tree, sizes, EVERYTHING)[item]
        for view in sizes:
            assert torch.equal(alone.views[view][0], together.views[view][position])
            assert alone.flip[view][0] == together.flip[view][position]
    other_epoch = make(tree, sizes, EVERYTHING).__getitems__([(3, 3)])
    other_seed = make(tree, sizes, EVERYTHING, seed=1).__getitems__([(2, 3)])
    for other in (other_epoch, other_seed):
        assert not torch.equal(other.views["roi"][0], together.views["roi"][0])


def test_a_draw_does_not_depend_on_the_row(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1", "p2"), (60, 40))
    dataset = make(tree, {"roi": 32}, EVERYTHING)
    part = PairDataset(
        dataset.index.subset([3, 1]), {"roi": spec(32)}, DataConfig(augment=EVERYTHING), training=True, seed=0
    )
    assert torch.equal(part[(4, 0)].views["roi"], dataset[(4, 3)].views["roi"])


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "none"])
def test_a_dataset_can_be_sent_to_a_worker_that_starts_afresh(tree: "TreeMaker", policy: str) -> None:
    tree.add_random(NAMES, ("p1",))
    dataset = make(tree, {"roi": 24, "photo": 30}, AugmentConfig(policy=policy, color_jitter=0.2))
    assert same(pickle.loads(pickle.dumps(dataset))[(1, 0)], dataset[(1, 0)])  # noqa: S301  # our own bytes


def test_the_models_random_state_is_left_alone(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",), (60, 40))
    dataset = make(tree, {"roi": 32}, EVERYTHING)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    dataset.__getitems__([(0, 0), (1, 1)])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_blanked_view_is_black_inside_the_letterbox_and_the_other_stays(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, tuple(f"p{number}" for number in range(40)), (60, 40))
    blanked = make(
        tree, {"roi": 60, "extra_roi": 60}, AugmentConfig(flip=0, blank_roi=0.25, blank_extra_roi=0.5), bars="grey"
    )
    whole = make(tree, {"roi": 60, "extra_roi": 60}, AugmentConfig(flip=0), bars="grey")
    items = [(2, row) for row in range(len(whole))]
    seen, plain = blanked.__getitems__(items), whole.__getitems__(items)
    black = {view: (seen.views[view][:, :, 10:50] == 0).flatten(1).all(1) for view in ("roi", "extra_roi")}
    assert not (black["roi"] & black["extra_roi"]).any()
    for view, share in (("roi", 0.25), ("extra_roi", 0.5)):
        assert torch.equal(seen.views[view][~black[view]], plain.views[view][~black[view]])
        assert (seen.views[view][:, :, :10] == 125).all()
        assert abs(black[view].float().mean().item() - share) < 4 * (share * (1 - share) / len(items)) ** 0.5
    blanked.training = False
    assert torch.equal(blanked.__getitems__(items).views["extra_roi"], plain.views["extra_roi"])


def test_a_row_that_does_not_count_is_loaded_like_its_pair_and_marked(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    dataset = make(tree, {"roi": 24, "photo": 30}, EVERYTHING, bars="grey")
    for row in (0, 1):
        counted = dataset.__getitems__([(3, row), (3, row)])
        filled = dataset.__getitems__([(3, row), (3, ~row)])
        assert filled.index.tolist() == [row, PADDING_ROW]
        filled.index[1] = row
        assert same(filled, counted)


def test_batches_are_what_the_contract_says(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    batch = make(tree, {"roi": 24, "extra_roi": 40}).__getitems__([(0, 0), (0, 1)])
    assert {view: (x.shape, x.dtype) for view, x in batch.views.items()} == {
        "roi": ((2, 3, 24, 24), torch.uint8),
        "extra_roi": ((2, 3, 40, 40), torch.uint8),
    }
    assert batch.label.dtype == batch.index.dtype == torch.int64
    assert batch.content_box["roi"].dtype == torch.int16
    assert batch.flip["roi"].dtype == torch.bool
    assert batch.views["roi"].is_contiguous(memory_format=torch.channels_last)


def test_a_file_of_another_size_than_indexed_names_both_paths(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    dataset = make(tree, {"roi": 24})
    path = tree.path("extra-roi", "apple", "p1")
    Image.new("RGB", (24, 15)).save(path)
    with pytest.raises(DataError) as caught:
        dataset[(0, 0)]
    roi = tree.path("roi", "apple", "p1")
    assert str(caught.value).startswith(f"{roi} is 24×16 and {path} is 24×15 pixels, but the index says 24×16")


def test_an_unknown_view_is_refused(tree: "TreeMaker") -> None:
    tree.add_random(NAMES, ("p1",))
    with pytest.raises(ConfigError, match=r"'extra-roi' is not a view; allowed: roi, extra_roi, photo; did you mean"):
        make(tree, {"extra-roi": 24})
