"""Photos with masks or prompts in, a tree or a smaller archive out: whole, or unfinished beside it, to be continued."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.append import BaseTree, check_additions, commit, finish_append, mark_ready, read_base
from datasets.archive import read_archive
from datasets.class_names import build_class_map, default_ambiguous, new_classes
from datasets.classes import ClassMap
from datasets.cut_archive import (
    count_records,
    cut_archive,
    file_hashes,
    fingerprint,
    manifest_rows,
    mask_rows,
    open_journal,
    record_hashes,
)
from datasets.cut_photo import CutOptions, CutRecord, written_paths
from datasets.cut_shard import cut_shard
from datasets.cutouts import LOSSLESS_FORMATS, PictureFormat
from datasets.journal import JOURNAL_FILE, Journal, shard_journals, sweep
from datasets.layouts import GROUPS_FILE, write_archive_files, write_pairs_files
from datasets.locks import LOCK_FILE, lock_unfinished
from datasets.manifest import ManifestRow
from datasets.mask_source import Source, of_archive
from datasets.mask_table import MaskRow
from datasets.preprocess_options import PreprocessOptions
from datasets.shards import Shard
from datasets.summary import summarise
from datasets.tree import CONTACT_SHEET_FILE, RECORD_FILE, ArchiveRecord, TreeRecord, partial_folder
from datasets.workers import StopSignals, available_cores
from utils.errors import ConfigError, DataError
from utils.locks import FileLock

__all__ = ["PreprocessOptions", "preprocess"]

Say = Callable[[str], None]
# What is wrong and how to mend it, by what the system says where it takes no more bytes.
FULL = {
    errno.ENOSPC: ("no space is left", "free some"),
    errno.EDQUOT: ("no space is left", "free some of your share"),
    errno.EFBIG: ("a file is larger than the system allows", "raise that limit (ulimit -f)"),
}
DEFAULT_SIZE, DEFAULT_QUALITY = 224, 95
DEFAULT_FORMAT: PictureFormat = "jpg"


def preprocess(options: PreprocessOptions, say: Say = print) -> None:
    """Make a tree of an archive, or add an archive to a tree; ``say`` takes the lines for the user.

    The bytes depend on the archive and the options alone: not on the workers, the shards, nor on interruptions.

    Raises:
        ConfigError: for options that cannot be.
        DataError: with every problem of the archive at once; nothing is at ``dst`` then, or the tree as it was.
        InterruptedRunError: where SIGINT or SIGTERM came; the same command goes on.
    """
    root, shard = options.target, options.shard
    with StopSignals() as stop, _full_disk_explained(root):
        source = _read_source(options)
        if shard is not None:
            say(f"shard {shard}, by {shard.source} (--shard 1/1 would take all photos)")
        for note in source.notes if shard is None or shard.number == 1 else ():
            say(f"note: {note}")
        if finish_append(root):
            say(f"note: an earlier --append to {root} was stopped while it moved its files; it is complete now")
        base = read_base(root) if options.append else None
        run = _Run(root, source, base, _cut_options(options, base), options, stop, say)
        if run.is_done():
            return
        classes = run.classes()
        lock = lock_unfinished(partial_folder(root)) if shard is None else run.cut_shard(shard)
        if lock is not None:
            with lock:
                run.make_tree(classes, lock)


def _read_source(options: PreprocessOptions) -> Source:
    if options.prompting is None:
        return of_archive(read_archive(options.source, options.groups), options.mask_orientation)
    from datasets.prompted.source import read_prompted  # loads OpenCV, and for SAM torch, which take seconds

    return read_prompted(options)


@contextmanager
def _full_disk_explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        problem, remedy = FULL[error.errno]
        where = f": {error.filename}" if error.filename else ""
        raise DataError(
            f"{problem} for {root} ({error.strerror}{where}); {remedy} and run the same command again: what is "
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
            options.layout or "pairs",
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
    source: Source
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
        same_files = replace(record, archives=[]) == self._record([])
        candidates = [other for other in record.archives if same_files and other.same_options(entry)]
        if candidates:
            entry = replace(entry, sha256=fingerprint(self.source, file_hashes(self.source)))
        if any(other.sha256 == entry.sha256 for other in candidates):
            self.say(f"{self.root} is complete: it holds this archive with these options; nothing to do")
            return True
        if self.base is None:
            also = "" if record.layout == "archive" else ", or give --append to add this archive to it"
            raise DataError(
                f"--dst {self.root} is a tree of another archive or other options (see {RECORD_FILE} there); choose "
                f"another --dst{',' if also else ' or'} delete it{also}"
            )
        return False

    def entry(self) -> ArchiveRecord:
        """Return the record of this archive as far as it is known before any photo is read."""
        options = self.options
        ambiguous = default_ambiguous() if options.ambiguous is None else options.ambiguous
        prompting, header = options.prompting, self.source.masks.header
        return ArchiveRecord(
            src=options.source.as_posix(),
            sha256="",
            groups=options.groups.as_posix() if options.groups else None,
            min_area=options.min_area,
            mask_orientation=options.mask_orientation,
            ambiguous=[] if self.cutting.layout == "archive" else list(ambiguous),
            prompts=prompting.file.as_posix() if prompting and prompting.file else None,
            segmenter=header.get("segmenter"),
            derived=header.get("derived"),
        )

    def classes(self) -> ClassMap:
        """Return the tree's classes; a ``ConfigError`` where an ambiguous one is not among them."""
        names = self.source.class_names
        if self.cutting.layout == "archive":
            return ClassMap.from_names(names)
        say = self.say if self.options.shard is None or self.options.shard.number == 1 else (lambda _: None)
        if self.base and self.options.prompting:
            for line in new_classes(names, self.base.classes.names):
                say(f"note: {line}")
        return build_class_map(names, self.base.classes if self.base else None, self.options.ambiguous, say)

    def cut_shard(self, shard: Shard) -> FileLock | None:
        """Cut a shard; return the folder's lock where it is the last one, so that the tree can be put together."""

        def cut() -> int:
            return len(self._cut(self._open_journal(shard=shard)))

        return cut_shard(partial_folder(self.root), shard, cut, self.stop, self.say)

    def make_tree(self, classes: ClassMap, lock: FileLock) -> None:
        """Cut every photo that is missing, write the tree's own files and put all in place."""
        folder = partial_folder(self.root)
        entry, rows, masks = self._cut_all(folder)
        record = self._record([*(self.base.record.archives if self.base else []), entry])
        if self.base is not None:
            check_additions(self.base, rows, sorted(entry.photos))
            rows, masks = [*self.base.rows, *rows], [*self.base.masks, *masks]
        groups = self.options.groups is not None
        if record.layout == "archive":
            write_archive_files(folder, self.source, rows, record, groups=groups)
        else:
            write_pairs_files(folder, self.root, rows, classes, record, masks)
        self._put_in_place(folder, lock)
        for line in summarise(rows, classes, record):
            self.say(line)
        if record.layout == "archive":
            also = f" --data.archive.groups {self.root / GROUPS_FILE}" if groups else ""
            self.say(f"train with --data.source archive --data.root {self.root}{also}")
        self.say(f"contact sheet: {self.root / CONTACT_SHEET_FILE}")

    def _record(self, archives: list[ArchiveRecord]) -> TreeRecord:
        cutting = self.cutting
        quality = None if cutting.format in LOSSLESS_FORMATS else cutting.quality
        return TreeRecord(cutting.size, cutting.format, quality, archives, cutting.layout)

    def _cut_all(self, folder: Path) -> tuple[ArchiveRecord, list[ManifestRow], list[MaskRow]]:
        records = self._cut(self._open_journal(merges=self.options.shard))
        rows = manifest_rows(self.source, records, self.source.masks.name)
        if not rows:
            shutil.rmtree(folder)
            raise DataError(
                f"{self.source.title} gives no pair: its masks hold only background, or every class covers "
                f"less than --min_area {self.options.min_area}"
            )
        paths = [path for record in records for path in written_paths(record, self.cutting)]
        journals = [path.name for path in shard_journals(folder).values()]
        sweep(folder, [*paths, *journals, JOURNAL_FILE, LOCK_FILE])
        sha256 = fingerprint(self.source, record_hashes(records))
        entry = replace(self.entry(), sha256=sha256, **count_records(self.source, records))
        return entry, rows, mask_rows(records, self.source.masks.name)

    def _open_journal(self, shard: Shard | None = None, merges: Shard | None = None) -> Journal:
        entry, append = self.entry(), self.options.append
        given = {"--src text": entry.src, "groups": entry.groups, "ambiguous": entry.ambiguous}
        if self.options.prompting is not None:
            given |= {"prompts": entry.prompts, "list of classes": list(self.source.class_names)}
        folder = partial_folder(self.root)
        return open_journal(self.source, folder, self.cutting, append=append, given=given, shard=shard, merges=merges)

    def _cut(self, journal: Journal) -> list[CutRecord]:
        shard = self.options.shard
        workers = self.options.workers or (shard.cores if shard else None) or available_cores()
        return cut_archive(self.source, journal, self.cutting, workers, self.stop, self.options.pixel_limit)

    def _put_in_place(self, folder: Path, lock: FileLock) -> None:
        if hasattr(os, "sync"):
            os.sync()  # a power cut after the renames must not leave empty pictures under final names
        for journal in shard_journals(folder).values():
            journal.unlink()
        if not lock.certain:
            lock.release()  # systems without locks may not move a folder with open files
        if self.base is not None:
            mark_ready(folder)
            commit(self.root)
            return
        (folder / JOURNAL_FILE).unlink()
        if self.root.exists():
            self.root.rmdir()
        folder.replace(self.root)  # with the lock, so that no other process starts in a folder that is about to move
        (self.root / LOCK_FILE).unlink(missing_ok=True)
