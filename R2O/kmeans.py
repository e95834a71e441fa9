"""k-means of many points at once: greedy k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's iterations.

All distances are matrix products, and all means one sum over labelled rows, so that nothing goes through the clusters
one by one. A GPU is waited for once in several iterations. All sums are fp32 or better, whatever the caller's
precision: no autocast, no TF32.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

LOOK = {"cpu": 1}  # iterations between two looks at the inertia, which wait for a device, by its type
LOOK_ELSEWHERE = 8
ROUNDING = 2e-6  # what |x|² + |c|² - 2x·c of equal points may be in fp32, as a part of |x|² + |c|²
DRAW_BITS = 24  # of a random number 0..1 in fp32
TABLE = 8192  # most points of which all products are kept: 256 MB
TABLE_GAIN = 6  # how much less time a product takes among all of them than in a few rows


@dataclass(frozen=True)
class Clustering:
    """What k-means found.

    Attributes:
        labels: int64 N, the cluster of each point, 0..K'-1.
        centres: float32 K'×D, the means of the clusters' points. K' is the smaller of the number that was asked for
            and N. A centre that has no points any more keeps its place; where there are fewer distinct points than
            K', the centres that are left over repeat points and have no points of their own.
        inertias: sum of squared distances to the nearest centre, one number per iteration.
        used: bool K', false for the centres that are left over.
    """

    labels: Tensor
    centres: Tensor
    inertias: list[float]
    used: Tensor


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products of fp32 numbers in fp32 meanwhile: neither autocast nor TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type=device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def kmeans(points: Tensor, clusters: int, *, iterations: int = 200, tolerance: float = 1e-6) -> Clustering:
    """Divide points into clusters of small squared Euclidean distance to their means.

    The draws of the first centres come from torch's global generator of the CPU, one and the same number of them for
    any N, so that a seeded run repeats and devices agree.

    Args:
        points: float N×D. What is not finite counts as 0: it reaches no other point's cluster.
        clusters: K, at least 1.
        iterations: the most iterations of Lloyd's.
        tolerance: change of inertia at which they stop; they also stop where no point changes its cluster.

    Returns:
        Labels, centres, and the inertia by iteration. There are at most as many labels as distinct points.
    """
    draws = torch.rand(clusters, 2 + int(math.log(clusters)))
    with torch.no_grad(), exact_products(points.device):
        points = points.float().nan_to_num(0.0, 0.0, 0.0)
        n, width = points.shape
        count = min(clusters, n)
        if n == 0:
            none = torch.zeros(0, dtype=torch.int64, device=points.device)
            return Clustering(none, points.new_zeros(0, width), [], none.bool())
        middle = points.mean(dim=0)  # distances round less where points lie round 0
        points = points - middle
        squares = points.square().sum(dim=1)
        chosen, used = first_centres(points, squares, draws[:count].to(points.device, non_blocking=True))
        labels, centres, inertias = lloyd(points, squares, points[chosen], used, iterations, tolerance)
        return Clustering(labels, centres + middle, inertias, used)


def nearest(points: Tensor, clustering: Clustering) -> Tensor:
    """Return int64 N, the nearest centre in use of each of N×D points that took no part."""
    with torch.no_grad(), exact_products(points.device):
        points = points.float().nan_to_num(0.0, 0.0, 0.0)
        return _assign(points, clustering.centres, clustering.used)[1]


def first_centres(points: Tensor, squares: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Choose points as first centres by greedy k-means++.

    Of several points drawn by their squared distance to the nearest centre so far, the one that lessens the sum of
    these distances most is the next centre.

    Args:
        points: float32 N×D.
        squares: their squared lengths N.
        draws: K×T numbers 0..1; T points are drawn each time.

    Returns:
        int64 K rows of points, and bool K: whether there was a point left that no earlier centre equals.
    """
    n, count = len(points), len(draws)
    chosen = torch.zeros(count, dtype=torch.int64, device=points.device)
    used = torch.ones(count, dtype=torch.bool, device=points.device)
    squares, draws = squares * (1 - ROUNDING), (draws * 2**DRAW_BITS).long()
    chosen[0] = draws[0, 0] * n >> DRAW_BITS
    # Row by row, the points are read once per draw; where many rows are wanted, all products at once take less time.
    table = points @ points.T if n <= TABLE and draws.numel() * TABLE_GAIN > n else None
    left = _distances(points, squares, chosen[:1], table)[0]
    for k in range(1, count):
        cumulative = _whole(left).cumsum(dim=0)
        used[k] = cumulative[-1] > 0
        drawn = torch.searchsorted(cumulative, draws[k] * cumulative[-1] >> DRAW_BITS, right=True).clamp_(max=n - 1)
        after = torch.minimum(_distances(points, squares, drawn, table), left)
        best = after.sum(dim=1).argmin(dim=0, keepdim=True)
        # Not drawn[best]: a tensor as a single index is read by the CPU, which waits for the device.
        chosen[k : k + 1], left = drawn.index_select(0, best), after.index_select(0, best)[0]
    return chosen, used


