"""An archive, checked file by file."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from datasets.archive import Archive, ArchivePhoto, scan_archive
from datasets.cut_photo import open_photo
from datasets.decode import MaskOrientation, decode_photo
from datasets.workers import StopSignals, map_unordered

TRAIN_SPLIT = "train"


@dataclass(frozen=True)
class _Settings:
    root: Path
    label_ids: dict[int, str]
    mask_orientation: MaskOrientation | None


@dataclass(frozen=True)
class _Seen:
    """What one photo showed: its problems, label ids and hashes."""

    photo: ArchivePhoto
    problems: list[str]
    ids: list[int]
    photo_sha256: str
    mask_sha256: str


class ArchiveCheck:
    """Everything that is wrong with an archive.

    Attributes:
        archive: the listing.
        problems: what is wrong, with the fix for each.
        notes: what is unusual.
        hashes: (photo, mask) SHA-256 by (split, stem), of those that can be read.
    """

    def __init__(self, root: Path, groups: Path | None) -> None:
        self.archive: Archive
        self.archive, self.problems = scan_archive(root, groups)
        self.notes = list(self.archive.notes)
        self.hashes: dict[tuple[str, str], tuple[str, str]] = {}

    def run(self, mask_orientation: MaskOrientation | None, workers: int, stop: StopSignals) -> None:
        """Decode every photo and mask."""
        archive = self.archive
        results = map_unordered(
            _look,
            archive.photos,
            workers=max(1, min(workers, len(archive.photos) // 10)),
            setup=_start,
            setup_arguments=(_Settings(archive.root, archive.label_ids, mask_orientation),),
            stop=stop,
        )
        seen = list(tqdm(results, total=len(archive.photos), unit="photo", desc="checking", disable=None))
        seen.sort(key=lambda one: (one.photo.split, one.photo.stem))
        self.problems += [problem for one in seen for problem in one.problems]
        self.hashes = {
            (one.photo.split, one.photo.stem): (one.photo_sha256, one.mask_sha256) for one in seen if not one.problems
        }
        self._double_photos(seen)
        self._groups()
        self._empty_classes(seen)

    def _double_photos(self, seen: list[_Seen]) -> None:
        first: dict[str, ArchivePhoto] = {}
        for one in seen:
            if one.problems:
                continue
            other = first.setdefault(one.photo_sha256, one.photo)
            if other.split != one.photo.split:
                self.problems.append(
                    f"{other.photo} and {one.photo.photo} are the same photo in two splits; remove one of them"
                )

    def _groups(self) -> None:
        splits: dict[str, set[str]] = {}
        for photo in self.archive.photos:
            splits.setdefault(photo.group, set()).add(photo.split)
        shared = sorted(group for group, found in splits.items() if len(found) > 1)
        if shared:
            self.notes.append(f"{len(shared)} groups have photos in more than one split, the first is {shared[0]}")

    def _empty_classes(self, seen: list[_Seen]) -> None:
        if not any(one.photo.split == TRAIN_SPLIT for one in seen) or any(one.problems for one in seen):
            return
        present = {label for one in seen if one.photo.split == TRAIN_SPLIT for label in one.ids}
        for label, name in self.archive.label_ids.items():
            if label not in present:
                self.problems.append(
                    f"class '{name}' (id {label}) is in no mask of {TRAIN_SPLIT}; add photos or remove its line from "
                    f"the class file"
                )


_settings: _Settings | None = None


def _start(settings: _Settings) -> None:
    global _settings  # noqa: PLW0603  # a worker process serves one check; its tasks stay small this way
    _settings = settings


def _look(photo: ArchivePhoto) -> _Seen:
    assert _settings is not None, "_start comes first"
    opened = open_photo(_settings.root, photo, _settings.label_ids, _settings.mask_orientation, decode_photo)
    if isinstance(opened, list):
        return _Seen(photo, opened, [], "", "")
    return _Seen(photo, [], opened.ids, opened.photo_sha256, opened.mask_sha256)
