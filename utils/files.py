"""Files and folders that are whole or absent."""

import errno
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.locks import FileLock

_UNFINISHED, _REPLACED, _AT_WORK = "unfinished", "replaced", "lock"
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\..*)?")


def write_atomic(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    ``write`` receives the temporary path, which keeps the suffix of ``path``. ``durable`` flushes the data to the
    disk before the rename, so that a power cut cannot leave an empty file under the final name.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say which file it met, others name the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as it is, on every system, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomic(path, write)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that a power cut cannot undo a rename; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot do it for folders
            error.filename = str(folder)
            raise
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        write_bytes(target, source.read_bytes())


def replace_by_link(source: Path, target: Path) -> None:
    """Put another name of a file, or a copy, in the place of one that may exist."""
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    temporary.unlink(missing_ok=True)
    link_or_copy(source, temporary)
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # where both were one file already, nothing was renamed


def is_temporary(name: str) -> bool:
    """Return whether a file name is one under which files are written before they get their own."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder that nobody else writes to."""
    for path in folder.glob(".*.tmp*"):
        if is_temporary(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill beside the final one, which it replaces at the end.

    After an error nothing stays of it, and the final folder is as it was. Two processes with one goal do not fill the
    same folder; what a killed one left is removed by the next.

    Args:
        folder: the final one, with everything that may be replaced in it; it need not exist.

    Yields:
        The folder to fill, empty, on the same disk.
    """
    folder = folder.resolve()  # "." has no name
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear_left(folder)
    name = f".{folder.name}.{os.getpid()}"
    temporary, old = (folder.with_name(f"{name}.{ending}") for ending in (_UNFINISHED, _REPLACED))
    with FileLock(folder.with_name(f"{name}.{_AT_WORK}")) as lock:
        lock.take()
        temporary.mkdir()
        try:
            yield temporary
            if folder.exists():
                folder.replace(old)
            temporary.replace(folder)
        finally:
            if old.exists() and not folder.exists():
                old.replace(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _clear_left(folder: Path) -> None:
    """Remove what killed processes left of a folder, and put back the one that a killed process was replacing."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.{_AT_WORK}"):
        with FileLock(path) as lock:
            if not lock.take():
                continue  # its process lives
            temporary, old = (path.with_suffix(f".{ending}") for ending in (_UNFINISHED, _REPLACED))
            if old.exists() and not folder.exists():
                old.replace(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
