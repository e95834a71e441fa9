"""What a person wants to know of a tree, in a few lines."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datasets.classes import ClassMap
from datasets.doctor.counts import PhotoOf, shared_groups, shared_photos
from datasets.doctor.findings import condensed, some
from datasets.manifest import MANIFEST_FILE, ManifestRow
from datasets.tree import TreeRecord

TINY = 0.001  # of the photo


def summarise(rows: Sequence[ManifestRow], classes: ClassMap, record: TreeRecord) -> list[str]:
    """Return the summary of a tree, a few lines per split, ending with photos and groups that several splits share."""
    lines: list[str] = []
    for split in sorted({split for archive in record.archives for split in archive.photos}):
        lines += _split_lines(split, [row for row in rows if row.split == split], classes, record)
    lines += tiny_masks(rows)
    lines += [f"note: {path}: the EXIF block cannot be read; taken as upright" for path in _damaged(record)]
    photos = (PhotoOf(row.split, row.photo, row.photo_sha256) for row in rows)
    found = shared_photos(photos, None, fix="remove one of them from the archive, or training will refuse the tree")
    found += shared_groups(((row.split, row.group) for row in rows), MANIFEST_FILE)
    return lines + [str(one) for one in condensed(found)]


def tiny_masks(rows: Sequence[ManifestRow]) -> list[str]:
    """Return a note on masks from prompts that cover so little that they have probably missed their object."""
    tiny = ["/".join(row.key) for row in rows if row.mask_source != "annotation" and row.area_fraction < TINY]
    if not tiny:
        return []
    masks = "1 mask from a prompt covers" if len(tiny) == 1 else f"{len(tiny)} masks from prompts cover"
    named = ", ".join(tiny[:5]) + (", …" if len(tiny) > 5 else "")
    return [f"note: {masks} less than {100 * TINY:g} % of the photo: {named}; look at the pictures, and prompt again"]


def _damaged(record: TreeRecord) -> list[str]:
    return [path for archive in record.archives for path in archive.damaged_exif]


def _split_lines(split: str, rows: Sequence[ManifestRow], classes: ClassMap, record: TreeRecord) -> list[str]:
    def total(name: str) -> int:
        return sum(getattr(archive, name).get(split, 0) for archive in record.archives)

    parts = [f"{total('photos')} photos", f"{len(rows)} pairs"]
    for name, words in (
        ("under_min_area", "dropped under --min_area"),
        ("vanished", "dropped because resizing left no pixel"),
        ("photos_without_pair", "photos without any pair"),
    ):
        if total(name):
            parts.append(f"{total(name)} {words}")
    without = [key for archive in record.archives for key in archive.no_mask if key.startswith(f"{split}/")]
    if without:
        parts.append(f"{len(without)} dropped because the segmenter found no mask ({some(without)})")
    lines = [f"{split}: " + ", ".join(parts)]
    if not rows:
        return lines
    counts = Counter(row.class_name for row in rows)
    present = [name for name in classes.names if name in counts]
    least, most = min(present, key=counts.__getitem__), max(present, key=counts.__getitem__)
    lines.append(f"  pairs per class: least {counts[least]} ({least}), most {counts[most]} ({most})")
    absent = [name for name in classes.names if name not in counts]
    if absent:
        lines.append(f"  classes without a pair in {split}: {len(absent)} ({', '.join(absent)})")
    quartiles = np.percentile([100 * row.area_fraction for row in rows], [25, 50, 75])
    lines.append("  ROI area, quartiles: " + " / ".join(f"{value:.2f} %" for value in quartiles) + " of the photo")
    whole = sum(row.area_fraction == 1 for row in rows)
    if whole:
        lines.append(f"  {whole} pairs cover the whole photo, so that their extra-roi is black")
    return lines
