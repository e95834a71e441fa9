"""An archive in, a tree of pairs out: whole, or unfinished beside its final place and ready to be continued."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.append import BaseTree, check_additions, commit, finish_append, mark_ready, read_base
from datasets.archive import PICTURE_FOLDER, Archive, read_archive
from datasets.class_names import build_class_map, default_ambiguous
from datasets.classes import CLASSES_FILE, folder_name
from datasets.contact_sheet import write_contact_sheet
from datasets.cut_archive import count_records, cut_archive, file_hashes, fingerprint, manifest_rows, record_hashes
from datasets.cut_photo import CutOptions, pair_paths
from datasets.cutouts import FORMATS, LOSSLESS_FORMATS, PictureFormat
from datasets.decode import MaskOrientation
from datasets.journal import JOURNAL_FILE, LOCK_FILE, FolderLock, sweep
from datasets.manifest import MANIFEST_FILE, ManifestRow, write_manifest
from datasets.summary import summarise
from datasets.tree import CONTACT_SHEET_FILE, RECORD_FILE, ArchiveRecord, TreeRecord, partial_folder
from datasets.workers import StopSignals, available_cores
from utils.errors import ConfigError, DataError

Say = Callable[[str], None]
DEFAULT_SIZE, DEFAULT_QUALITY = 224, 95
DEFAULT_FORMAT: PictureFormat = "jpg"


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """Options of ``preprocess_foodseg103.py``.

    Attributes:
        src: folder of the archive; needed to preprocess.
        dst: folder of the tree; needed to preprocess.
        size: longer side of the cut-outs in pixels, 0 keeps the photo's; None: 224, or as the tree appended to.
        format: file format of the cut-outs; None: jpg, or as the tree appended to.
        quality: JPEG quality 1..100; None: 95, or as the tree appended to.
        min_area: smallest part of the photo that a class may cover, in [0, 1).
        groups: CSV file with the columns split, image, group; None makes each photo its own group.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        ambiguous: names of the ambiguous classes; None: ketchup and chili-paste where they exist.
        append: add to the tree that is at ``dst``.
        workers: processes; None takes every core.
    """

    src: Path | None = None
    dst: Path | None = None
    size: int | None = None
    format: PictureFormat | None = None
    quality: int | None = None
    min_area: float = 0.0
    groups: Path | None = None
    mask_orientation: MaskOrientation | None = None
    ambiguous: tuple[str, ...] | None = None
    append: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 0 <= self.size <= 16384:
            raise ConfigError(f"--size {self.size}: the longer side is 0 (as the photo) or 1..16384 pixels")
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"--format {self.format}: choose {', '.join(FORMATS)}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"--quality {self.quality}: JPEG quality is 1..100")
        if self.quality is not None and self.format in LOSSLESS_FORMATS:
            raise ConfigError(f"--quality is for jpg; {self.format} is written without loss: leave --quality out")
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"--min_area {self.min_area}: a part of the photo, at least 0 and below 1")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers {self.workers}: at least 1")

    @property
    def source(self) -> Path:
        """The archive's folder; a ``ConfigError`` where it was not given."""
        if self.src is None:
            raise ConfigError("--src is missing: the folder of the archive, as in --src ARCHIVE --dst ROOT")
        return self.src

    @property
    def target(self) -> Path:
        """The tree's folder, made absolute; a ``ConfigError`` where it was not given."""
        if self.dst is None:
            raise ConfigError("--dst is missing: the folder of the pairs, as in --src ARCHIVE --dst ROOT")
        target = self.dst.resolve()
        if not target.name:
            raise ConfigError(f"--dst {self.dst} is the top of the file system; name a folder of its own")
        if self.src is not None and target.is_relative_to((self.src / PICTURE_FOLDER).resolve()):
            raise ConfigError(f"--dst {self.dst} lies among the archive's photos; name a folder outside of it")
        return target


def preprocess(options: PreprocessOptions, say: Say = print) -> None:
    """Make a tree of an archive, or add an archive to a tree; ``say`` takes the lines for the user.

    The bytes depend on the archive and the options alone: not on the workers, nor on interruptions.

    Raises:
        ConfigError: for options that cannot be.
        DataError: with every problem of the archive at once; nothing is at ``dst`` then, or the tree as it was.
        InterruptedRunError: where SIGINT or SIGTERM came; the same command goes on.
    """
    root = options.target
    with StopSignals() as stop, _full_disk_explained(root):
        archive = read_archive(options.source, options.groups)
        for note in archive.notes:
            say(f"note: {note}")
        if finish_append(root):
            say(f"note: an earlier --append to {root} was stopped while it moved its files; it is complete now")
        base = read_base(root) if options.append else None
        run = _Run(root, archive, base, _cut_options(options, base), options, stop, say)
        if not run.is_done():
            run.make_tree()


@contextmanager
def _full_disk_explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"no space is left for {root} ({error.strerror}); free some and run the same command again: what is "
            f"finished is kept in {partial_folder(root)}"
        ) from None


