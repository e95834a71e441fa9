"""k-means: blobs, too few points, equal points, numbers that are none, and one answer whatever the way of computing."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from R2O import kmeans as module
from R2O.kmeans import Clustering, kmeans, nearest


def blobs(count: int, each: int, width: int = 16, spread: float = 0.02, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return points round ``count`` random directions, and the direction of each, in a mixed order."""
    generator = torch.Generator().manual_seed(seed)
    middles = F.normalize(torch.randn(count, width, generator=generator), dim=1)
    labels = torch.arange(count).repeat(each)[torch.randperm(count * each, generator=generator)]
    return middles[labels] + spread * torch.randn(count * each, width, generator=generator), labels


def seeded(points: Tensor, clusters: int, seed: int = 0, **options: float) -> Clustering:
    torch.manual_seed(seed)
    return kmeans(points, clusters, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_separate_blobs_are_found(seed: int) -> None:
    points, truth = blobs(12, 20, seed=seed)
    found = seeded(points, 12, seed)
    assert adjusted_rand_score(truth.numpy(), found.labels.numpy()) == 1
    assert found.used.all()
    for cluster in range(12):
        members = points[found.labels == cluster]
        torch.testing.assert_close(found.centres[cluster], members.mean(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("clusters", [1, 3, 30])
def test_it_ends_where_lloyds_iterations_stand_still(clusters: int) -> None:
    points = torch.randn(300, 8, generator=torch.Generator().manual_seed(3))
    found = seeded(points, clusters)
    assert torch.equal(torch.cdist(points.double(), found.centres.double()).argmin(dim=1), found.labels)
    exact = (points - found.centres[found.labels]).square().sum().item()
    assert found.inertias[-1] == pytest.approx(exact, rel=1e-4)
    assert all(
        later <= earlier * (1 + 1e-6) for earlier, later in zip(found.inertias, found.inertias[1:], strict=False)
    )
    assert len(found.inertias) < 200


def test_it_is_as_good_as_scikit_learns() -> None:
    points = torch.randn(400, 6, generator=torch.Generator().manual_seed(5))
    ours = sorted(seeded(points, 20, seed).inertias[-1] for seed in range(9))
    theirs = sorted(KMeans(20, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(9))
    assert ours[4] == pytest.approx(theirs[4], rel=0.02)


def test_iterations_are_bounded_and_the_tolerance_stops_them() -> None:
    points = torch.randn(300, 8, generator=torch.Generator().manual_seed(3))
    whole = seeded(points, 10).inertias
    assert len(seeded(points, 10, iterations=3).inertias) == 3
    changes = -np.diff(whole)
    early = seeded(points, 10, tolerance=float(changes[1]) * 1.01).inertias
    assert early == whole[: len(early)]
    assert len(early) == 1 + int(np.argmax(changes < changes[1] * 1.01)) + 1


@pytest.mark.parametrize("clusters", [5, 70, 127])
def test_more_clusters_than_points_give_each_its_own(clusters: int) -> None:
    points = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    found = seeded(points, clusters)
    assert sorted(found.labels.tolist()) == [0, 1, 2, 3, 4]
    assert found.centres.shape == (5, 7)
    torch.testing.assert_close(found.centres[found.labels], points)
    assert found.inertias[-1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("width", [1, 3, 64, 1024])
@pytest.mark.parametrize("distinct", [1, 2, 7])
def test_equal_points_share_labels_and_leave_the_other_centres_empty(width: int, distinct: int) -> None:
    generator = torch.Generator().manual_seed(width)
    kinds = F.normalize(torch.rand(distinct, width, generator=generator) + torch.arange(distinct)[:, None], dim=1)
    kinds = kinds + torch.arange(distinct)[:, None]  # in one dimension, directions alone would be equal
    kind = torch.arange(131) % distinct
    found = seeded(kinds[kind], 40)
    assert torch.isfinite(found.centres).all()
    assert int(found.used.sum()) == distinct
    assert len(set(found.labels.tolist())) == distinct
    assert len(set(zip(kind.tolist(), found.labels.tolist(), strict=True))) == distinct


@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-24])
def test_no_draw_gives_a_point_that_is_a_centre_already(draw: float) -> None:
    points = torch.tensor([[0.1, 0.1], [0.9, 0.7], [0.1, 0.1], [0.1, 0.1]])
    draws = torch.full((3, 3), draw)
    chosen, used = module.first_centres(points, points.square().sum(dim=1), draws)
    assert (chosen[:2] == 1).sum() == 1
    assert used.tolist() == [True, True, False]


class SumsInARow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Notes the types of cumulative sums; of floating-point ones torch has no repeatable way on a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types = set[torch.dtype]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        found = func(*args, **kwargs or {})
        if func.overloadpacket is torch.ops.aten.cumsum:
            self.types.add(found.dtype)
        return found


def test_it_asks_for_nothing_that_torch_refuses_where_runs_have_to_repeat() -> None:
    points, _ = blobs(6, 20)
    with SumsInARow() as sums:
        seeded(points, 8)
    assert sums.types == {torch.int64}


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_points_are_drawn_in_proportion_to_their_squared_distance(scale: float) -> None:
    """Of 0, 1 and 3 after 0, by tenths: one of ten draws gives 1, and nine give 3."""
    points = torch.tensor([[0.0], [1.0], [3.0]]) * scale
    drawn = []
    for draw in torch.arange(0.05, 1, 0.1).tolist():
        chosen, _ = module.first_centres(points, points.square().sum(dim=1), torch.tensor([[0.0], [draw]]))
        drawn.append(int(chosen[1]))
    assert drawn == [1] + [2] * 9


def test_points_that_are_nearly_equal_do_not_end_in_one_cluster() -> None:
    points = torch.ones(200, 32) + 1e-4 * torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    found = seeded(points, 20)
    assert torch.isfinite(found.centres).all()
    assert len(set(found.labels.tolist())) == 20
    assert len(found.inertias) < 200


def test_a_cluster_that_loses_its_points_keeps_its_place() -> None:
    """Centres at 0, 9 and 10: the points that 9 stood for are nearer to the mean of its neighbours' points."""
    points = torch.tensor([[0.0], [1.0], [10.0]])
    centres, used = torch.tensor([[0.0], [50.0], [10.0]]), torch.ones(3, dtype=torch.bool)
    labels, centres, _ = module.lloyd(points, points.square().sum(dim=1), centres, used, 10, 1e-6)
    assert labels.tolist() == [0, 0, 2]
    assert centres.flatten().tolist() == [0.5, 50.0, 10.0]


def test_what_is_not_finite_reaches_no_other_point() -> None:
    points, truth = blobs(6, 20)
    spoilt = points.clone()
    spoilt[::30] = float("nan")
    spoilt[7, 3] = float("inf")
    found = seeded(spoilt, 8)
    whole = torch.isfinite(spoilt).all(dim=1)
    assert torch.isfinite(found.centres).all()
    assert np.isfinite(found.inertias).all()
    assert adjusted_rand_score(truth[whole].numpy(), found.labels[whole].numpy()) > 0.9
    everything = seeded(torch.full((10, 3), float("nan")), 4)
    assert len(set(everything.labels.tolist())) == 1


def test_no_points_give_no_labels() -> None:
    found = kmeans(torch.zeros(0, 4), 3)
    assert found.labels.shape == (0,)
    assert found.centres.shape == (0, 4)


def test_a_seed_gives_the_same_answer_and_takes_as_many_numbers_for_any_count_of_points() -> None:
    points, _ = blobs(30, 10, spread=0.5)
    first, again, other = (seeded(points, 20, seed) for seed in (1, 1, 2))
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.centres, again.centres)
    assert not torch.equal(first.labels, other.labels)
    seeded(points, 20)
    after_many = torch.rand(3)
    seeded(points[:4], 20)
    assert torch.equal(torch.rand(3), after_many)


def altered_look(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(module.LOOK, "cpu", 8)


def altered_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "TABLE", 0)


@pytest.mark.parametrize("alter", [altered_look, altered_table])
def test_the_way_of_computing_changes_nothing(
    alter: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    points, _ = blobs(30, 20, spread=0.3)
    for tolerance in (1e-6, 5.0):
        plain = seeded(points, 60, tolerance=tolerance)
        with monkeypatch.context() as patch:
            alter(patch)
            other = seeded(points, 60, tolerance=tolerance)
        assert torch.equal(plain.labels, other.labels)
        assert plain.inertias == pytest.approx(other.inertias, rel=1e-6)
        torch.testing.assert_close(plain.centres, other.centres)


def test_the_callers_precision_changes_nothing() -> None:
    points, _ = blobs(30, 20, spread=0.3)
    plain = seeded(points, 25)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = seeded(points.requires_grad_(), 25)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(plain.labels, inside.labels)
    assert torch.equal(plain.centres, inside.centres)
    assert not inside.centres.requires_grad


def test_a_point_that_took_no_part_goes_to_the_nearest_centre_in_use() -> None:
    found = seeded(torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 0.0]]), 3)
    newcomers = torch.tensor([[0.5, 3.0], [3.0, -1.0], [float("nan"), 0.0]])
    expected = [found.labels[0], found.labels[1], found.labels[0]]
    assert nearest(newcomers, found).tolist() == expected
    left_over = Clustering(found.labels, torch.tensor([[0.0], [5.0]]), [], torch.tensor([True, False]))
    assert nearest(torch.tensor([[5.0]]), left_over).tolist() == [0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_and_is_waited_for_once_in_several_iterations() -> None:
    points, _ = blobs(30, 20, spread=0.15)
    plain = seeded(points, 60)
    device_points = points.cuda()
    seeded(device_points, 60)  # the first products of a size load kernels
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            found = seeded(device_points, 60)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.labels.cpu(), plain.labels)
    waited = sum("synchronizing" in str(wait.message) for wait in waits)
    assert waited <= 1 + len(found.inertias) // module.LOOK_ELSEWHERE
