"""Start of a run of 26,000 pairs to its first step, against the released code's way to list them.

The released code builds its table of pairs by decoding and letterboxing every extra-roi picture of both splits. Ours is
everything that ``fit`` does before and during its first step: configuration, index, run directory, network, loader and
its workers, one batch. Imports and the download of weights are on neither side.
"""

import contextlib
import io
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import Recorded, Result, publish
from benchmarks.released import released_item
from benchmarks.trees import link_tree, write_cutouts
from datasets.index import PairIndex
from experiments.fit import fit
from experiments.kinds import RVERNET
from RveRNets.config import RveRNetConfig
from utils.config import parse_config
from utils.engine import train_one_epoch

PHOTOS, PER_PHOTO, CLASSES = {"train": 4564, "test": 1936}, 4, 104
SAMPLE = 300  # pictures that the released way decodes in each repeat; its time is multiplied up
SIDE, MOST_SECONDS = 224, 3.0


class _FirstStep(Exception):  # noqa: N818  # an end, not an error
    """The first step was taken."""


def first_step_seconds(config: RveRNetConfig) -> float:
    """Return the seconds from a configuration to the end of the first optimiser step."""
    started = time.perf_counter()
    seconds = 0.0

    def one_step(training: Any, batches: Any, plan: Any, *rest: Any, **options: Any) -> None:  # noqa: ANN401
        nonlocal seconds
        train_one_epoch(training, batches, plan[:1], *rest, **options)
        seconds = time.perf_counter() - started
        raise _FirstStep

    try:
        with patch("experiments.training.train_one_epoch", one_step), contextlib.redirect_stdout(io.StringIO()):
            fit(RVERNET, config)
    except _FirstStep:
        shutil.rmtree(str(config.run.dir))
    return seconds


def released_seconds(picture: Path, pairs: int) -> float:
    """Return the seconds that the released way would take for the pictures of all pairs, from a sample of them."""
    started = time.perf_counter()
    for _ in range(SAMPLE):
        released_item(picture, SIDE, mirrored=True)
    return (time.perf_counter() - started) * pairs / SAMPLE


def alternate(
    ours: Callable[[], float], baseline: Callable[[], float], repeats: int
) -> tuple[list[float], list[float]]:
    """Return the seconds that two self-timing callables report, in turn, after one warm-up of each."""
    ours()
    baseline()
    times: tuple[list[float], list[float]] = ([], [])
    for repeat, (side, call) in itertools.product(range(repeats), enumerate((ours, baseline))):
        del repeat
        times[side].append(call())
    return times


def _seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return timed


def main(repeats: int = 5) -> None:
    """Print the ratio of the whole start, its seconds, and the ratio of an index without a manifest."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "pairs"
        pairs = link_tree(tree, write_cutouts(Path(folder), 224, 168), PHOTOS, CLASSES, PER_PHOTO)
        _, large = write_cutouts(Path(folder), 480, 360)
        argv = ["--config", "RveRNets/train_cfgs/tiny_cpu.yaml", "--data.root", str(tree)]
        argv += ["--run.dir", str(Path(folder) / "run"), "--data.accept", "same-photo"]  # all pairs are links to one
        config, _ = parse_config(RveRNetConfig, argv, program="benchmark", flags={})

        ours, released = alternate(lambda: first_step_seconds(config), lambda: released_seconds(large, pairs), repeats)
        way = f"released way: decode and letterbox every extra-roi (from {SAMPLE})"
        reads = "ours: manifest, names, one batch of 224 px JPEG pairs; baseline: 480×360 JPEG cut-outs"
        start = Result(f"start to first step, {pairs:,} pairs", "fit", way, ours, released, target=50, reads=reads)
        seconds = Recorded("the same in seconds, median", statistics.median(ours), "s", target=MOST_SECONDS)

        (tree / "manifest.csv").unlink()
        listing = _seconds_of(lambda: [PairIndex.from_tree(tree, split) for split in PHOTOS])
        listed, released = alternate(listing, lambda: released_seconds(large, pairs), 1)
        name = f"index of {pairs:,} pairs without a manifest"
        headers = Result(name, "every header read", way, listed, released, reads="ours: headers of 224 px JPEG pairs")
    publish("index", [start, seconds, headers])


if __name__ == "__main__":
    main()