def _cut_options(options: PreprocessOptions, base: BaseTree | None) -> CutOptions:
    """Fill in what was not given: from the tree that is appended to, or the defaults."""
    if base is None:
        return CutOptions(
            DEFAULT_SIZE if options.size is None else options.size,
            options.format or DEFAULT_FORMAT,
            options.quality or DEFAULT_QUALITY,
            options.min_area,
            options.mask_orientation,
        )
    for name in ("size", "format", "quality"):
        given, present = getattr(options, name), getattr(base.record, name)
        if given not in (None, present):
            raise ConfigError(
                f"--{name} {given}: the tree at {options.dst} has {present}, and all its pairs are alike; "
                f"leave --{name} out"
            )
    quality = base.record.quality or DEFAULT_QUALITY
    return CutOptions(base.record.size, base.record.format, quality, options.min_area, options.mask_orientation)


@dataclass(frozen=True)
class _Run:
    root: Path
    archive: Archive
    base: BaseTree | None
    cutting: CutOptions
    options: PreprocessOptions
    stop: StopSignals
    say: Say

    def is_done(self) -> bool:
        """Say whether the tree holds this archive already; refuse a target that is something else."""
        if self.base is not None:
            record = self.base.record
        elif not self.root.exists() or (self.root.is_dir() and not any(self.root.iterdir())):
            return False
        elif (self.root / RECORD_FILE).is_file():
            record = TreeRecord.load(self.root / RECORD_FILE)
        else:
            raise DataError(f"--dst {self.root} exists and is not empty; choose another --dst or delete it")
        entry = self.entry()
        same_files = (record.size, record.format, record.quality) == self._files()
        candidates = [other for other in record.archives if same_files and other.same_options(entry)]
        if candidates:
            entry = replace(entry, sha256=fingerprint(self.archive, file_hashes(self.archive)))
        if any(other.sha256 == entry.sha256 for other in candidates):
            self.say(f"{self.root} is complete: it holds this archive with these options; nothing to do")
            return True
        if self.base is None:
            raise DataError(
                f"--dst {self.root} is a tree of another archive or other options (see {RECORD_FILE} there); choose "
                f"another --dst, delete it, or give --append to add this archive to it"
            )
        return False

    def entry(self) -> ArchiveRecord:
        """Return the record of this archive as far as it is known before any photo is read."""
        options = self.options
        return ArchiveRecord(
            src=options.source.as_posix(),
            sha256="",
            groups=options.groups.as_posix() if options.groups else None,
            min_area=options.min_area,
            mask_orientation=options.mask_orientation,
            ambiguous=list(default_ambiguous() if options.ambiguous is None else options.ambiguous),
        )

    def make_tree(self) -> None:
        """Cut every photo, write the tree's own files and put all in place."""
        names, base_classes = self.archive.class_names, self.base.classes if self.base else None
        classes = build_class_map(names, base_classes, self.options.ambiguous, self.say)
        folder = partial_folder(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
        try:
            entry, rows = self._cut(folder)
            record = TreeRecord(*self._files(), [*(self.base.record.archives if self.base else []), entry])
            if self.base is not None:
                check_additions(self.base, rows, sorted(entry.photos))
                rows = [*self.base.rows, *rows]
            roots = (folder, self.root)
            write_contact_sheet(folder / CONTACT_SHEET_FILE, rows, classes, roots, self.cutting.format)
            record.save(folder / RECORD_FILE)
            classes.save(folder / CLASSES_FILE)
            write_manifest(folder / MANIFEST_FILE, rows, classes.names)
            self._put_in_place(folder, lock)
        finally:
            lock.release()
        for line in summarise(rows, classes, record):
            self.say(line)
        self.say(f"contact sheet: {self.root / CONTACT_SHEET_FILE}")

    def _files(self) -> tuple[int, PictureFormat, int | None]:
        lossless = self.cutting.format in LOSSLESS_FORMATS
        return self.cutting.size, self.cutting.format, None if lossless else self.cutting.quality

    def _cut(self, folder: Path) -> tuple[ArchiveRecord, list[ManifestRow]]:
        append, workers = self.options.append, self.options.workers or available_cores()
        records = cut_archive(self.archive, folder, self.cutting, append, workers, self.stop)
        rows = manifest_rows(self.archive, records)
        if not rows:
            shutil.rmtree(folder)
            raise DataError(
                f"archive {self.archive.root} gives no pair: its masks hold only background, or every class covers "
                f"less than --min_area {self.options.min_area}"
            )
        suffix = self.cutting.format
        paths = [p for row in rows for p in pair_paths(row.split, folder_name(row.class_name), row.stem, suffix)]
        sweep(folder, [*paths, JOURNAL_FILE, LOCK_FILE])
        sha256 = fingerprint(self.archive, record_hashes(records))
        return replace(self.entry(), sha256=sha256, **count_records(self.archive, records)), rows

    def _put_in_place(self, folder: Path, lock: FolderLock) -> None:
        if hasattr(os, "sync"):
            os.sync()  # a power cut after the renames must not leave empty pictures under final names
        if self.base is not None:
            mark_ready(folder)
            commit(self.root)
            return
        (folder / JOURNAL_FILE).unlink()
        lock.release()
        if self.root.exists():
            self.root.rmdir()
        folder.replace(self.root)
