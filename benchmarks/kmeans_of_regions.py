"""k-means of the superpixels of a batch, as pre-training does it in every step, against loops over clusters.

32 photos of 100 superpixels with 1024 channels, of unit length, are divided into 127 clusters on the CPU. The points
scatter round 300 directions as features do, so that the iterations are not over at once. All sides have our first
centres, whose choice is part of the time, and each repeat checks that they come to the same labels in as many
iterations.

The first baseline goes cluster by cluster twice in each iteration: differences to one centre, squared and added; the
mean of the points of one cluster. The second one takes all distances from one matrix product, as we do, and loops over
the means alone. The limit is the time of the matrix products that our side is made of.
"""

import math
import time
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import Result, Row, in_turn, publish
from R2O.kmeans import first_centres, kmeans
from utils.errors import RunError

PHOTOS, SUPERPIXELS, CHANNELS, CLUSTERS = 32, 100, 1024, 127
DIRECTIONS, SCATTER = 300, 0.6  # as lengths: of the scatter round a direction, of which that is 1
REPEATS = 3
TOLERANCE, ITERATIONS = 1e-6, 200

Found = tuple[Tensor, int]


def superpixel_features() -> Tensor:
    """Return float32 N×CHANNELS of unit length, scattered round random directions; none is negative."""
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(DIRECTIONS, CHANNELS, generator=generator).clamp(min=0), dim=1)
    kinds = torch.randint(DIRECTIONS, (PHOTOS * SUPERPIXELS,), generator=generator)
    scatter = SCATTER / CHANNELS**0.5 * torch.randn(len(kinds), CHANNELS, generator=generator)
    return F.normalize((directions[kinds] + scatter).clamp(min=0), dim=1)


def ours(points: Tensor) -> Found:
    """Return labels and the number of iterations."""
    torch.manual_seed(0)
    found = kmeans(points, CLUSTERS, iterations=ITERATIONS, tolerance=TOLERANCE)
    return found.labels, len(found.inertias)


def by_loops(points: Tensor, *, by_products: bool) -> Found:
    """Return the same from the same first centres by loops over clusters."""
    torch.manual_seed(0)
    draws = torch.rand(CLUSTERS, 2 + int(math.log(CLUSTERS)))
    points = points - points.mean(dim=0)
    chosen, _ = first_centres(points, points.square().sum(dim=1), draws)
    return iterate(points, points[chosen], by_products=by_products)


def iterate(points: Tensor, centres: Tensor, *, by_products: bool) -> Found:
    """Iterate assignment, by one product or centre by centre, and means, cluster by cluster."""
    labels, inertia = torch.zeros(len(points), dtype=torch.int64), torch.inf
    for iteration in range(ITERATIONS):
        if by_products:
            distances = torch.addmm(centres.square().sum(dim=1), points, centres.T, alpha=-2)
            distances += points.square().sum(dim=1, keepdim=True)
        else:
            distances = torch.stack([(points - centre).square().sum(dim=1) for centre in centres], dim=1)
        before, labels, inertia_before = labels, distances.argmin(dim=1), inertia
        inertia = float(distances.gather(1, labels[:, None]).sum())
        for cluster in range(len(centres)):
            members = points[labels == cluster]
            if len(members):
                centres[cluster] = members.mean(dim=0)
        if torch.equal(labels, before) or abs(inertia - inertia_before) < TOLERANCE:
            return labels, iteration + 1
    return labels, ITERATIONS


def products_alone(points: Tensor, iterations: int) -> float:
    """Return the least seconds of the matrix products: all pairs of points once, points and centres per iteration."""
    centres = points[:CLUSTERS].T.contiguous()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        points @ points.T
        for _ in range(iterations):
            points @ centres
        times.append(time.perf_counter() - started)
    return min(times)


def rows() -> tuple[list[Row], int]:
    """Measure; return the rows and how many iterations there were.

    Raises:
        RunError: where the sides do not find the same.
    """
    points = superpixel_features()
    labels, iterations = ours(points)
    name = f"k-means, {len(points)} superpixels × {CHANNELS} channels, K = {CLUSTERS}"
    limit = ("the matrix products alone", products_alone(points, iterations))
    found: list[Row] = []
    for by_products, words, target in (
        (False, "loops over distances and means", 10.0),
        (True, "a loop over the means alone", None),
    ):

        def looped(by_products: bool = by_products, words: str = words) -> None:
            other, others_iterations = by_loops(points, by_products=by_products)
            if iterations != others_iterations or not torch.equal(labels, other):
                parts = f"{iterations} and {others_iterations} iterations, {int((labels != other).sum())} labels differ"
                raise RunError(f"{name}: ours and {words} do not find the same ({parts}), so their times say nothing")

        times = in_turn(partial(ours, points), looped, REPEATS, warm_up=False)
        found.append(Result(name, "at once", words, *times, target=target, limit=limit))
    return found, iterations


def main() -> None:
    """Measure and publish."""
    found, iterations = rows()
    publish(
        "kmeans_of_regions",
        found,
        notes=[f"{iterations} iterations and the same labels on all sides; {torch.get_num_threads()} threads of torch"],
    )


if __name__ == "__main__":
    main()
