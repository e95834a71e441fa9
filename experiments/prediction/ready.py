"""Ready pairs: cut-outs of a tree, the classes of an archive, or two folders of pictures without classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.decode import read_photo_header
from datasets.index import PairIndex
from datasets.listing import SUFFIXES, VIEW_FOLDERS, is_left_aside, visible_folders
from datasets.picture_size import PixelLimit
from datasets.readers import StoredPair, open_reader
from datasets.sources import load_index_of, moved_to
from datasets.transforms import channel_mask, compose, read_rgb, recover_mask
from experiments.kinds import Config
from experiments.prediction.regions import WHOLE, FoundMask, OpenedPhoto, describe_photo
from utils.errors import DataError, problem_list


@dataclass(frozen=True, eq=False)
class RowsJob:
    """The pairs of one photo in an index.

    Attributes:
        index: of the tree or archive.
        rows: of the photo, all of one size.
        drawn: whether a picture is drawn.
    """

    index: PairIndex
    rows: Sequence[int]
    drawn: bool

    @property
    def name(self) -> str:
        """Split and stem of the photo; its class, too, where that is part of its path."""
        return f"{self.index.split}/{self.index.photo_name(self.rows[0])}"

    def check(self) -> list[str]:
        """Return nothing: the index was checked as a whole."""
        return []

    def open(self) -> OpenedPhoto:
        """Read the pairs."""
        stored = open_reader(self.index).read(list(self.rows))
        names: tuple[str, ...] = ("photo",)
        if self.index.masked:
            names = ("roi", "extra_roi") if self.index.archive is None else ("photo", "mask")
        sources = []
        for row in self.rows:
            _, class_name, _ = self.index.key(row)
            files = {name: str(path) for name, path in zip(names, self.index.paths(row), strict=True)}
            sources.append({"kind": "pair" if self.index.masked else WHOLE, **files, "class": class_name})
        stem = self.index.photo_name(self.rows[0]).replace("/", "_")
        return _described(self.name, stem, stored, sources, self.drawn)


@dataclass(frozen=True, eq=False)
class FilesJob:
    """The two files of a pair without a class."""

    roi: Path
    extra_roi: Path
    limit: PixelLimit
    drawn: bool

    @property
    def name(self) -> str:
        """The roi's path."""
        return str(self.roi)

    def check(self) -> list[str]:
        """Return what the headers of the two tell."""
        sizes, problems = [], []
        for path in (self.roi, self.extra_roi):
            try:
                sizes.append(read_photo_header(path.read_bytes(), str(path), self.limit).size)
            except OSError as error:
                problems.append(f"{path} cannot be read ({error.strerror or error}); check its permissions")
            except DataError as error:
                problems.append(str(error))
        if len(set(sizes)) > 1:
            texts = [f"{width}×{height}" for width, height in sizes]
            problems.append(
                f"{self.roi} is {texts[0]} pixels and {self.extra_roi} is {texts[1]}; both are cut from one photo"
            )
        return problems

    def open(self) -> OpenedPhoto:
        """Read both and recover the mask from them."""
        roi, extra_roi = (read_rgb(path, self.limit) for path in (self.roi, self.extra_roi))
        pair = StoredPair({"roi": roi, "extra_roi": extra_roi}, recover_mask(roi, extra_roi))
        source = {"kind": "pair", "roi": str(self.roi), "extra_roi": str(self.extra_roi)}
        return _described(self.name, self.roi.stem, iter([pair]), [source], self.drawn)


def _described(
    name: str, stem: str, pairs: Iterator[StoredPair], sources: Sequence[dict[str, str]], drawn: bool
) -> OpenedPhoto:
    """Put pairs of one photo together; each keeps its own pixels, which lossy files make a little different."""
    opened = []
    for pair, source in zip(pairs, sources, strict=True):
        if not pair.mask.any():
            where = source.get("roi", source.get("mask", name))
            raise DataError(f"{where}: the roi is black, so there is no region of interest; make the pair again")
        channels = pair.channels if pair.channels is not None else channel_mask(pair.mask)
        photo = compose(pair.pictures["roi"], pair.pictures["extra_roi"], channels)
        image = Image.fromarray(np.ascontiguousarray(photo.transpose(1, 2, 0)))
        found = [FoundMask(pair.mask, dict(source))]
        opened.append(describe_photo(name, stem, image, found, size=0, drawn=drawn))
    return replace(opened[0], regions=[region for one in opened for region in one.regions])


def tree_jobs(
    config: Config, root: Path, split: str, limit: PixelLimit, drawn: bool
) -> tuple[list[RowsJob], list[str]]:
    """Return a job for each photo of a split, in the order in which the index first names it, and notes.

    Any classes will do, since nothing is scored.

    Raises:
        DataError: the tree or archive cannot be used, or holds no pair.
    """
    data, notes = moved_to(config.data, root, split)
    index = replace(load_index_of(data, split, exclude=(), split_option="--split"), limit=limit)
    if not len(index):
        raise DataError(f"the split {split} of {root} holds no pair; name another with --split")
    photos: dict[tuple[str, int, int], list[int]] = {}
    for row, (width, height) in enumerate(index.size.tolist()):
        photos.setdefault((index.photo_name(row), width, height), []).append(row)
    return [RowsJob(index, rows, drawn) for rows in photos.values()], [*notes, *index.notes]


def holds_plain_pairs(root: Path) -> bool:
    """Say whether a folder holds roi/ and extra-roi/ itself."""
    return all((root / view).is_dir() for view in VIEW_FOLDERS)


def holds_class_folders(root: Path) -> bool:
    """Say whether the roi/ in a folder holds folders instead of pictures."""
    return any(visible_folders(root / VIEW_FOLDERS[0]))


def plain_jobs(root: Path, limit: PixelLimit, drawn: bool) -> list[FilesJob]:
    """Return a job for each pair of a folder without classes, by stem.

    Raises:
        DataError: a picture has no partner, a stem occurs twice, something is no picture, or there is none.
    """
    problems: list[str] = []
    roi, extra_roi = (_pictures(root / view, problems) for view in VIEW_FOLDERS)
    for stems, others, view in ((roi, extra_roi, VIEW_FOLDERS[1]), (extra_roi, roi, VIEW_FOLDERS[0])):
        problems += [f"{stems[stem]} has no partner in {root / view}" for stem in stems if stem not in others]
    if not problems and not roi:
        problems.append("there is no picture")
    if problems:
        raise DataError(problem_list(f"{root} cannot be used", problems))
    return [FilesJob(roi[stem], extra_roi[stem], limit, drawn) for stem in roi]


def _pictures(folder: Path, problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_left_aside(path.name):
            continue
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            problems.append(f"{path} is no picture ({', '.join(SUFFIXES)}); remove it")
        elif path.stem in found:
            problems.append(f"{path} and {found[path.stem]} have one name; remove one")
        else:
            found[path.stem] = path
    return found
