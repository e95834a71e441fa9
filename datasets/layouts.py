"""The files of a finished tree beside its pictures, in either layout."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from datasets.archive import LIST_FOLDER
from datasets.class_file import BACKGROUND_ID, CLASS_FILE
from datasets.classes import CLASSES_FILE, ClassMap
from datasets.contact_sheet import views_of_archive, views_of_pairs, write_contact_sheet
from datasets.manifest import MANIFEST_FILE, ManifestRow, write_manifest
from datasets.mask_source import Source
from datasets.mask_table import MaskRow, write_masks
from datasets.tree import CONTACT_SHEET_FILE, MASKS_FILE, RECORD_FILE, TreeRecord
from utils.files import write_text

GROUPS_FILE = "groups.csv"


def write_pairs_files(
    folder: Path,
    root: Path,
    rows: Sequence[ManifestRow],
    classes: ClassMap,
    record: TreeRecord,
    masks: Sequence[MaskRow] = (),
) -> None:
    """Write contact sheet, record, classes, scores of masks, if any, and manifest of a tree of pairs.

    Args:
        folder: the unfinished tree.
        root: its final place, where the pairs lie to which others are added.
        rows: all pairs.
        classes: all classes.
        record: how the tree was made.
        masks: of the pairs that a segmenter masked.
    """
    write_contact_sheet(folder / CONTACT_SHEET_FILE, rows, views_of_pairs(classes, (folder, root), record.format))
    record.save(folder / RECORD_FILE)
    if masks:
        write_masks(folder / MASKS_FILE, masks, classes.names)
    classes.save(folder / CLASSES_FILE)
    write_manifest(folder / MANIFEST_FILE, rows, classes.names)


def write_archive_files(
    folder: Path, archive: Source, rows: Sequence[ManifestRow], record: TreeRecord, *, groups: bool
) -> None:
    """Write contact sheet, record, class file, lists and, where there are any, groups of an archive made smaller.

    Args:
        folder: the unfinished archive.
        archive: of which it is made.
        rows: the pairs that its masks hold.
        record: how it was made.
        groups: whether the photos' groups were given.
    """
    views_of = views_of_archive(archive.label_ids, folder, record.format)
    write_contact_sheet(folder / CONTACT_SHEET_FILE, rows, views_of)
    record.save(folder / RECORD_FILE)
    labels = {BACKGROUND_ID: "background", **archive.label_ids}
    write_text(folder / CLASS_FILE, "".join(f"{label}\t{name}\n" for label, name in labels.items()))
    # With suffix, since a stem may look as if it had one.
    names = [(photo.split, f"{photo.stem}.{record.format}", photo.group) for photo in archive.photos]
    (folder / LIST_FOLDER).mkdir(exist_ok=True)
    for split in sorted({split for split, _, _ in names}):
        lines = [name + "\n" for own, name, _ in names if own == split]
        write_text(folder / LIST_FOLDER / f"{split}.txt", "".join(lines))
    if groups:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerows([("split", "image", "group"), *names])
        write_text(folder / GROUPS_FILE, buffer.getvalue())
