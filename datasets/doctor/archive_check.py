"""An archive, checked file by file."""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.archive import LIST_FOLDER, PHOTO_FOLDER, Archive, ArchivePhoto, scan_archive
from datasets.class_file import BACKGROUND_ID, CLASS_FILE, describe_ids
from datasets.cut_photo import open_photo
from datasets.decode import Labels, MaskOrientation, decode_labels, decode_photo
from datasets.doctor import counts, names
from datasets.doctor.findings import Finding, finding, some
from datasets.doctor.messages import ARCHIVE_MESSAGES, from_message
from datasets.doctor.near_duplicates import NEAR_BITS, MarkedPhoto, PhotoMark, mark_photo
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.workers import StopSignals, map_unordered
from utils.errors import DataError

_WITHOUT_PARTNER = (
    re.compile(r"(?P<folder>[^']+) has no photo '(?P<stem>.*)'$"),
    re.compile(r"(?:^| )has no (?:photo|mask) (?P<path>.*?)(?:/\.jpeg/\.png)?$"),
)
_VOID_ID = 255  # pixels that many masks leave unlabelled


@dataclass(frozen=True)
class LookOptions:
    """How an archive is looked at: as the options of the same names of ``doctor.py``."""

    groups: Path | None = None
    mask_orientation: MaskOrientation | None = None
    near_duplicates: int = NEAR_BITS
    limit: PixelLimit = PREPROCESSING_LIMIT
    train_split: str = counts.TRAIN_SPLIT


@dataclass(frozen=True)
class _Settings:
    root: Path
    label_ids: dict[int, str]
    options: LookOptions


@dataclass(frozen=True)
class _Seen:
    """What one photo showed.

    ``ids`` are those of the mask as it lies on the disk, background and unknown ones too; ``pixels`` those of each
    class at the size that a model sees.
    """

    photo: ArchivePhoto
    problems: list[str]
    ids: list[int]
    photo_sha256: str = ""
    mask_sha256: str = ""
    pixels: dict[int, float] = field(default_factory=dict)
    turned: bool = False
    damaged_exif: bool = False
    mark: PhotoMark | None = None


