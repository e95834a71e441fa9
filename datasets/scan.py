"""One split of a tree of cut-outs: files, classes, manifest and headers, checked. Decodes nothing, imports no torch."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from datasets.classes import CLASSES_FILE, ClassMap, folder_name
from datasets.listing import Listing, check_folders, folder_classes, list_split, visible_folders
from datasets.manifest import MANIFEST_FILE, read_columns
from datasets.picture_size import STORED_KINDS
from utils.errors import DataError, nearest, problem_list

_COLUMNS = ("split", "class", "stem", "group", "content_width", "content_height", "photo_sha256", "mask_sha256")
_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


class ScannedPair(NamedTuple):
    """One pair: class index, stem, group name, (width, height) in pixels, suffix per view, digest of its sources."""

    label: int
    stem: str
    group: str
    size: tuple[int, int]
    suffixes: tuple[str, str]
    digest: bytes


class _Entry(NamedTuple):
    """What the manifest adds to a pair."""

    group: str
    size: tuple[int, int]
    digest: bytes


_Manifest = dict[tuple[int, str], _Entry]


@dataclass
class ScannedSplit:
    """The pairs of one split in order of class and stem, the classes, and notes for the user."""

    classes: ClassMap
    pairs: list[ScannedPair]
    notes: list[str]


def scan_split(
    root: Path, split: str, classes: ClassMap | None, *, exclude: Iterable[str], require_every_class: bool
) -> ScannedSplit:
    """List and check one split of a tree; see ``PairIndex.from_tree`` for the arguments and the errors."""
    check_folders(root, split)
    notes: list[str] = []
    every_class = classes or declared_classes(root, notes)
    kept = every_class.without(exclude)
    listing = list_split(root, split, kept, frozenset(every_class.folders) - frozenset(kept.folders))
    if (root / MANIFEST_FILE).exists():
        pairs = list(_join_manifest(listing, _load_manifest(listing, every_class)))
    else:
        notes.append(f"{root} has no {MANIFEST_FILE}: sizes come from file headers, and each photo is its own group")
        pairs = list(_read_headers(listing))
    _check_classes(listing, pairs, require_every_class)
    if listing.hidden:
        notes.append(f"{root / split}: {listing.hidden} hidden files or folders ignored")
    if listing.problems:
        raise DataError(problem_list(f"{root / split} cannot be used", listing.problems))
    return ScannedSplit(kept, pairs, notes)


def declared_classes(root: Path, notes: list[str]) -> ClassMap:
    """Return the classes of a tree: classes.yaml, or without it the class folders of all splits in sorted order."""
    if (root / CLASSES_FILE).exists():
        return ClassMap.load(root / CLASSES_FILE)
    classes = folder_classes(root, visible_folders(root))
    notes.append(f"{root} has no {CLASSES_FILE}: {len(classes)} classes taken from the folder names in sorted order")
    return classes


def _load_manifest(listing: Listing, every_class: ClassMap) -> _Manifest:
    """Read the rows of this split, by (class index, stem); rows of excluded classes are passed over."""
    path = listing.root / MANIFEST_FILE
    labels = {folder: label for label, folder in enumerate(listing.classes.folders)}
    known = set(every_class.folders)
    folders = dict(zip(every_class.names, every_class.folders, strict=True))
    manifest: _Manifest = {}
    unknown: set[str] = set()
    for split, name, stem, group, width, height, photo, mask in read_columns(path, _COLUMNS):
        if split != listing.split:
            continue
        folder = folders.get(name) or folder_name(name)
        label = labels.get(folder)
        if label is None:
            if folder not in known:
                unknown.add(name)
            continue
        if (label, stem) in manifest:
            listing.problems.append(f"{path} has two rows for ({split}, {name}, {stem}); remove one")
        size = _size(path, (split, name, stem), width, height)
        manifest[label, stem] = _Entry(group, size, source_digest(photo, mask))
    for name in sorted(unknown):
        listing.problems.append(f"{path} names the class '{name}', which the class list lacks{nearest(name, folders)}")
    return manifest


def source_digest(photo_sha256: str, mask_sha256: str) -> bytes:
    """Return 16 bytes that stand for the hashes of a pair's photo and mask."""
    return hashlib.blake2b(f"{photo_sha256} {mask_sha256}".encode(), digest_size=16).digest()


