"""Files and folders that are whole or absent."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
        if error.filename is None:  # a full disk does not say which file it met
            error.filename = str(path)
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


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill beside the final one, which it replaces at the end.

    After an error nothing stays of it, and the final folder is as it was. The temporary name holds the process id, so
    that two processes with one goal do not fill the same folder.

    Args:
        folder: the final one, with everything that may be replaced in it; it need not exist.

    Yields:
        The folder to fill, empty, on the same disk.
    """
    folder = folder.resolve()  # "." has no name
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    temporary.mkdir(parents=True)
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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
