"""Photos of a source cut into an unfinished tree, on all cores, continued where an earlier run stopped."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from datasets.cut_photo import CutOptions, CutRecord
from datasets.journal import Journal
from datasets.manifest import ANNOTATION, ManifestRow
from datasets.mask_source import Source
from datasets.mask_table import MaskRow
from datasets.photo_cutter import cut_one, start_cutting
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.shards import Shard
from datasets.source_photo import SourcePhoto
from datasets.tree import versions
from datasets.workers import StopSignals, map_unordered
from utils.errors import DataError, InterruptedRunError, problem_list

Hashes = Mapping[tuple[str, str], tuple[str, str]]


class Listed(Protocol):
    """An archive, or another source of photos."""

    @property
    def label_ids(self) -> dict[int, str]:
        """Class name by label id."""
        ...

    @property
    def photos(self) -> Sequence[SourcePhoto]:
        """Sorted by split and stem."""
        ...


def open_journal(
    source: Source,
    folder: Path,
    options: CutOptions,
    *,
    append: bool,
    given: Mapping[str, object],
    shard: Shard | None = None,
    merges: Shard | None = None,
) -> Journal:
    """Return the journal of a source's photos, or of a shard's.

    Args:
        source: whose photos are cut.
        folder: the unfinished tree.
        options: what decides the bytes of the pictures.
        append: whether the tree is to be added to another.
        given: further options, in which the shards of one run must agree.
        shard: whose journal it is, or None for all photos.
        merges: the shard that puts its run's shards together, or None.

    Raises:
        DataError: where the folder holds an unfinished tree of other options.
    """
    header = {
        "src": str(source.root.resolve()),
        **source.masks.header,
        **asdict(options),
        "append": append,
        "versions": versions(),
    }
    return Journal(folder, header, dict(given), shard, merges=merges)


def cut_archive(
    source: Source,
    journal: Journal,
    options: CutOptions,
    workers: int,
    stop: StopSignals,
    limit: PixelLimit = PREPROCESSING_LIMIT,
) -> list[CutRecord]:
    """Write the files of every photo, or of those of the journal's shard, into the journal's folder.

    ``limit`` is the largest picture that is decoded; it changes no byte.

    Returns:
        One record per photo, in the order of ``source.photos``.

    Raises:
        DataError: with everything that is wrong with any photo or mask, after all others are finished.
        InterruptedRunError: where a signal came.
    """
    shard, folder = journal.shard, journal.folder
    photos = source.photos if shard is None else shard.part(source.photos)
    journal.keep(source.root, photos, options)
    remaining = [photo for photo in photos if (photo.split, photo.stem) not in journal.records]
    by_key = {(photo.split, photo.stem): photo for photo in photos}
    results = map_unordered(
        cut_one,
        remaining,
        workers=1 if source.masks.one_process else max(1, min(workers, len(remaining))),
        setup=start_cutting,
        setup_arguments=(source.root, folder, source.masks, options, limit),
        stop=stop,
    )
    problems: list[str] = []
    with tqdm(
        total=len(photos),
        initial=len(photos) - len(remaining),
        unit="photo",
        desc="cutting" if shard is None else f"cutting shard {shard}",
        disable=True if shard and shard.together and shard.number > 1 else None,  # one bar on a shared screen
    ) as bar:
        for result in results:
            bar.update()
            if isinstance(result, list):
                problems += result
            else:
                journal.add(source.root, by_key[result.split, result.stem], result)
    if stop.number or problems:
        journal.close()
    if stop.number:
        raise InterruptedRunError(
            f"interrupted: {len(journal.records)} of {len(photos)} photos {f'of shard {shard} ' if shard else ''}"
            f"are finished and kept in {folder}; run the same command again to go on",
            stop.number,
        )
    if problems:
        advice = f"then run the same command again: what is finished is kept in {folder}"
        separator = "; " if len(problems) == 1 else "\n  "
        where = f"{source.title}{f', shard {shard}' if shard else ''}"
        raise DataError(problem_list(where, sorted(problems)) + separator + advice)
    journal.finish()
    return [journal.records[photo.split, photo.stem] for photo in photos]


def manifest_rows(source: Listed, records: list[CutRecord], mask_source: str = ANNOTATION) -> list[ManifestRow]:
    """Return the manifest's rows of a source's pairs; ``mask_source`` says what drew their masks."""
    return [
        ManifestRow(
            photo.split,
            pair.class_name,
            photo.stem,
            photo.group,
            photo.photo,
            *record.size,
            *record.content_size,
            round(pair.area / (record.content_size[0] * record.content_size[1]), 6),
            *pair.box,
            record.photo_sha256,
            record.mask_sha256,
            mask_source,
        )
        for photo, record in zip(source.photos, records, strict=True)
        for pair in record.pairs
    ]


def mask_rows(records: list[CutRecord], mask_source: str) -> list[MaskRow]:
    """Return the rows of ``masks.csv`` for those pairs of which a segmenter drew the mask."""
    return [
        MaskRow(record.split, pair.class_name, record.stem, pair.prompts, pair.score, pair.photo_area, mask_source)
        for record in records
        for pair in record.pairs
        if pair.score is not None and pair.photo_area is not None
    ]


def count_records(source: Listed, records: list[CutRecord]) -> dict[str, Any]:
    """Return the counts of an ``ArchiveRecord``: per split, with every split of the source in each."""
    splits = sorted({photo.split for photo in source.photos})

    def per_split(number: Callable[[CutRecord], int]) -> dict[str, int]:
        counts = Counter(dict.fromkeys(splits, 0))
        for record in records:
            counts[record.split] += number(record)
        return dict(counts)

    return {
        "photos": per_split(lambda _: 1),
        "photos_without_pair": per_split(lambda record: not record.pairs),
        "pairs": per_split(lambda record: len(record.pairs)),
        "under_min_area": per_split(lambda record: len(record.under_min_area)),
        "vanished": per_split(lambda record: len(record.vanished)),
        "damaged_exif": [
            photo.photo for photo, record in zip(source.photos, records, strict=True) if record.damaged_exif
        ],
        "no_mask": [f"{record.split}/{name}/{record.stem}" for record in records for name in record.no_mask],
    }


def record_hashes(records: list[CutRecord]) -> Hashes:
    """Return (photo, mask) hashes by (split, stem)."""
    return {(record.split, record.stem): (record.photo_sha256, record.mask_sha256) for record in records}


def file_hashes(source: Source) -> Hashes:
    """Read and hash every photo and what its masks are made of: (photo, mask) hashes by (split, stem)."""
    with ThreadPoolExecutor() as pool:  # hashing and reading release the interpreter
        found = list(pool.map(lambda photo: source.masks.hashes(source.root, photo), source.photos))
    return {(photo.split, photo.stem): both for photo, both in zip(source.photos, found, strict=True)}


def fingerprint(source: Listed, hashes: Hashes) -> str:
    """Return one SHA-256 of a source's class ids and of each photo's path, group, photo and mask bytes."""
    lines: list[object] = [list(source.label_ids.items())]
    for photo in source.photos:
        lines.append([photo.photo, photo.group, *hashes[photo.split, photo.stem]])  # noqa: PERF401  # plainer so
    return hashlib.sha256("\n".join(map(json.dumps, lines)).encode()).hexdigest()
