"""Measure what the cost model takes for granted: bytes and processor time of one archive at one size.

``RVERNET_DATA=... python -m benchmarks.measure`` does it for the street photos (480×360) at 224 pixels and prints each
constant beside the value in benchmarks/cost_constants.py. Times are those of one processor core, so that other work on
the machine matters little.
"""

import gc
import os
import resource
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.cost_constants import MEASURED, Constants
from benchmarks.cost_model import markdown, number
from datasets.archive_cache import CACHE_VARIABLE
from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.sources import load_index_of
from experiments.resampling import GroupTally
from utils.batch import ViewSpec
from utils.data_sections import ArchiveConfig, DataConfig
from utils.errors import ConfigError, run_script

SPLITS = ("train", "test")
BATCH, MOST_PAIRS, LARGE_AREA = 50, 2000, 0.05
CLASSES = 105


@dataclass(frozen=True)
class Totals:
    """What a whole archive costs, both splits together. Bytes are those of the files, seconds those of one core.

    Attributes:
        photos, pairs: how many there are.
        photo_bytes, mask_bytes: as they are.
        small_photo_bytes, small_mask_bytes: of the archive made small.
        pair_bytes, manifest_bytes: of the folder pairs.
        files: files of the folder pairs.
        cut_seconds: preprocessing to folder pairs.
        large_pairs, large_cut_seconds: the same without classes that cover less than a twentieth of their photo.
        scan_seconds, cached_seconds: listing the small archive for the first time, and again.
        index_seconds, index_bytes: listing the folder pairs with their manifest, and what the lists take in memory.
        folder_ms, archive_ms, grouped_ms: loading a pair of folders, of the small archive, and of that by photo.
        decoded: photos decoded for each pair in batches by photo.
    """

    photos: int
    pairs: int
    photo_bytes: int
    mask_bytes: int
    small_photo_bytes: int
    small_mask_bytes: int
    pair_bytes: int
    manifest_bytes: int
    files: int
    cut_seconds: float
    large_pairs: int
    large_cut_seconds: float
    scan_seconds: float
    cached_seconds: float
    index_seconds: float
    index_bytes: int
    folder_ms: float
    archive_ms: float
    grouped_ms: float
    decoded: float


def core_seconds(call: Callable[[], object]) -> float:
    """Return the processor time that a call takes, that of its finished child processes included."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    call()
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))


def tree_bytes(folder: Path, pattern: str) -> tuple[int, int]:
    """Return the bytes and the number of the files that match."""
    sizes = [path.stat().st_size for path in folder.glob(pattern) if path.is_file()]
    return sum(sizes), len(sizes)


def measure(archive: Path, work: Path, size: int, groups: Path | None = None) -> Totals:
    """Measure an archive at one size of the longer side; ``work`` is a folder for what is written, emptied first."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    options = PreprocessOptions(src=archive, dst=work / "pairs", size=size, format="jpg", workers=1, groups=groups)

    def cut(**changed: object) -> float:
        return core_seconds(lambda: preprocess(replace(options, **changed), say=_silent))  # type: ignore[arg-type]

    cut_seconds = cut()
    large_cut_seconds = cut(dst=work / "large", min_area=LARGE_AREA)
    cut(dst=work / "small", layout="archive")
    pairs = DataConfig(source="pairs", root=str(work / "pairs"))
    small = replace(pairs, source="archive", root=str(work / "small"), archive=ArchiveConfig())
    indices, index_seconds, index_bytes = _index(pairs)
    with patch.dict(os.environ, {CACHE_VARIABLE: str(work / "cache")}):
        # In this process: starting others costs as much as some thousand photos.
        with patch("datasets.archive_scan.available_cores", return_value=1):
            scan_seconds = core_seconds(lambda: listed(small))
        cached_seconds = core_seconds(lambda: listed(small))
        composed = load_index_of(small, "train")
    rows = np.random.default_rng(0).permutation(len(indices[0]))[:MOST_PAIRS]
    by_photo, decoded = _by_photo(composed)
    pair_bytes, files = tree_bytes(work / "pairs", "*/*/*/*.jpg")
    return Totals(
        photos=tree_bytes(archive, "Images/ann_dir/*/*")[1],
        pairs=sum(map(len, indices)),
        photo_bytes=tree_bytes(archive, "Images/img_dir/*/*")[0],
        mask_bytes=tree_bytes(archive, "Images/ann_dir/*/*")[0],
        small_photo_bytes=tree_bytes(work / "small", "Images/img_dir/*/*")[0],
        small_mask_bytes=tree_bytes(work / "small", "Images/ann_dir/*/*")[0],
        pair_bytes=pair_bytes,
        manifest_bytes=tree_bytes(work / "pairs", "manifest.csv")[0],
        files=files,
        cut_seconds=cut_seconds,
        large_pairs=tree_bytes(work / "large", "*/roi/*/*.jpg")[1],
        large_cut_seconds=large_cut_seconds,
        scan_seconds=scan_seconds,
        cached_seconds=cached_seconds,
        index_seconds=index_seconds,
        index_bytes=index_bytes,
        folder_ms=_loading_ms(indices[0], pairs, size, rows),
        archive_ms=_loading_ms(composed, small, size, rows),
        grouped_ms=_loading_ms(composed, small, size, by_photo),
        decoded=decoded,
    )