def _size(path: Path, key: tuple[str, str, str], width: str, height: str) -> tuple[int, int]:
    if width.isdecimal() and height.isdecimal() and int(width) and int(height):
        return int(width), int(height)
    raise DataError(
        f"{path}: the content size of ({', '.join(key)}) is '{width}'×'{height}', not two whole numbers above 0; "
        f"write the manifest again with preprocess_foodseg103.py"
    )


def _join_manifest(listing: Listing, manifest: _Manifest) -> Iterator[ScannedPair]:
    """Yield the pairs that have both files and a row; report files without a row and rows without a file."""
    path = listing.root / MANIFEST_FILE
    for label, stem in _whole_pairs(listing):
        entry = manifest.get((label, stem))
        if entry is None:
            roi, extra_roi = listing.paths(label, stem)
            listing.problems.append(f"{roi} and {extra_roi} have no row in {path}; preprocess again or remove both")
            continue
        suffixes = listing.files[0][label][stem], listing.files[1][label][stem]
        yield ScannedPair(label, stem, entry.group, entry.size, suffixes, entry.digest)
    rows = Counter(label for label, _ in manifest)
    gone = [label for label in sorted(rows) if not any(listing.files[view][label] for view in range(2))]
    for label in gone:
        folders = " and ".join(str(listing.folder(view, label)) for view in range(2))
        listing.problems.append(
            f"{path} has {rows[label]} rows of class '{listing.classes.names[label]}', but {folders} hold no file; "
            f"restore them or preprocess again"
        )
    for label, stem in sorted(manifest):
        if label not in gone and not any(stem in listing.files[view][label] for view in range(2)):
            wanted = " and ".join(str(listing.folder(view, label) / f"{stem}.*") for view in range(2))
            listing.problems.append(f"{path} has a row for {wanted}, which do not exist; restore or preprocess again")


def _read_headers(listing: Listing) -> Iterator[ScannedPair]:
    """Yield the pairs that have both files, with the size that their headers state; report where they differ."""
    for label, stem in _whole_pairs(listing):
        paths = listing.paths(label, stem)
        sizes: list[tuple[int, int]] = []
        for path in paths:
            try:
                sizes.append(read_header_size(path))
            except DataError as error:
                if path.stat().st_size:  # empty files are reported by the listing
                    listing.problems.append(str(error))
        if len(sizes) < 2:
            continue
        if sizes[0] != sizes[1]:
            (roi_width, roi_height), (width, height) = sizes
            listing.problems.append(
                f"{paths[0]} is {roi_width}×{roi_height} pixels but {paths[1]} is {width}×{height}; "
                f"the two cut-outs of a pair have one size"
            )
        suffixes = listing.files[0][label][stem], listing.files[1][label][stem]
        yield ScannedPair(label, stem, f"{listing.split}/{stem}", sizes[0], suffixes, b"")


def _whole_pairs(listing: Listing) -> Iterator[tuple[int, str]]:
    for label, (roi, extra_roi) in enumerate(zip(*listing.files, strict=True)):
        for stem in sorted(roi.keys() & extra_roi.keys()):
            yield label, stem


def read_header_size(path: Path) -> tuple[int, int]:
    """Return a picture's upright (width, height) in pixels from its header, without decoding it.

    Raises:
        DataError: where Pillow does not know the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=STORED_KINDS) as image:
                width, height = image.size
                # Pillow decodes a whole PNG to look for a late EXIF block, and torchvision turns no WebP.
                states_orientation = "exif" in image.info and image.format != "WEBP"
                turned = states_orientation and image.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS
    except Exception as error:  # Pillow raises many types on damaged headers
        raise DataError(f"{path} is no picture that can be read ({error}); make the pair again") from None
    return (height, width) if turned else (width, height)


def _check_classes(listing: Listing, pairs: list[ScannedPair], require_every_class: bool) -> None:
    if len(listing.classes) < 2:
        name = listing.classes.names[0]
        listing.problems.append(
            f"there is only one class, '{name}'; a classifier needs at least two: preprocess an "
            f"archive with more, or shorten data.exclude"
        )
    if not pairs and not listing.problems:
        listing.problems.append("there is no pair in it; preprocess again, or set data.splits")
    if not require_every_class or not pairs:
        return
    present = {pair.label for pair in pairs}
    for label, name in enumerate(listing.classes.names):
        if label not in present:
            listing.problems.append(
                f"class '{name}' has no training pair ({listing.folder(0, label)}, {listing.folder(1, label)}); "
                f"add some, or leave it out with data.exclude"
            )
