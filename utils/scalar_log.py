"""Curves for TensorBoard, written when they are logged: no thread of a library's own that fails on a full disk."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from utils import clock
from utils.files import write_bytes

_PREFIX = "events.out.tfevents."
_VERSION = "brain.Event:2"


class ScalarLog:
    """The one events file of a run, in a folder that TensorBoard reads. Nothing is held open between two rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, row: Mapping[str, Any]) -> None:
        """Append the numbers of a row at its ``epoch``; those of nested rows are called ``train/loss``.

        Raises:
            OSError: with the file's name, such as on a full disk; the file is then as it was.
        """
        files = self._files()
        if files:
            append_whole(files[-1], _records([_event(row)]))
        else:
            self.rewrite([row])

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the file by one that holds these rows, whole or not at all; their time is the present.

        The new file has a name of its own, so that a TensorBoard that follows the old one goes on to it.

        Raises:
            OSError: with the file's name; the old file is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        old, numbered = [*self.folder.glob(f"{_PREFIX}*"), *self.folder.glob(f".{_PREFIX}*")], self._files()
        number = int(numbered[-1].name.removeprefix(_PREFIX)) + 1 if numbered else 0
        first = Event(wall_time=clock.now().timestamp(), file_version=_VERSION)
        write_bytes(self.folder / f"{_PREFIX}{number:06d}", _records([first, *map(_event, rows)]))
        for file in old:
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Return the events files by age; two of them after a process was killed while it replaced one."""
        found = self.folder.glob(f"{_PREFIX}*")
        return sorted(path for path in found if path.name.removeprefix(_PREFIX).isdecimal())


def append_whole(path: Path, data: bytes) -> None:
    """Append bytes to a file, which is made where it is not there.

    Raises:
        OSError: with the file's name; what was written of the bytes is taken back.
    """
    with path.open("ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]  # a disk that fills up takes a part
        except OSError as error:
            with suppress(OSError):  # the first error is the one to tell
                file.truncate(before)
            error.filename = error.filename or str(path)
            raise


def _event(row: Mapping[str, Any]) -> Event:
    values = [Summary.Value(tag=name, simple_value=value) for name, value in _numbers(row)]
    return Event(wall_time=clock.now().timestamp(), step=int(row["epoch"]), summary=Summary(value=values))


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield prefix + key, float(value)


def _records(events: Sequence[Event]) -> bytes:
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()
