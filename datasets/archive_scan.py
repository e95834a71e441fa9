"""What preprocessing would cut from an archive's photos, found without cutting anything. Never imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from datasets.archive import ArchivePhoto, OptionNames
from datasets.cut_photo import CutPair, CutRecord, class_masks, open_photo, start_record
from datasets.cutouts import mask_box, resize_labels
from datasets.decode import MaskOrientation, read_photo_header
from datasets.picture_size import PixelLimit
from datasets.workers import StopSignals, available_cores, map_unordered

DATA_OPTIONS = OptionNames(
    "data.root", "data.archive.groups", "data.archive.mask_orientation", "data.archive.ambiguous"
)
_PHOTOS_PER_WORKER = 500  # a worker process of a training script takes seconds to start


@dataclass(frozen=True)
class ScanOptions:
    """What decides which pairs a photo gives; as the options of the same names of preprocessing."""

    size: int = 0
    min_area: float = 0.0
    mask_orientation: MaskOrientation | None = None


class PhotoScanner:
    """Finds the pairs of one photo of an archive at a time.

    Args:
        root: folder of the archive.
        label_ids: class name by label id.
        options: what decides which pairs there are.
        limit: the largest picture that is decoded.
    """

    def __init__(self, root: Path, label_ids: dict[int, str], options: ScanOptions, limit: PixelLimit) -> None:
        self.root, self.label_ids, self.options, self.limit = root, label_ids, options, limit

    def __call__(self, photo: ArchivePhoto) -> CutRecord | list[str]:
        """Return the pairs of a photo, or what is wrong with its files."""
        orientation = self.options.mask_orientation
        name = DATA_OPTIONS.mask_orientation
        opened = open_photo(self.root, photo, self.label_ids, orientation, read_photo_header, name, self.limit)
        if isinstance(opened, list):
            return opened
        labels = resize_labels(opened.labels, self.options.size)
        record = start_record(photo, opened, labels)
        names = {label: self.label_ids[label] for label in opened.ids}
        for name, mask, area in class_masks(record, labels, names, self.options.min_area):
            record.pairs.append(CutPair(name, area, mask_box(mask)))
        return record


def scan_photos(
    scanner: PhotoScanner, photos: Sequence[ArchivePhoto], stop: StopSignals
) -> tuple[dict[str, CutRecord], list[str]]:
    """Open every mask and the header of every photo, on all cores where there are many.

    Args:
        scanner: of the archive.
        photos: of one split.
        stop: once it has noted a signal, no photo is begun.

    Returns:
        Records by stem, and everything that is wrong with the other photos, in a fixed order.
    """
    results = map_unordered(
        _scan_one,
        photos,
        workers=max(1, min(available_cores(), len(photos) // _PHOTOS_PER_WORKER)),
        setup=_start,
        setup_arguments=(scanner,),
        stop=stop,
    )
    records: dict[str, CutRecord] = {}
    problems: list[str] = []
    for result in tqdm(results, total=len(photos), unit="photo", desc="scanning the archive", disable=None):
        if isinstance(result, list):
            problems += result
        else:
            records[result.stem] = result
    return records, sorted(problems)


_scanner: PhotoScanner | None = None


def _start(scanner: PhotoScanner) -> None:
    global _scanner  # noqa: PLW0603  # a worker process serves one scan; its tasks stay small this way
    _scanner = scanner


def _scan_one(photo: ArchivePhoto) -> CutRecord | list[str]:
    assert _scanner is not None, "_start comes first"
    return _scanner(photo)
