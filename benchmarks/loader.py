"""The loader with two workers, against the released code's on its own kind of files and against decoding alone.

The baseline joins two datasets of cut-outs at the photo's own size, letterboxes each picture when it is loaded and
collates floats; ours reads pairs that were preprocessed to the training size. The limit are two processes that decode
ours into tensors and do nothing else.
"""

import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.io import ImageReadMode, decode_image

from benchmarks.archive import write_source
from benchmarks.common import Result, in_turn, publish
from benchmarks.released import ReleasedPairs
from datasets.index import PairIndex
from datasets.loaders import StepSampler, training_loader
from datasets.pairs import PairDataset
from datasets.preprocess import PreprocessOptions, preprocess
from utils.batch import ViewSpec
from utils.data_sections import DataConfig

SIDE, BATCH, WORKERS, PASSES = 224, 50, 2, 2
SPECS = {view: ViewSpec(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) for view in ("roi", "extra_roi")}


def write_pairs(archive: Path, root: Path, size: int) -> PairIndex:
    """Write an archive's JPEG pairs at a size, 0 for the photos' own, and list the training split."""
    preprocess(PreprocessOptions(src=archive, dst=root, size=size), say=lambda _line: None)
    return PairIndex.from_tree(root, "train")


def our_loader(index: PairIndex) -> Callable[[], None]:
    """Return a function that loads the pairs of some epochs with the project's loader."""
    sampler = StepSampler(index.label, BATCH)
    dataset = PairDataset(index, SPECS, DataConfig(), training=True, seed=0)
    loader = training_loader(dataset, sampler, workers=WORKERS)

    def load() -> None:
        for epoch in range(PASSES):
            sampler.set_position(epoch)
            pairs = sum(len(batch) for batch in loader)
            assert pairs == len(index), pairs

    return load


def released_loader(index: PairIndex) -> Callable[[], None]:
    """Return a function that loads them as the released code does."""
    roi, extra_roi = zip(*(index.paths(row) for row in range(len(index))), strict=True)
    dataset = ReleasedPairs(roi, extra_roi, index.label.tolist(), SIDE, mirrored=True)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)

    def load() -> None:
        for _ in range(PASSES):
            pairs = sum(len(labels) for _, _, labels in loader)
            assert pairs == len(index), pairs

    return load


def decode(paths: Sequence[str], orders: Connection) -> None:
    """Decode files whenever asked, with one thread, until the other end is closed."""
    torch.set_num_threads(1)
    while orders.recv():
        for path in paths:
            decode_image(path, ImageReadMode.RGB)
        orders.send(True)


@contextmanager
def bare_decoding(index: PairIndex) -> Iterator[Callable[[], None]]:
    """Yield a function that decodes both files of every pair in two processes and keeps nothing."""
    paths = [str(path) for row in range(len(index)) for path in index.paths(row)] * PASSES
    ends: list[Connection] = []
    processes = []
    for number in range(WORKERS):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=decode, args=(paths[number::WORKERS], theirs), daemon=True)
        process.start()
        ends.append(ours)
        processes.append(process)

    def run() -> None:
        for end in ends:
            end.send(True)
        for end in ends:
            end.recv()

    yield run
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()


def main(repeats: int = 3) -> None:
    """Print the ratio against the released loader and the fraction of bare decoding."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_source(folder / "archive")
        ours_index = write_pairs(folder / "archive", folder / "ours", SIDE)
        theirs_index = write_pairs(folder / "archive", folder / "theirs", 0)
        ours = our_loader(ours_index)
        with bare_decoding(ours_index) as bare:
            against_bare = in_turn(ours, bare, 3 * repeats)
        against_released = in_turn(ours, released_loader(theirs_index), repeats)
        pairs = PASSES * len(ours_index)
        limit = f"{WORKERS} processes that only decode ours"
        results = [
            Result(
                f"loading pairs, {SIDE} px, {source}",
                f"{WORKERS} workers",
                f"released loader, {WORKERS} workers",
                *against_released,
                target=6,
                limit=(limit, statistics.median(against_bare[1])),
                limit_target=0.6,
            ),
            Result("the same, share of decoding alone", f"{WORKERS} workers", limit, *against_bare, target=0.6),
        ]
        speeds = [f"{pairs / statistics.median(times):,.0f}" for times in (*against_released, against_bare[1])]
        publish(
            "loader",
            results,
            reads=f"ours and decoding alone: JPEG pairs of {SIDE} px; the released loader: JPEG pairs as large as the "
            f"photos ({source}); all from the page cache",
            notes=["pairs a second: ours {}, released loader {}, decoding alone {}".format(*speeds)],
        )


if __name__ == "__main__":
    main()
