"""Regions of a batch: every cell of a superpixel in one region, ids of the photo's own clusters, few enough of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from R2O.config import FidelityConfig
from R2O.lattice import replay, sample_four
from R2O.regions import Regions, cluster_superpixels, refine

CLEAN = FidelityConfig()
SIZE, SIDE, CELLS = 64, 16, 4


def photos(counts: tuple[int, ...] = (9, 16, 4, 25)) -> Tensor:
    """Return superpixels int16 B×64×64: each photo a grid of square superpixels, of another number in each."""
    grids = []
    for count in counts:
        line = torch.arange(SIZE) * round(count**0.5) // SIZE
        grids.append(line[:, None] * round(count**0.5) + line)
    return torch.stack(grids).to(torch.int16)


def distinct(values: Tensor) -> set[int]:
    return set(values.flatten().tolist())


def maps(count: int = 4, width: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, width, CELLS, CELLS, generator=torch.Generator().manual_seed(seed))


def refined(clusters: int | None, fidelity: FidelityConfig = CLEAN, superpixels: Tensor | None = None) -> Regions:
    torch.manual_seed(0)
    return refine(maps(), photos() if superpixels is None else superpixels, clusters, fidelity, SIDE)


@pytest.mark.parametrize("clusters", [1, 2, 7, 30, 54, 127])
def test_every_cell_of_a_superpixel_lies_in_one_region(clusters: int) -> None:
    superpixels, found = photos(), refined(clusters)
    four = sample_four(superpixels, SIDE).long()
    inside = (four == four[:, :1]).all(dim=1)
    slots = int(superpixels.max()) + 1
    ids_of = torch.full((len(superpixels), slots), -1)
    for photo in range(len(superpixels)):
        for label in distinct(superpixels[photo]):
            cells = found.ids[photo][inside[photo] & (four[photo, 0] == label)]
            (ids_of[photo, label],) = distinct(cells)
        assert distinct(found.ids[photo]) <= distinct(ids_of[photo]) - {-1}
        assert found.counts[photo] == len(distinct(found.ids[photo]))
    superpixel_counts = torch.tensor([9, 16, 4, 25])
    assert (found.counts <= superpixel_counts.clamp(max=clusters)).all()
    read = 9 + 16 + 4 + 16  # the map of features has 16 cells, so it reads 16 of the 25
    assert found.masks.shape == (4, min(clusters, read), SIDE, SIDE)
    assert torch.equal(found.masks, F.one_hot(found.ids, found.masks.shape[1]).permute(0, 3, 1, 2).float())


def test_blended_borders_name_clusters_that_the_photo_lacks() -> None:
    """The reason why borders are not blended by default."""
    clean, blended = refined(30), refined(30, replace(CLEAN, border_ids="blended"))
    four = sample_four(photos(), SIDE)
    inside = (four == four[:, :1]).all(dim=1)
    assert torch.equal(clean.ids[inside], blended.ids[inside])
    assert (blended.counts > clean.counts).any()
    assert not distinct(blended.ids[0]) <= distinct(clean.ids[0])


def test_one_cluster_is_one_mask_of_ones() -> None:
    found = refined(1)
    assert torch.equal(found.masks, torch.ones(4, 1, SIDE, SIDE))
    assert found.counts.tolist() == [1, 1, 1, 1]
    record = torch.tensor([[0.1, 0.2, 0.8, 0.7, 1.0]] * 4)
    torch.testing.assert_close(replay(found.masks, record, 2), torch.ones(4, 1, 2, 2))


def test_without_clusters_the_superpixels_are_the_regions() -> None:
    state = torch.get_rng_state()
    superpixels = photos((9, 16, 4, 25))
    found = refine(None, superpixels, None, CLEAN, SIDE)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.counts.tolist() == [9, 16, 4, 25]
    assert found.masks.shape == (4, 25, SIDE, SIDE)
    one_hot = F.one_hot(superpixels.long(), 25).permute(0, 3, 1, 2).float()
    assert torch.equal(found.masks, F.interpolate(one_hot, size=(SIDE, SIDE), mode="bilinear"))
    assert ((found.masks > 0) & (found.masks < 1)).any()
    assert [len(distinct(ids)) for ids in found.ids] == [9, 16, 4, 25]


def test_clustering_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="needs features"):
        refine(None, photos(), 4, CLEAN, SIDE)


def painted_maps(kinds: Tensor, width: int = 16) -> Tensor:
    """Return features B×width×4×4 whose cells have the directions that B×4×4 kinds name, each in its own length."""
    generator = torch.Generator().manual_seed(4)
    directions = torch.rand(int(kinds.max()) + 1, width, generator=generator)
    lengths = 0.5 + torch.rand(kinds.shape, generator=generator)
    return (directions[kinds] * lengths[..., None]).permute(0, 3, 1, 2)


def test_clusters_are_shared_by_the_photos_of_a_batch() -> None:
    """Two photos of four quarters each; quarters that look alike get one id, whichever photo they are of."""
    superpixels = photos((4, 4))
    kinds = torch.tensor([[0, 1, 2, 0], [1, 3, 2, 2]])
    cells = kinds.view(2, 2, 2).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    torch.manual_seed(0)
    ids, count = cluster_superpixels(painted_maps(cells), superpixels, 4, 4)
    assert count == 4
    pairs = set(zip(kinds.flatten().tolist(), ids.flatten().tolist(), strict=True))
    assert len(pairs) == 4


def test_slots_of_other_photos_and_lengths_of_features_change_nothing() -> None:
    superpixels, features = photos(), maps()
    found = []
    for scale, slots in ((1.0, 25), (1.0, 60), (7.3, 25), (1e-3, 25)):
        torch.manual_seed(0)
        found.append(cluster_superpixels(scale * features, superpixels, 12, slots)[0][:, :25])
    assert all(torch.equal(ids, found[0]) for ids in found)


def test_a_superpixel_that_no_cell_reads_goes_to_the_cluster_of_the_cells_it_lies_in() -> None:
    """A line of pixels at the border of the photo, which no cell reads, beside cells of kind 2."""
    kinds = torch.tensor([[0, 1], [2, 0]]).repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)[None]
    superpixels = photos((4,))
    superpixels[0, 40:, 0] = 4
    features = painted_maps(kinds)
    for clusters in (2, 3, 9):
        torch.manual_seed(0)
        ids, _ = cluster_superpixels(features, superpixels, clusters, 7)
        assert ids[0, 4] == ids[0, 2]
        assert ids[0, 5:].tolist() == [0, 0]
    torch.manual_seed(0)
    padded, _ = cluster_superpixels(features, superpixels, 4, 7, padding=True)
    assert padded[0, 4] == padded[0, 5] == padded[0, 6]
    assert padded[0, 4] not in padded[0, :4]


def test_empty_rows_take_a_cluster_only_where_that_is_asked_for() -> None:
    superpixels = photos((4, 16))
    cells = torch.arange(16).view(1, 4, 4).expand(2, 4, 4) // 8
    features = painted_maps(cells)
    for padding, expected in ((False, 2), (True, 1)):
        torch.manual_seed(0)
        ids, _ = cluster_superpixels(features, superpixels, 2, 16, padding=padding)
        real = torch.cat((ids[0, :4], ids[1]))
        assert len(distinct(real)) == expected
        if padding:
            assert not torch.isin(ids[0, 4:], real).any()


def test_features_that_are_no_numbers_still_give_regions() -> None:
    features = maps()
    features[1] = float("nan")
    torch.manual_seed(0)
    found = refine(features, photos(), 6, CLEAN, SIDE)
    assert torch.equal(found.masks.sum(dim=1), torch.ones(4, SIDE, SIDE))
    everything = refine(torch.full_like(features, float("inf")), photos(), 6, CLEAN, SIDE)
    assert everything.counts.tolist() == [1, 1, 1, 1]


def test_gradients_and_the_callers_precision_stay_outside() -> None:
    plain = refined(6)
    features = maps().requires_grad_()
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = refine(features, photos(), 6, CLEAN, SIDE)
    assert torch.equal(found.ids, plain.ids)
    assert not found.masks.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("clusters", [1, 7, 30, None])
@pytest.mark.parametrize("fidelity", [CLEAN, FidelityConfig(border_ids="blended", cluster_padding=True)])
def test_a_gpu_draws_the_same_masks(clusters: int | None, fidelity: FidelityConfig) -> None:
    plain = refined(clusters, fidelity)
    torch.manual_seed(0)
    found = refine(maps().cuda(), photos().cuda(), clusters, fidelity, SIDE)
    assert torch.equal(found.ids.cpu(), plain.ids)
    assert torch.equal(found.masks.cpu(), plain.masks)
    assert torch.equal(found.counts.cpu(), plain.counts)
    record = torch.tensor([[0.1, 0.2, 0.8, 0.7, 1.0]] * 4)
    torch.testing.assert_close(replay(found.masks, record.cuda(), 2).cpu(), replay(plain.masks, record, 2))
