"""The table of an archive's pairs: as of the tree that preprocessing would make of it. Never imports torch."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np

from datasets.archive import PHOTO_FOLDER, PICTURE_FOLDER, ArchivePhoto, read_archive
from datasets.archive_cache import CACHE_VARIABLE, KeptPhoto, PairEntry, ScanCache, entry_of, stamp_of
from datasets.archive_scan import DATA_OPTIONS, PhotoScanner, ScanOptions, scan_photos
from datasets.class_file import CLASS_FILE
from datasets.class_names import build_class_map
from datasets.classes import ClassMap
from datasets.cut_archive import manifest_rows
from datasets.index import ArchivePhotos, PairIndex
from datasets.manifest import ManifestRow
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.scan import ScannedPair, source_digest
from datasets.workers import StopSignals
from utils.data_sections import ArchiveConfig
from utils.errors import DataError, InterruptedRunError, nearest, problem_list


def index_archive(
    root: Path,
    split: str,
    config: ArchiveConfig,
    classes: ClassMap | None = None,
    *,
    exclude: Iterable[str] = (),
    require_every_class: bool = False,
    split_option: str = "data.splits",
    limit: PixelLimit = DATA_LIMIT,
) -> PairIndex:
    """List the pairs of one split of an archive: keys, order, sizes, groups and hashes as of its lossless tree.

    The first time every mask is opened; the outcome is kept (``datasets.archive_cache``), and later only photos are
    opened whose file or mask has another size or modification time.

    Args:
        root: folder of the archive.
        split: name of the split.
        config: how pairs are made of photo and mask.
        classes: class list to use instead of the archive's own, such as a trained model's.
        exclude: class names to leave out; labels are positions in the remaining list.
        require_every_class: report a class without any pair, as the training split must.
        split_option: what the user calls ``split``.
        limit: the largest picture that is decoded.

    Raises:
        ConfigError: where an ambiguous class is named that the archive does not have.
        DataError: with every problem of the listing, then of the photos and masks, then of the classes.
        InterruptedRunError: where a signal came during the scan; what was scanned is kept.
    """
    check_archive_folder(root)
    archive = read_archive(root, Path(config.groups) if config.groups else None, DATA_OPTIONS)
    photos = [photo for photo in archive.photos if photo.split == split]
    if not photos:
        present = sorted({photo.split for photo in archive.photos})
        raise DataError(
            f"{root} holds no split '{split}', only {', '.join(present)}{nearest(split, present)}; "
            f"name it with {split_option} (a split is a folder in {PHOTO_FOLDER})"
        )
    every_class = classes or archive_classes(archive.class_names, config)
    kept_classes = every_class.without(exclude)
    notes = list(archive.notes)
    options = ScanOptions(config.size, config.min_area, config.mask_orientation)
    cache = ScanCache(archive, split, options)
    entries, manifest = _entries(cache, photos, notes, limit)
    position = {photo.stem: place for place, photo in enumerate(photos)}
    pairs = _pairs(entries, kept_classes, {photo.stem: photo.group for photo in photos})
    _check_pairs(f"{root}, split {split}", every_class, kept_classes, entries, pairs, require_every_class)
    source = ArchivePhotos(
        [photo.photo for photo in photos],
        [photo.mask for photo in photos],
        np.array([position[pair.stem] for pair in pairs], dtype=np.int32),
        {name: label for label, name in archive.label_ids.items()},
        config.size,
        config.mask_orientation,
        manifest,
    )
    return replace(PairIndex.from_pairs(root, split, kept_classes, pairs, notes, source), limit=limit)


def archive_classes(names: Sequence[str], config: ArchiveConfig) -> ClassMap:
    """Return the classes of an archive, from their names in the order of the ids; as preprocessing orders them."""
    return build_class_map(names, None, config.ambiguous, lambda _line: None, DATA_OPTIONS.ambiguous)


def check_archive_folder(root: Path) -> None:
    """Raise a ``DataError`` that says what to name where there is no folder, or one inside an archive."""
    there = f"set {DATA_OPTIONS.root} to the folder that holds {PICTURE_FOLDER}/ and category_id.txt"
    if not root.is_dir():
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        wrong = "is a file" if root.exists() else "does not exist"
        raise DataError(f"the archive {root} {wrong}; {there}{nearest(root.name, siblings)}")
    above = next((folder for folder in root.resolve().parents if (folder / PHOTO_FOLDER).is_dir()), None)
    if above is not None and not (root / PICTURE_FOLDER).is_dir():
        raise DataError(f"{root} lies inside an archive; {there}; did you mean {above}?")


def _entries(
    cache: ScanCache, photos: list[ArchivePhoto], notes: list[str], limit: PixelLimit
) -> tuple[list[PairEntry], Path | None]:
    """Return the pairs and the manifest that keeps them; scan what is not kept."""
    root = cache.archive.root
    stamps = {photo.stem: stamp_of(root, photo) for photo in photos}
    try:  # without the lock, so that the processes of a run need not wait for each other at every start
        same, whole = _compare(cache, photos, stamps)
    except DataError:
        same, whole = {}, False
    found = None
    if not whole:
        with cache.locked() as waited:
            try:
                same, whole = _compare(cache, photos, stamps)
            except DataError as error:
                same = {}
                notes.append(f"the kept scan of {root} cannot be used ({error}); scanned anew")
            if not whole:
                found = _scan(cache, photos, stamps, same, notes, limit)
            elif waited:
                notes.append(f"{cache.split}: waited for another process, which scanned the photos")
    _note_left_out(cache, list(same.values()), notes)
    return found or (cache.read_entries(), cache.manifest)


def _compare(
    cache: ScanCache, photos: list[ArchivePhoto], stamps: dict[str, list[int] | None]
) -> tuple[dict[str, KeptPhoto], bool]:
    """Return the kept photos that lie on the disk as they did, by stem, and whether they are all there is."""
    kept = cache.read_photos() or {}
    same = {
        photo.stem: kept[photo.stem]._replace(group=photo.group)
        for photo in photos
        if photo.stem in kept and kept[photo.stem].shows(photo, stamps[photo.stem])
    }
    return same, same == kept and len(same) == len(photos)


def _scan(
    cache: ScanCache,
    photos: list[ArchivePhoto],
    stamps: dict[str, list[int] | None],
    kept: dict[str, KeptPhoto],
    notes: list[str],
    limit: PixelLimit,
) -> tuple[list[PairEntry], Path | None]:
    """Scan the photos that are not in ``kept``, add them to it, and keep the whole."""
    archive, started = cache.archive, time.perf_counter()
    todo = [photo for photo in photos if photo.stem not in kept]
    rows = [replace(row, group=kept[row.stem].group) for row in cache.read_rows() if row.stem in kept] if kept else []
    with StopSignals() as stop:
        scanner = PhotoScanner(archive.root, archive.label_ids, cache.options, limit)
        records, problems = scan_photos(scanner, todo, stop)
    scanned = [photo for photo in todo if photo.stem in records]
    rows += manifest_rows(replace(archive, photos=tuple(scanned)), [records[photo.stem] for photo in scanned])
    for photo in scanned:
        record, stamp = records[photo.stem], stamps[photo.stem] or []
        left_out = len(record.under_min_area), len(record.vanished), record.damaged_exif
        kept[photo.stem] = KeptPhoto(photo.photo, photo.mask, photo.group, stamp, *left_out)
    manifest, where = _keep(cache, kept, rows)
    if stop.number:
        raise InterruptedRunError(
            f"interrupted: {len(kept)} of {len(photos)} photos of {archive.root}, split {cache.split}, are scanned; "
            f"{where}",
            stop.number,
        )
    if problems:
        raise DataError(problem_list(f"archive {archive.root}, split {cache.split}", problems))
    if todo:
        which = "photos" if len(todo) == len(photos) else f"of {len(photos)} photos, the new and changed ones,"
        seconds = time.perf_counter() - started
        notes.append(f"{cache.split}: scanned {len(todo)} {which} in {seconds:.1f} s; {where}")
    return [entry_of(row) for row in rows], manifest


def _keep(cache: ScanCache, photos: dict[str, KeptPhoto], rows: list[ManifestRow]) -> tuple[Path | None, str]:
    """Write the scan; return the kept manifest, if any, and in words what became of it."""
    try:
        cache.write(photos, rows)
    except OSError as error:
        reason = error.strerror or error
        return None, (
            f"not kept, since {cache.folder} cannot be written ({reason}), so that every start scans again; "
            f"set {CACHE_VARIABLE} to a folder that can be"
        )
    return cache.manifest, f"kept in {cache.folder}"


def _note_left_out(cache: ScanCache, photos: list[KeptPhoto], notes: list[str]) -> None:
    small, vanished = sum(photo.under_min_area for photo in photos), sum(photo.vanished for photo in photos)
    if small:
        notes.append(f"{cache.split}: {small} pairs left out that cover less than data.archive.min_area of their photo")
    if vanished:
        notes.append(f"{cache.split}: {vanished} pairs left out of which data.archive.size leaves no pixel")
    damaged = [photo.photo for photo in photos if photo.damaged_exif]
    notes += [f"{photo}: the EXIF block cannot be read; taken as upright" for photo in damaged]


def _pairs(entries: list[PairEntry], classes: ClassMap, groups: dict[str, str]) -> list[ScannedPair]:
    """Return the pairs of some classes, sorted by class index and stem."""
    labels = {name: label for label, name in enumerate(classes.names)}
    pairs = []
    for entry in entries:
        label = labels.get(entry.class_name)
        if label is not None:
            digest = source_digest(entry.photo_sha256, entry.mask_sha256)
            pairs.append(ScannedPair(label, entry.stem, groups[entry.stem], entry.size, ("", ""), digest))
    return sorted(pairs, key=itemgetter(0, 1))


def _check_pairs(
    where: str,
    every_class: ClassMap,
    classes: ClassMap,
    entries: list[PairEntry],
    pairs: list[ScannedPair],
    require_every_class: bool,
) -> None:
    unknown = sorted({entry.class_name for entry in entries} - set(every_class.names))
    problems = [
        f"{CLASS_FILE} names the class '{name}', which the class list lacks{nearest(name, every_class.names)}"
        for name in unknown
    ]
    if len(classes) < 2:
        problems.append(
            f"there is only one class, '{classes.names[0]}'; a classifier needs at least two: use an archive with "
            f"more, or shorten data.exclude"
        )
    if not pairs:
        problems.append(
            "there is no pair in it: its masks hold only background or classes in data.exclude, or every class "
            "covers less than data.archive.min_area"
        )
    elif require_every_class:
        present = {pair.label for pair in pairs}
        problems += [
            f"class '{name}' has no training pair; add photos that show it, or leave it out with data.exclude"
            for label, name in enumerate(classes.names)
            if label not in present
        ]
    if problems:
        raise DataError(problem_list(f"{where}, cannot be used", problems))
