"""The scan of an archive's split, kept between runs and checked by size and modification time."""

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from datasets.archive import Archive, ArchivePhoto
from datasets.archive_scan import ScanOptions
from datasets.manifest import MANIFEST_FILE, ManifestRow, read_columns, read_manifest, write_manifest
from utils.errors import DataError
from utils.files import sha256, whole_folder, write_text
from utils.json_file import read_json
from utils.locks import FileLock

CACHE_VARIABLE = "RVERNET_CACHE"
SCAN_FILE = "scan.json"
_FORMAT = 1
_LARGEST_SCAN = 512 * 1024 * 1024  # bytes; about 200 for each photo
_COLUMNS = ("class", "stem", "content_width", "content_height", "photo_sha256", "mask_sha256")


class PairEntry(NamedTuple):
    """What an index keeps of one pair: class name, stem, (width, height) in pixels, hashes of photo and mask."""

    class_name: str
    stem: str
    size: tuple[int, int]
    photo_sha256: str
    mask_sha256: str


class KeptPhoto(NamedTuple):
    """One photo of a kept scan.

    Attributes:
        photo: path inside the archive.
        mask: path of its mask.
        group: its group.
        stamp: size in bytes and modification time in nanoseconds, of the photo and of the mask.
        under_min_area: classes that cover too little.
        vanished: classes of which resizing left no pixel.
        damaged_exif: whether the photo's EXIF block could not be read.
    """

    photo: str
    mask: str
    group: str
    stamp: list[int]
    under_min_area: int = 0
    vanished: int = 0
    damaged_exif: bool = False

    def shows(self, photo: ArchivePhoto, stamp: list[int] | None) -> bool:
        """Say whether this is the photo as it lies on the disk."""
        return (self.photo, self.mask, self.stamp) == (photo.photo, photo.mask, stamp)


def cache_folder() -> Path:
    """Return the folder for what can be made again: RVERNET_CACHE, else the user's folder of that kind."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "rvernet"
    return Path(os.path.expanduser("~")) / ".cache" / "rvernet"  # noqa: PTH111  # Path.home raises without a home


@dataclass(frozen=True)
class ScanCache:
    """The kept scan of one split with some options.

    Attributes:
        archive: the listing.
        split: name of the split.
        options: what decides which pairs there are.
    """

    archive: Archive
    split: str
    options: ScanOptions

    @property
    def folder(self) -> Path:
        """Where the scan is kept."""
        text = json.dumps([str(self.archive.root.resolve()), asdict(self.options)])
        return cache_folder() / "archives" / hashlib.sha256(text.encode()).hexdigest()[:20] / self.split

    @property
    def manifest(self) -> Path:
        """The table of pairs."""
        return self.folder / MANIFEST_FILE

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Keep other processes from scanning the same split meanwhile; without effect where nothing can be written.

        Processes of one run come here together: the first scans, the others wait and find what it kept.

        Yields:
            Whether this process had to wait.
        """
        waited = False
        lock = FileLock(self.folder.parent / f".{self.split}.lock")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if waited := not lock.take():
                if os.environ.get("RANK", "0") == "0":  # one line, however many processes a run has
                    print(f"waiting for another process that scans {self.archive.root}", file=sys.stderr, flush=True)
                lock.take(patience=math.inf)
        except OSError:  # nothing can be written there; whoever scans says so
            pass
        try:
            yield waited
        finally:
            lock.release()

    def read_photos(self) -> dict[str, KeptPhoto] | None:
        """Return the photos of the kept scan by stem, or None where there is none of this kind.

        Raises:
            DataError: where it is damaged.
        """
        path = self.folder / SCAN_FILE
        if not path.is_file():
            return None
        kept = read_json(path, "kept scan", largest=_LARGEST_SCAN)
        try:
            if {name: kept[name] for name in self._header()} != self._header():
                return None  # of another version, or from before the class file was changed
            photos = {stem: KeptPhoto(*fields) for stem, fields in kept["photos"].items()}
            if kept["manifest_sha256"] != sha256(self.manifest):
                raise DataError(f"{self.manifest} is not the file that was written")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({error})") from None
        return photos

    def read_entries(self) -> list[PairEntry]:
        """Return the pairs of the kept scan, the fast way."""
        rows = read_columns(self.manifest, _COLUMNS)
        return [PairEntry(row[0], row[1], (int(row[2]), int(row[3])), row[4], row[5]) for row in rows]

    def read_rows(self) -> list[ManifestRow]:
        """Return the whole rows of the kept scan."""
        return read_manifest(self.manifest)

    def write(self, photos: dict[str, KeptPhoto], rows: Iterable[ManifestRow]) -> None:
        """Keep a scan, whole or not at all.

        Raises:
            OSError: where it cannot be written; what was kept before stays.
        """
        with whole_folder(self.folder) as folder:
            write_manifest(folder / MANIFEST_FILE, rows, self.archive.class_names)
            document = self._header() | {"manifest_sha256": sha256(folder / MANIFEST_FILE), "photos": photos}
            write_text(folder / SCAN_FILE, json.dumps(document, ensure_ascii=False) + "\n")

    def _header(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "archive": str(self.archive.root.resolve()),
            "split": self.split,
            "options": asdict(self.options),
            "classes": [list(item) for item in self.archive.label_ids.items()],
        }


def stamp_of(root: Path, photo: ArchivePhoto) -> list[int] | None:
    """Return ``KeptPhoto.stamp`` of the files as they lie on the disk; None where one is not there."""
    try:
        stats = [os.stat(f"{root}/{path}") for path in (photo.photo, photo.mask)]  # noqa: PTH116  # once per file
    except OSError:
        return None
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


def entry_of(row: ManifestRow) -> PairEntry:
    """Return what an index keeps of a manifest's row."""
    size = (row.content_width, row.content_height)
    return PairEntry(row.class_name, row.stem, size, row.photo_sha256, row.mask_sha256)
