"""Preprocessing, against a single-process numpy and Pillow loop that writes the same cut-outs.

Beside it: what one core does in a second, two shards against one process, and an archive made smaller against pairs.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import Recorded, Result, Row, in_turn, publish
from datasets.cutouts import encode
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.workers import available_cores

PHOTOS, SIDE = 120, 480
SCRIPT = Path(__file__).resolve().parents[1] / "preprocess_foodseg103.py"


def plain_loop(archive: Path, root: Path, size: int) -> int:
    """Cut every pair of an archive, one photo after the other; return the number of pairs."""
    lines = (archive / "category_id.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split(maxsplit=1) for line in lines)
    pairs = 0
    for split in ("train", "test"):
        for path in sorted((archive / "Images" / "img_dir" / split).iterdir()):
            photo: Image.Image = Image.open(path).convert("RGB")
            mask: Image.Image = Image.open(archive / "Images" / "ann_dir" / split / f"{path.stem}.png")
            if size:
                scale = size / max(photo.size)
                target = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
                photo = photo.resize(target, Image.Resampling.BICUBIC)
                mask = mask.resize(target, Image.Resampling.NEAREST)
            pixels, ids = np.asarray(photo), np.asarray(mask)
            for class_id in np.unique(ids[ids > 0]):
                inside = (ids == class_id)[:, :, None]
                for view, part in (("roi", np.where(inside, pixels, 0)), ("extra-roi", np.where(inside, 0, pixels))):
                    folder = root / split / view / names[str(class_id)]
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(part).save(folder / f"{path.stem}.jpg", quality=95, subsampling=0)
                pairs += 1
    return pairs


@dataclass(frozen=True)
class Files:
    """Pictures below a folder: their number, bytes and pixels."""

    count: int
    size: int
    pixels: int

    def __str__(self) -> str:
        return f"{self.count} pictures ({self.size / 1e6:.1f} MB, {self.pixels / 1e6:.1f} Mpixel)"


def pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures below a folder that training reads."""
    return (path for path in sorted(folder.rglob("*.*")) if path.suffix in (".jpg", ".png") and path.parent != folder)


def count_files(folder: Path) -> Files:
    """Count the pictures below a folder; only their headers are read."""
    found = list(pictures(folder))
    pixels = 0
    for path in found:
        with Image.open(path) as image:
            pixels += image.width * image.height
    return Files(len(found), sum(path.stat().st_size for path in found), pixels)


def bare_codec(archive: Path, root: Path) -> float:
    """Return the seconds that one core takes to decode an archive and to encode the cut-outs of a tree."""
    cut_outs = [np.asarray(Image.open(path)) for path in pictures(root)]
    started = time.perf_counter()
    for path in pictures(archive):
        Image.open(path).load()
    for cut_out in cut_outs:
        encode(cut_out, "jpg")
    return time.perf_counter() - started


def made(archive: Path, root: Path, **options: Any) -> Callable[[], None]:  # noqa: ANN401  # any option of preprocess
    """Return what makes a tree afresh in this process and its workers."""

    def make() -> None:
        shutil.rmtree(root, ignore_errors=True)
        preprocess(PreprocessOptions(src=archive, dst=root, **options), say=lambda _line: None)

    return make


def scripts(archive: Path, root: Path, *runs: list[str]) -> Callable[[], None]:
    """Return what makes a tree afresh by the script, started with several command lines at once."""
    command = [sys.executable, str(SCRIPT), "--src", str(archive), "--dst", str(root)]

    def make() -> None:
        shutil.rmtree(root, ignore_errors=True)
        processes = [
            subprocess.Popen([*command, *run], stdout=subprocess.DEVNULL, cwd=SCRIPT.parent)  # noqa: S603
            for run in runs
        ]
        failed = [process.args for process in processes if process.wait() != 0]
        if failed:
            raise RuntimeError(f"preprocessing failed: {failed}")

    return make


def against_plain_loop(folder: Path, archive: Path, size: int, repeats: int) -> list[Row]:
    """Return the rows of one size of cut-outs."""
    ours, theirs, cores = folder / "ours", folder / "theirs", available_cores()
    make, busy = made(archive, ours, size=size), []

    def all_cores() -> None:
        before = os.times()
        make()
        busy.append(sum(os.times()[:4]) - sum(before[:4]))  # processor seconds of this process and its workers

    def one_loop() -> None:
        shutil.rmtree(theirs, ignore_errors=True)
        plain_loop(archive, theirs, size)

    times = in_turn(all_cores, one_loop, repeats, warm_up=False)
    read, written = count_files(archive), count_files(ours)
    limit = (f"decoding and encoding alone on {cores} cores", bare_codec(archive, ours) / cores)
    name = f"{PHOTOS} photos of {SIDE} px" + (f" to {size} px" if size else "")
    files = f"both read {read}; ours writes {written}, the loop {count_files(theirs)}"
    core_seconds = statistics.median(busy)
    note = f"{core_seconds:.2f} processor seconds, with the start of {cores} workers; {written.count // 2} pairs"
    return [
        Result(name, "all cores", "one plain loop", *times, target=1.7, limit=limit, reads=files),
        Recorded(f"{name}: photos read", read.pixels / 2 / 1e6 / core_seconds, "Mpixel/s per core", note=note),
        Recorded(f"{name}: cut-outs written", written.pixels / 1e6 / core_seconds, "Mpixel/s per core", note=note),
    ]


def main(repeats: int = 3) -> None:  # at least 2
    """Print the ratios at the photo's own size and at 224 pixels, of shards, and of the archive's layout."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive, pairs, small = folder / "archive", folder / "pairs", folder / "small"
        generate_plates(PlatesConfig(photos=PHOTOS, side=SIDE), archive)
        results = [row for size in (0, 224) for row in against_plain_loop(folder, archive, size, repeats)]
        each = max(1, available_cores() // 2)
        shards = [["--shard", f"{number}/2", "--workers", str(each)] for number in (1, 2)]
        times = in_turn(
            scripts(archive, pairs, *shards),
            scripts(archive, pairs, ["--workers", str(2 * each)]),
            repeats - 1,
            warm_up=False,
        )
        name = "two shards, merge included"
        words = f"2 processes of {each} worker{'s' * (each > 1)}", f"1 process of {2 * each} workers"
        results.append(Result(name, *words, *times, reads="the same photos and pairs of 224 px; each with its start"))
        times = in_turn(made(archive, small, layout="archive"), made(archive, pairs), repeats - 1, warm_up=False)
        stored, cut_outs = count_files(small), count_files(pairs)
        files = f"the archive's layout writes {stored}, pairs {cut_outs}"
        results.append(Result("photos and masks of 224 px", "--layout archive", "--layout pairs", *times, reads=files))
        results.append(
            Recorded("storage of pairs over --layout archive", cut_outs.size / stored.size, "times", note="224 px, jpg")
        )
        publish("preprocess", results)


if __name__ == "__main__":
    main()
