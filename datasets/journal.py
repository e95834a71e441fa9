"""The journal of an unfinished tree: which photos are done, so that a second run goes on where the first stopped."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from datasets.archive import Archive, ArchivePhoto
from datasets.classes import folder_name
from datasets.cut_photo import CutPair, CutRecord, pair_paths
from utils.errors import DataError
from utils.files import write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOURNAL_FILE = ".journal.jsonl"
LOCK_FILE = ".lock"
Header = dict[str, Any]


class FolderLock:
    """A lock on a folder that ends with this process, even if it is killed. Without effect on Windows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._file: IO[str] = self._path.open("a")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise DataError(f"another run is writing to {folder}; wait until it ends or choose another --dst") from None
        except OSError:  # a file system without locks
            return

    def release(self) -> None:
        """Remove the lock."""
        self._path.unlink(missing_ok=True)
        self._file.close()


class Journal:
    """The finished photos of one archive in one unfinished tree.

    Args:
        folder: the unfinished tree.
        header: what the tree's bytes depend on, as JSON; a journal with another header is refused.

    Raises:
        DataError: where the folder holds an unfinished tree of other options.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.records: dict[tuple[str, str], CutRecord] = {}
        self._path = folder / JOURNAL_FILE
        self._header: Header = json.loads(json.dumps(header))
        self._stamps: dict[tuple[str, str], list[int]] = {}
        self._file: IO[str] | None = None
        try:
            self._read()
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self._path} is damaged ({error}); delete {folder} to start afresh") from None

    def keep(self, archive: Archive, suffix: str) -> None:
        """Forget records whose photo, mask or cut-outs changed or are gone, and open the journal for more."""
        for photo in archive.photos:
            key = (photo.split, photo.stem)
            record = self.records.get(key)
            if record and not (self._stamps[key] == _stamp(archive.root, photo) and self._whole(record, suffix)):
                del self.records[key]
        listed = {(photo.split, photo.stem) for photo in archive.photos}
        self.records = {key: record for key, record in self.records.items() if key in listed}
        lines = [self._header] + [self._line(key) for key in self.records]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self._path.open("a", encoding="utf-8")

    def add(self, root: Path, photo: ArchivePhoto, record: CutRecord) -> None:
        """Note a photo whose cut-outs are written."""
        assert self._file is not None, "keep comes first"
        key = (photo.split, photo.stem)
        self.records[key], self._stamps[key] = record, _stamp(root, photo)
        self._file.write(json.dumps(self._line(key)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; the journal stays on the disk."""
        if self._file is not None:
            self._file.close()

    def _line(self, key: tuple[str, str]) -> dict[str, Any]:
        record = self.records[key]
        fields = {**vars(record), "pairs": [vars(pair) for pair in record.pairs]}
        return {"stamp": self._stamps[key], "record": fields}

    def _read(self) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was cut short by a kill
        if not lines:
            return
        header = json.loads(lines[0])
        # A photo that needed --mask_orientation cannot have been finished without it.
        if header["mask_orientation"] is None:
            header["mask_orientation"] = self._header["mask_orientation"]
        if header != self._header:
            changed = sorted(name for name in self._header if header.get(name) != self._header[name])
            raise DataError(
                f"{self.folder} is an unfinished run with another {', '.join(changed)}; give the options of that run "
                f"to go on with it, or delete the folder to start afresh"
            )
        for text in lines[1:]:
            line = json.loads(text)
            record = _record(line["record"])
            key = (record.split, record.stem)
            self.records[key], self._stamps[key] = record, line["stamp"]

    def _whole(self, record: CutRecord, suffix: str) -> bool:
        for pair in record.pairs:
            paths = pair_paths(record.split, folder_name(pair.class_name), record.stem, suffix)
            for path, size in zip(paths, (pair.roi_bytes, pair.extra_roi_bytes), strict=True):
                file = self.folder / path
                if not file.is_file() or file.stat().st_size != size:
                    return False
        return True


def sweep(folder: Path, expected: Iterable[str]) -> None:
    """Remove from an unfinished tree every file but the expected ones (paths inside it, with ``/``)."""
    wanted = {os.path.join(folder, *path.split("/")) for path in expected}  # noqa: PTH118  # many thousand paths
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = os.path.join(parent, name)  # noqa: PTH118
            if path not in wanted:
                Path(path).unlink()
        for name in folders:
            path = os.path.join(parent, name)  # noqa: PTH118
            if not os.listdir(path):  # noqa: PTH208
                Path(path).rmdir()


def _record(fields: dict[str, Any]) -> CutRecord:
    pairs = [CutPair(**{**pair, "box": tuple(pair["box"])}) for pair in fields["pairs"]]
    sizes = {name: tuple(fields[name]) for name in ("size", "content_size")}
    return CutRecord(**{**fields, **sizes, "pairs": pairs})


def _stamp(root: Path, photo: ArchivePhoto) -> list[int]:
    stats = [(root / path).stat() for path in (photo.photo, photo.mask)]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]
