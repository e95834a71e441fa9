"""Pairs and classes of another archive, added to a tree that is complete."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.classes import CLASSES_FILE, ClassMap
from datasets.journal import JOURNAL_FILE
from datasets.links import LinkGuard
from datasets.locks import LOCK_FILE, PATIENCE, lock_folder
from datasets.manifest import MANIFEST_FILE, ManifestRow, read_manifest
from datasets.mask_table import MaskRow, read_masks
from datasets.tree import CONTACT_SHEET_FILE, MASKS_FILE, RECORD_FILE, TreeRecord, partial_folder
from utils.errors import DataError, problem_list

READY_FILE = ".ready"
# In the order in which they replace the tree's own: readers go by the manifest, so it comes last.
METADATA_FILES = (CONTACT_SHEET_FILE, RECORD_FILE, MASKS_FILE, CLASSES_FILE, MANIFEST_FILE)


@dataclass(frozen=True)
class BaseTree:
    """A complete tree: its record, classes, manifest, and the scores of those masks that a segmenter drew."""

    record: TreeRecord
    classes: ClassMap
    rows: list[ManifestRow]
    masks: list[MaskRow]


def read_base(root: Path) -> BaseTree:
    """Read the tree at ``root``; a ``DataError`` where there is none that preprocessing wrote."""
    if (root / RECORD_FILE).is_file() and TreeRecord.load(root / RECORD_FILE).layout == "archive":
        raise DataError(
            f"--append adds pairs to a tree of pairs, but --dst {root} is an archive (--layout archive); put the new "
            f"photos into the archive that it was made of, and choose another --dst"
        )
    missing = [name for name in (RECORD_FILE, CLASSES_FILE, MANIFEST_FILE) if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"--append needs a complete tree at --dst {root}, but {', '.join(missing)} is missing there; "
            f"preprocess the main archive first, without --append"
        )
    if problems := LinkGuard(root).tree_problems():
        raise DataError(problem_list(f"--append to {root}", problems))
    return BaseTree(
        TreeRecord.load(root / RECORD_FILE),
        ClassMap.load(root / CLASSES_FILE),
        read_manifest(root / MANIFEST_FILE),
        read_masks(root / MASKS_FILE) if (root / MASKS_FILE).is_file() else [],
    )


def check_additions(base: BaseTree, rows: Sequence[ManifestRow], splits: Sequence[str]) -> None:
    """Refuse pairs that a tree cannot take.

    Raises:
        DataError: with every pair whose (split, class, stem) is taken, every photo whose split and stem another
            photo has (both would be one group), and every split that the tree does not have.
    """
    known = sorted({row.split for row in base.rows})
    problems = [
        f"the archive has a split '{split}', the tree only {', '.join(known)}; rename the archive's folders"
        for split in splits
        if split not in known
    ]
    keys = {row.key for row in base.rows}
    photos = {(row.split, row.stem): row.photo_sha256 for row in base.rows}
    other: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.key in keys:
            problems.append(f"{'/'.join(row.key)} is in the tree already; rename the photo and its mask")
        elif photos.get((row.split, row.stem), row.photo_sha256) != row.photo_sha256:
            other[row.split, row.stem] = row.photo
    problems += [
        f"{photo} has the name of another photo in the tree; rename it and its mask" for photo in other.values()
    ]
    if problems:
        raise DataError(problem_list("--append", problems))


def commit(root: Path) -> None:
    """Move everything from the finished folder beside a tree into the tree. May be repeated after a kill."""
    folder = partial_folder(root)
    kept = (*METADATA_FILES, READY_FILE, LOCK_FILE)
    pairs = [path for path in folder.rglob("*") if path.is_file() and path.name not in kept]
    metadata = [folder / name for name in METADATA_FILES if (folder / name).exists()]
    if problems := LinkGuard(root).tree_problems():
        raise DataError(problem_list(f"--append to {root}", problems))
    for path in sorted(pairs) + metadata:
        target = root / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    (folder / READY_FILE).unlink()
    gone = folder.with_name(f"{folder.name}.{os.getpid()}")
    folder.replace(gone)  # at once, so that no other process finds half of it
    shutil.rmtree(gone)


def mark_ready(folder: Path) -> None:
    """Declare the folder beside a tree finished: from here on ``commit`` needs nothing else."""
    (folder / JOURNAL_FILE).replace(folder / READY_FILE)


def finish_append(root: Path) -> bool:
    """Finish an append that was killed while its files were moved; return whether there was one."""
    folder = partial_folder(root)
    if not (folder / READY_FILE).exists():
        return False
    lock = lock_folder(folder, patience=PATIENCE)
    if lock is None:  # another process has finished it
        return True
    with lock:
        if not lock.certain:
            lock.release()  # systems without locks may not move a folder with open files
        if (folder / READY_FILE).exists():
            commit(root)
    return True