class ArchiveCheck:
    """Everything that is wrong with an archive or unusual about it.

    Attributes:
        archive: the listing.
        findings: what there is to say.
        hashes: (photo, mask) SHA-256 by (split, stem), of those that can be read.
        looked_at: what was checked, in words.
    """

    def __init__(self, root: Path, options: LookOptions) -> None:
        self.root, self.options = root, options
        self.archive: Archive
        self.archive, problems = scan_archive(root, options.groups)
        self.findings = [self._found(problem) for problem in problems]
        # Notes do not say where they belong.
        self.findings += [replace(self._found(note), severity="note") for note in self.archive.notes]
        self.hashes: dict[tuple[str, str], tuple[str, str]] = {}
        self.looked_at = f"{len(self.archive.photos):,} photos with masks"

    def run(self, workers: int, stop: StopSignals) -> None:
        """Look at names, then decode every photo and mask."""
        photos = self.archive.photos
        self._names()
        results = map_unordered(
            _look,
            photos,
            workers=max(1, min(workers, len(photos) // 10)),
            setup=_start,
            setup_arguments=(_Settings(self.root, self.archive.label_ids, self.options),),
            stop=stop,
        )
        seen = list(tqdm(results, total=len(photos), unit="photo", desc="checking", disable=None))
        seen.sort(key=lambda one: (one.photo.split, one.photo.stem))
        self.findings += [self._found(problem) for one in seen for problem in one.problems]
        whole = [one for one in seen if not one.problems]
        self.hashes = {(one.photo.split, one.photo.stem): (one.photo_sha256, one.mask_sha256) for one in whole}
        self._ids(seen)
        self._photos(whole)
        self._classes(whole, complete=len(whole) == len(seen))

    def _found(self, message: str) -> Finding:
        one = from_message(message, self.root, ARCHIVE_MESSAGES, "other-layout")
        for pattern in _WITHOUT_PARTNER:
            if match := pattern.search(one.what):
                near = names.near_spelling(Path("/".join(match.groups()) + ".jpg" * (len(match.groups()) == 2)))
                if near is not None:
                    return replace(one, code="name-blanks-or-case", fix=f"'{near}' is there; spell both alike")
        return one

    def _names(self) -> None:
        lists = [self.root / LIST_FOLDER / f"{split}.txt" for split in {photo.split for photo in self.archive.photos}]
        groups = [] if self.options.groups is None else [self.options.groups]
        self.findings += names.windows_line_ends([self.root / CLASS_FILE, *sorted(lists), *groups])
        self.findings += names.hidden_files(self.root)
        self.findings += names.blank_names(self.root / CLASS_FILE, self.archive.class_names, "class")
        stems: dict[str, list[str]] = {}
        for photo in self.archive.photos:
            stems.setdefault(photo.split, []).append(photo.stem)
        for split, some_stems in stems.items():
            self.findings += names.alike_names(self.root / PHOTO_FOLDER / split, some_stems, "photos")
        groups_of = ((photo.split, photo.group) for photo in self.archive.photos)
        self.findings += counts.shared_groups(groups_of, self.root)

    def _ids(self, seen: list[_Seen]) -> None:
        """Say so where the ids of all masks together are the class file's, moved by one."""
        label_ids, where = self.archive.label_ids, self.root / CLASS_FILE
        known, found = set(label_ids), {label for one in seen for label in one.ids}
        way = shifted(known, found)
        if not way:
            return
        if found <= known | {BACKGROUND_ID}:  # as in a part of an archive that lacks the last class
            what = f"the masks show every class but the last, '{label_ids[max(known)]}', or their ids are one too low"
            fix = f"look at a mask; add 1 to the ids in every mask, or mend {CLASS_FILE}, if they are"
            self.findings.append(replace(finding("off-by-one-ids", where, what, fix), severity="warning"))
            return
        shown = found - ({_VOID_ID} - known)
        what = f"the masks hold the ids {min(shown)}..{max(shown)}, the file {describe_ids(label_ids)}"
        fix = f"{'subtract 1 from' if way > 0 else 'add 1 to'} the ids in every mask, or mend {CLASS_FILE}"
        text = f"{what}: one too {'high' if way > 0 else 'low'}"
        self.findings.append(finding("off-by-one-ids", where, text, fix))

    def _photos(self, seen: list[_Seen]) -> None:
        root = self.root
        marked = [
            MarkedPhoto(one.photo.split, one.photo.photo, one.photo_sha256, one.mark)
            for one in seen
            if one.mark is not None
        ]
        self.findings += counts.shared_photos(
            (counts.PhotoOf(one.photo.split, one.photo.photo, one.photo_sha256) for one in seen), root
        )
        self.findings += counts.alike_photos(marked, self.options.near_duplicates, root)
        self.findings += [
            finding(
                "damaged-exif",
                root / one.photo.photo,
                "the EXIF block cannot be read; taken as upright",
                "look whether it lies right, and save it again",
            )
            for one in seen
            if one.damaged_exif
        ]
        turned = [one.photo.photo for one in seen if one.turned]
        if turned:
            what = f"{len(turned):,} masks lie as their photos are stored and are turned with them: {some(turned)}"
            self.findings.append(finding("exif-size", root, what, places=turned))

    def _classes(self, seen: list[_Seen], *, complete: bool) -> None:
        root, label_ids = self.root, self.archive.label_ids
        pairs = {photo.split: Counter[str]() for photo in self.archive.photos}
        empty, tiny, whole = [], [], []
        for one in seen:
            if not one.pixels:
                empty.append(one.photo.mask)
            if len(one.ids) == 1 and one.pixels:
                whole.append(one.photo.mask)
            for label, pixels in one.pixels.items():
                pairs[one.photo.split][label_ids[label]] += 1
                if pixels < counts.TINY_PIXELS:
                    tiny.append(f"{one.photo.mask} ({label_ids[label]})")
        self.findings += counts.empty_masks(empty, root)
        self.findings += counts.whole_rois(whole, root)
        self.findings += counts.tiny_rois(tiny, root)
        if complete and pairs:
            self.findings += counts.class_support(pairs, self.archive.class_names, root, self.options.train_split)


_settings: _Settings | None = None


def _start(settings: _Settings) -> None:
    global _settings  # noqa: PLW0603  # a worker process serves one check; its tasks stay small this way
    _settings = settings


def _look(photo: ArchivePhoto) -> _Seen:
    assert _settings is not None, "_start comes first"
    root, label_ids, options = _settings.root, _settings.label_ids, _settings.options
    opened = open_photo(root, photo, label_ids, options.mask_orientation, decode_photo, limit=options.limit)
    if isinstance(opened, list):
        return _Seen(photo, opened, _stored_ids(root / photo.mask, options.limit))
    labels, decoded = opened.labels, opened.photo
    height, width = labels.shape
    ids, areas = _areas(labels)
    return _Seen(
        photo,
        [],
        ids,
        opened.photo_sha256,
        opened.mask_sha256,
        {
            label: counts.pixels_at_model(area, width, height)
            for label, area in zip(ids, areas, strict=True)
            if label != BACKGROUND_ID
        },
        turned=decoded.size != decoded.stored_size and _size_of(root / photo.mask) == decoded.stored_size,
        damaged_exif=decoded.damaged_exif,
        mark=mark_photo(decoded.image) if options.near_duplicates else None,
    )


def _areas(labels: Labels) -> tuple[list[int], list[int]]:
    """Return the ids of a mask in rising order, the background's too, and their pixels."""
    if labels.dtype == np.uint8:
        areas = np.bincount(labels.ravel(), minlength=256)  # np.unique sorts: 8 times slower
        ids = np.flatnonzero(areas)
        return ids.tolist(), areas[ids].tolist()
    ids, areas = np.unique(labels, return_counts=True)
    return ids.tolist(), areas.tolist()


def _size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def _stored_ids(mask: Path, limit: PixelLimit) -> list[int]:
    """Return every id of a mask, known or not; none where it cannot be read."""
    try:
        return [int(label) for label in np.unique(decode_labels(mask.read_bytes(), str(mask), limit))]
    except (OSError, DataError):
        return []


def shifted(known: set[int], found: set[int]) -> int:
    """Return 1 where the ids of all masks are one too high for the class file, -1 where one too low, else 0.

    Args:
        known: ids of the classes; 0 is the background and not among them.
        found: ids of all masks together, 0 and unknown ones too; 255 does not count.
    """
    found, allowed = found - {_VOID_ID} | (known & found), known | {BACKGROUND_ID}
    if len(known) < 2 or len(found) < 2:
        return 0
    if not found <= allowed and BACKGROUND_ID not in found and {label - 1 for label in found} <= allowed:
        return 1
    down = {label - 1 for label in known}
    if BACKGROUND_ID in found and found <= down and (found == down or not found <= allowed):
        return -1
    return 0