def _whole(weights: Tensor) -> Tensor:
    """Return weights float32 N, at least 0, as whole numbers in proportion; the largest one that is above 0 stays so.

    Their sums have no order of summation, which that of a GPU's floating-point numbers lacks, and leave room in int64
    for a product with a draw.
    """
    share = weights / weights.max().clamp(min=torch.finfo(weights.dtype).tiny)
    largest: int = 2 ** (62 - DRAW_BITS) // len(weights)
    return (share * largest).long()


def _distances(points: Tensor, squares: Tensor, rows: Tensor, table: Tensor | None) -> Tensor:
    """Return squared distances T×N of the points at T rows to all points, less what rounding alone could make them.

    Args:
        points: float32 N×D.
        squares: their squared lengths N, less the part ``ROUNDING`` of them.
        rows: int64 T.
        table: all products of points, N×N, where there is one.
    """
    products = points.index_select(0, rows) @ points.T if table is None else table.index_select(0, rows)
    return (squares - 2 * products).add_(squares.index_select(0, rows)[:, None]).clamp_(min=0)


def lloyd(
    points: Tensor, squares: Tensor, centres: Tensor, used: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor, list[float]]:
    """Iterate assignment and means to convergence.

    A device is asked for its numbers once in several iterations; the state at the iteration that met the condition
    is kept, so that the interval changes no result.
    """
    inertias: list[float] = []
    labels = torch.full((len(points),), -1, device=points.device)
    look = LOOK.get(points.device.type, LOOK_ELSEWHERE)
    for start in range(0, iterations, look):
        states, found = [], []
        for _ in range(min(look, iterations - start)):
            before = labels
            scores, labels = _assign(points, centres, used)
            inertia = (scores + squares).clamp(min=0).sum()
            found.append(torch.stack((inertia, (labels == before).all().to(inertia.dtype))))
            centres = _means(points, labels, centres)
            states.append((labels, centres))
        for (inertia_now, same), state in zip(torch.stack(found).tolist(), states, strict=True):
            settled = bool(inertias) and (same == 1.0 or abs(inertia_now - inertias[-1]) < tolerance)
            inertias.append(inertia_now)
            if settled:
                return *state, inertias
    return labels, centres, inertias


def _assign(points: Tensor, centres: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each point |c|² - 2x·c of its nearest centre in use, and that centre."""
    offsets = centres.square().sum(dim=1).where(used, torch.inf)
    smallest = torch.addmm(offsets, points, centres.T, alpha=-2).min(dim=1)
    return smallest.values, smallest.indices


def _means(points: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Return the means of the clusters' points; the centre as it was where there are none."""
    counts = points.new_zeros(len(centres)).index_add_(0, labels, points.new_ones(len(points)))
    if points.device.type == "cpu":
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
    else:  # the same order of summation each time, unlike the atomic additions of a GPU
        sums = (labels == torch.arange(len(centres), device=labels.device)[:, None]).to(points.dtype) @ points
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
