"""Whether a tree of pairs is the one that preprocessing makes of an archive, with the options given."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.cut_archive import fingerprint
from datasets.doctor.archive_check import ArchiveCheck
from datasets.doctor.findings import Finding, finding, some
from datasets.doctor.tree_check import TreeCheck
from datasets.manifest import ANNOTATION
from datasets.preprocess_options import PreprocessOptions
from datasets.tree import RECORD_FILE, ArchiveRecord, TreeRecord
from utils.errors import DataError

_FIX = "preprocess again"


def compare(options: PreprocessOptions, archive: ArchiveCheck | None, tree: TreeCheck) -> list[Finding]:
    """Compare a tree with its archive, where that was checked too, and with the options that were given."""
    path = tree.root / RECORD_FILE
    if not path.is_file():
        if archive is None:
            return []
        what = "is missing: options are not compared, nor photos that are new to the archive or gone from it"
        return [finding("no-manifest", path, what), *_changed(archive, tree)]
    try:
        record = TreeRecord.load(path)
    except DataError as error:
        what, _, fix = str(error).removeprefix(f"{path} ").partition("; ")
        return [finding("stale-tree", path, what, fix)]
    found = _other_options(options, record, _entries(record, options.src), tree.root)
    return found if archive is None else found + _other_archive(options, record, archive, tree)


def _entries(record: TreeRecord, src: Path | None) -> Sequence[ArchiveRecord]:
    """Return the records of an archive by its path; all where none has it."""
    named = [] if src is None else [one for one in record.archives if Path(one.src).resolve() == src.resolve()]
    return named or record.archives


def _other_options(
    options: PreprocessOptions, record: TreeRecord, entries: Sequence[ArchiveRecord], root: Path
) -> list[Finding]:
    """Compare what was given on the command line with what a tree was made with."""
    pairs: list[tuple[str, object, object]] = [
        (name, getattr(options, name), getattr(record, name)) for name in ("size", "format", "quality")
    ]
    ambiguous = None if options.ambiguous is None else ",".join(options.ambiguous)
    for entry in entries:
        pairs += [
            ("min_area", options.min_area or None, entry.min_area),
            ("mask_orientation", options.mask_orientation, entry.mask_orientation),
            ("ambiguous", ambiguous, ",".join(entry.ambiguous)),
        ]
        if options.groups is not None and entry.groups is None:
            pairs.append(("groups", options.groups, None))
    return [
        finding(
            "stale-tree",
            root,
            f"was made {'without' if present is None else 'with'} --{name}"
            + (f", not with {given}" if present is None else f" {present}, not {given}"),
            f"{_FIX}, or leave --{name} out",
        )
        for name, given, present in dict.fromkeys(pairs)
        if given is not None and given != present
    ]


def _other_archive(
    options: PreprocessOptions, record: TreeRecord, archive: ArchiveCheck, tree: TreeCheck
) -> list[Finding]:
    """Find what differs between an archive and the one that a tree was made of."""
    found = _changed(archive, tree)
    photos = {(photo.split, photo.stem) for photo in archive.archive.photos}
    complete = photos <= archive.hashes.keys()
    # The groups belong to the fingerprint.
    comparable = [
        one for one in record.archives if one.segmenter is None and (one.groups is None) == (options.groups is None)
    ]
    if complete and any(one.sha256 == fingerprint(archive.archive, archive.hashes) for one in comparable):
        return found
    entries = _entries(record, options.src)
    if len(entries) == 1:
        found += _new_photos(entries[0], photos, tree)
    if len(record.archives) == 1:
        gone = sorted({f"{row.split}/{row.stem}" for row in tree.rows} - {"/".join(photo) for photo in photos})
        if gone:
            what = f"has pairs of {_photos(gone)} that {archive.root} lacks: {some(gone)}"
            found.append(finding("stale-tree", tree.root, what, f"restore them, or {_FIX}", places=gone))
    if complete and comparable and not found:
        what = f"was not made of {archive.root} as it is now: photos without a pair, classes or groups are others"
        found.append(finding("stale-tree", tree.root, what, _FIX))
    return found


def _new_photos(entry: ArchiveRecord, photos: set[tuple[str, str]], tree: TreeCheck) -> Iterator[Finding]:
    """Yield a finding for each split with more photos without a pair than there were."""
    rows = {(row.split, row.stem) for row in tree.rows}
    for split in sorted({split for split, _ in photos}):
        without = sorted(f"{split}/{stem}" for of, stem in photos - rows if of == split)
        before = entry.photos_without_pair.get(split, 0)
        if len(without) > before:
            what = f"has no pair of {_photos(without)} of the archive ({before:,} when it was made)"
            yield finding("stale-tree", tree.root, f"{what}: {some(without)}", _FIX, places=without)


def _photos(names: Sequence[str]) -> str:
    return f"{len(names):,} photo{'s' * (len(names) != 1)}"


def _changed(archive: ArchiveCheck, tree: TreeCheck) -> list[Finding]:
    """Find photos and masks of the tree that differ from the archive's; pairs of other archives are left alone."""
    changed: dict[Finding, None] = {}
    for row in tree.rows:
        now = archive.hashes.get((row.split, row.stem))
        if now is None:
            continue
        for what, before, after in zip(("photo", "mask"), (row.photo_sha256, row.mask_sha256), now, strict=True):
            if before != after and (what == "photo" or row.mask_source == ANNOTATION):
                place = f"{tree.root}, the {what} of {row.split}/{row.stem}"
                changed[finding("stale-tree", place, "is not the one of which the tree was made", _FIX)] = None
    return list(changed)