def _silent(_line: str) -> None:
    pass


def listed(data: DataConfig) -> list[PairIndex]:
    """Return the index of both splits."""
    return [load_index_of(data, split) for split in SPLITS]


def _index(data: DataConfig) -> tuple[list[PairIndex], float, int]:
    """Return the index of both splits, the seconds that it takes, and the bytes that it holds."""
    listed(data)
    seconds = core_seconds(lambda: listed(data))
    tracemalloc.start()
    indices = listed(data)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return indices, seconds, held


def _by_photo(index: PairIndex) -> tuple[np.ndarray, float]:
    """Return rows with those of a photo next to each other, and the photos per pair in batches of them."""
    codes = index.photo_codes()
    drawn = np.random.default_rng(0).permutation(int(codes.max()) + 1)
    rows = np.argsort(drawn[codes], kind="stable")[:MOST_PAIRS]
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return rows, sum(len(np.unique(codes[batch])) for batch in batches) / len(rows)


def _loading_ms(index: PairIndex, data: DataConfig, size: int, rows: Sequence[int] | np.ndarray) -> float:
    """Return the milliseconds of one core that a pair takes from file to batch."""
    spec = ViewSpec(size, (0.5,) * 3, (0.5,) * 3)
    dataset = PairDataset(index, {"roi": spec, "extra_roi": spec}, data, training=True, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's process
    batches = [[(0, int(row)) for row in rows[start : start + BATCH]] for start in range(0, len(rows), BATCH)]
    dataset.__getitems__(batches[0])
    started = time.process_time()
    for batch in batches:
        dataset.__getitems__(batch)
    seconds = time.process_time() - started
    torch.set_num_threads(threads)
    return 1000 * seconds / len(rows)


def bootstrap_ns(pairs: int = 300_000, resamples: int = 20) -> float:
    """Return the nanoseconds of one core that all six scores of one resample take for each test pair.

    Of many pairs, since the counts of few fit into the processor's cache, where a pair takes half as long.
    """
    generator = np.random.default_rng(0)
    truth = generator.integers(0, CLASSES, pairs)
    logits = generator.random((pairs, CLASSES), dtype=np.float32)
    tally = GroupTally.of(truth, logits, generator.integers(0, pairs // 4, pairs), (CLASSES - 2, CLASSES - 1))
    return 1e9 * core_seconds(lambda: tally.samples(resamples, seed=0)) / resamples / pairs


def constants_of(totals: Totals, base: Constants) -> Constants:
    """Return ``base`` with everything that the totals tell, per photo and per pair."""
    photos, pairs = totals.photos, totals.pairs
    per_pair = (totals.cut_seconds - totals.large_cut_seconds) / max(1, pairs - totals.large_pairs)
    kept = 1 - totals.decoded  # of two pairs by photo, the part that needs no decoding of its own
    photo_ms = (totals.archive_ms - totals.grouped_ms) / kept if kept > 0 else 0.0
    values = {
        "pairs_per_photo": pairs / photos,
        "photo_bytes": totals.photo_bytes / photos,
        "mask_bytes": totals.mask_bytes / photos,
        "small_photo_bytes": totals.small_photo_bytes / photos,
        "small_mask_bytes": totals.small_mask_bytes / photos,
        "pair_bytes": totals.pair_bytes / pairs,
        "manifest_bytes": totals.manifest_bytes / pairs,
        "cut_photo_ms": 1e3 * (totals.cut_seconds - per_pair * pairs) / photos,
        "cut_pair_ms": 1e3 * per_pair,
        "scan_photo_ms": 1e3 * totals.scan_seconds / photos,
        "index_pair_us": 1e6 * totals.index_seconds / pairs,
        "index_bytes": totals.index_bytes / pairs,
        "folder_pair_ms": totals.folder_ms,
        "archive_photo_ms": photo_ms,
        "archive_pair_ms": totals.archive_ms - photo_ms,
    }
    return replace(base, **{name: replace(getattr(base, name), value=value) for name, value in values.items()})


def main(_arguments: list[str]) -> None:
    """Print each measured constant beside the one in the code.

    Raises:
        ConfigError: where RVERNET_DATA is not set.
    """
    if not os.environ.get("RVERNET_DATA"):
        raise ConfigError("RVERNET_DATA is not set; it names the folder that holds camvid/")
    camvid = Path(os.environ["RVERNET_DATA"]) / "camvid"
    with tempfile.TemporaryDirectory() as work:
        totals = measure(camvid, Path(work) / "work", 224, camvid / "groups.csv")
    base = Constants()
    found = constants_of(totals, base)
    found = replace(found, bootstrap_ns=replace(base.bootstrap_ns, value=bootstrap_ns()))
    rows = [
        (old.name, number(old.value), number(new.value), old.unit)
        for old, new in zip(vars(base).values(), vars(found).values(), strict=True)
        if old.source == MEASURED
    ]
    print(markdown(("constant", "in the code", "measured now", "unit"), rows))


if __name__ == "__main__":
    run_script(main)
