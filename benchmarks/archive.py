"""Pairs composed from an archive as they are loaded, against lossless folder pairs of the same pixels.

Both sides run the project's own loader with two workers and yield the same batches, bit for bit. In natural order one
pair of each photo is read, as in an archive so large that the pairs of a photo seldom meet in a batch; in order of
photos, all pairs of some photos are. The first scan of the masks is timed by itself.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import Recorded, Result, Row, in_turn, publish
from datasets.archive import MASK_FOLDER, PHOTO_FOLDER
from datasets.archive_cache import CACHE_VARIABLE
from datasets.class_file import CLASS_FILE
from datasets.cutouts import PictureFormat
from datasets.index import PairIndex
from datasets.loaders import StepSampler, training_loader
from datasets.pairs import PairDataset
from datasets.plates import PlatesConfig, generate_plates
from datasets.sources import load_index_of
from datasets.workers import available_cores
from utils.batch import ViewSpec
from utils.data_sections import DataConfig

PHOTOS, SIDE, BATCH, PASSES, WHOLE = 96, 224, 48, 4, 36
TARGET = 0.7
SCRIPT = Path(__file__).resolve().parents[1] / "preprocess_foodseg103.py"
SPECS = {view: ViewSpec(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) for view in ("roi", "extra_roi")}


def write_source(folder: Path) -> str:
    """Write an archive of photos at their own size: of CamVid where RVERNET_DATA is set, else plates; return which."""
    data = os.environ.get("RVERNET_DATA")
    if not data:
        generate_plates(PlatesConfig(photos=PHOTOS, side=480), folder)
        return "generated plates of 480 px"
    source = Path(data) / "camvid"
    masks = sorted((source / MASK_FOLDER / "train").glob("*.png"))
    for mask in masks[:: len(masks) // PHOTOS][:PHOTOS]:
        (photo,) = (source / PHOTO_FOLDER / "train").glob(f"{mask.stem}.*")
        for path in (photo, mask):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.copyfile(source / CLASS_FILE, folder / CLASS_FILE)
    return "CamVid"


@dataclass(frozen=True)
class Stored:
    """An archive of photos of one size and format, and lossless pairs made of it."""

    picture_format: PictureFormat
    archive: Path
    pairs: Path

    @classmethod
    def make(cls, source: Path, folder: Path, picture_format: PictureFormat) -> "Stored":
        """Write both from photos of any size."""
        made = cls(picture_format, folder / f"archive_{picture_format}", folder / f"pairs_{picture_format}")
        _preprocess(source, made.archive, "--layout", "archive", "--size", str(SIDE), "--format", picture_format)
        _preprocess(made.archive, made.pairs, "--size", "0", "--format", "png")
        return made

    def indices(self) -> tuple[PairIndex, PairIndex]:
        """List the training pairs from the archive and from the folders: the same ones."""
        ours = load_index_of(DataConfig(source="archive", root=str(self.archive)), "train")
        theirs = load_index_of(DataConfig(root=str(self.pairs)), "train")
        assert ours.fingerprint() == theirs.fingerprint()
        return ours, theirs

    def megabytes(self) -> tuple[float, float]:
        """Return the size of the training split's pictures: photos and masks, cut-outs."""
        ours = sum(_bytes(self.archive / kind / "train") for kind in (PHOTO_FOLDER, MASK_FOLDER))
        return ours / 1e6, _bytes(self.pairs / "train") / 1e6


def _preprocess(source: Path, target: Path, *options: str) -> None:
    # By its script: worker processes of this one would load torch.
    command = [sys.executable, str(SCRIPT), "--src", str(source), "--dst", str(target), *options]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def one_of_each_photo(index: PairIndex) -> NDArray[np.int64]:
    """Return a row of each photo, drawn."""
    rows = np.random.default_rng(0).permutation(len(index))
    return rows[np.unique(index.photo_codes()[rows], return_index=True)[1]]


def all_of_some_photos(index: PairIndex) -> NDArray[np.int64]:
    """Return all rows of some photos."""
    return np.flatnonzero(index.photo_codes() < WHOLE)


def reader(index: PairIndex, passes: int, *, by_photo: bool) -> Callable[[], list[Tensor]]:
    """Return a function that loads some epochs with two workers and returns a copy of each epoch's first rois."""
    dataset = PairDataset(index, SPECS, DataConfig(), training=True, seed=0)
    sampler = StepSampler(index.label, BATCH, photos=index.photo_codes() if by_photo else None)
    loader = training_loader(dataset, sampler, workers=min(2, available_cores()))

    def read() -> list[Tensor]:
        first = []
        for epoch in range(passes):
            sampler.set_position(epoch)
            for number, batch in enumerate(loader):
                if number == 0:
                    first.append(batch.views["roi"].clone())
        return first

    return read


def loading(stored: Stored, repeats: int, *, by_photo: bool) -> Result:
    """Time both sources on the same pairs in the same order."""
    indices = stored.indices()
    rows = all_of_some_photos(indices[0]) if by_photo else one_of_each_photo(indices[0])
    passes = 1 if by_photo else PASSES
    ours, theirs = (reader(index.subset(rows), passes, by_photo=by_photo) for index in indices)
    for a, b in zip(ours(), theirs(), strict=True):
        assert torch.equal(a, b), "the same batches, bit for bit"
    words = "photo by photo" if by_photo else "natural order"
    name = f"{len(rows) * passes} pairs of {SIDE} px, {words}, photos as {stored.picture_format.upper()}"
    times = in_turn(ours, theirs, repeats, warm_up=False)
    return Result(name, "archive", "folder pairs (PNG)", *times, target=TARGET)


def starts(stored: Stored, folder: Path, repeats: int) -> list[Row]:
    """Time the start with and without a kept scan."""
    config = DataConfig(source="archive", root=str(stored.archive))
    fresh = iter(range(1000))

    def kept() -> None:
        load_index_of(config, "train")

    def first() -> None:
        with patch.dict(os.environ, {CACHE_VARIABLE: str(folder / f"fresh{next(fresh)}")}):
            load_index_of(config, "train")

    times = in_turn(kept, first, repeats)
    photos = len(set(load_index_of(config, "train").stems))
    each = 1000 * float(np.median(times[1])) / photos
    return [
        Result(f"table of the pairs of {photos} photos", "scan kept", "first scan", *times),
        Recorded("first scan of masks and headers, one process", each, "ms/photo", note=f"{SIDE} px"),
    ]


def main(repeats: int = 5) -> None:
    """Print loading, storage and start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_source(folder / "source")
        rows: list[Row] = []
        with patch.dict(os.environ, {CACHE_VARIABLE: str(folder / "kept")}):
            for picture_format in ("jpg", "png"):
                stored = Stored.make(folder / "source", folder, picture_format)
                rows += [loading(stored, repeats, by_photo=by_photo) for by_photo in (False, True)]
                ours, theirs = stored.megabytes()
                note = f"archive {ours:.1f} MB, pairs {theirs:.1f} MB"
                title = f"storage of pairs over photos as {picture_format.upper()} and masks"
                rows.append(Recorded(title, theirs / ours, "times", note=note))
            rows += starts(stored, folder, repeats)
        reads = f"{source} at {SIDE} px; ours: photos and PNG masks; baseline: two PNG cut-outs for each pair"
        publish("archive", rows, reads=reads)


if __name__ == "__main__":
    main()
