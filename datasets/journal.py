"""Journals of an unfinished tree: which photos are done, so that a second run goes on where the first stopped."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from datasets.classes import folder_name
from datasets.cut_photo import CutOptions, CutPair, CutRecord, written_paths
from datasets.shards import Shard
from datasets.source_photo import SourcePhoto
from utils.errors import DataError
from utils.files import write_text
from utils.names import name_problem, shown

JOURNAL_FILE = ".journal.jsonl"
Header = dict[str, Any]
_SHARD_JOURNAL = re.compile(r"\.journal\.(\d+)-of-(\d+)\.jsonl")
_DONE: dict[str, Any] = {"done": True}
_NOT_COMPARED = ("shard", "given")


def shard_journals(folder: Path) -> dict[tuple[int, int], Path]:
    """Return the journals of shards in a folder by (number, count)."""
    found = [(path, _SHARD_JOURNAL.fullmatch(path.name)) for path in sorted(folder.glob(".journal.*.jsonl"))]
    return {(int(match[1]), int(match[2])): path for path, match in found if match is not None}


def unfinished_shards(folder: Path, count: int) -> list[int]:
    """Return the numbers of those of ``count`` shards that have not finished their part."""
    end = (json.dumps(_DONE) + "\n").encode()
    done = set()
    for (number, total), path in shard_journals(folder).items():
        with suppress(FileNotFoundError), path.open("rb") as file:  # removed where the tree is being put in place
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(end)))
            if total == count and file.read() == end:
                done.add(number)
    return [number for number in range(1, count + 1) if number not in done]


class Journal:
    """The finished photos of one archive, or of one shard of it, in one unfinished tree.

    A journal of the whole archive starts with what the journals of all shards hold, one of a shard with what an
    earlier run over the whole archive finished.

    Args:
        folder: the unfinished tree.
        header: what the tree's bytes depend on, as JSON; a journal with another header is refused.
        given: further options as they were given, in which the shards of one run must agree.
        shard: whose journal it is, or None for the whole archive.
        merges: the shard that puts its run's shards together, or None.

    Attributes:
        folder: the unfinished tree.
        shard: whose journal it is, or None.
        records: by (split, stem).

    Raises:
        DataError: where the folder holds an unfinished tree of other options or of another number of shards.
    """

    def __init__(
        self, folder: Path, header: Header, given: Header, shard: Shard | None = None, *, merges: Shard | None = None
    ) -> None:
        self.folder = folder
        self.records: dict[tuple[str, str], CutRecord] = {}
        self._path = folder / (JOURNAL_FILE if shard is None else f".journal.{shard.name}.jsonl")
        self.shard, self._group = shard, shard or merges
        self._header: Header = json.loads(json.dumps(header))
        self._given: Header = json.loads(json.dumps(given))
        self._stamps: dict[tuple[str, str], list[int | str]] = {}
        self._file: IO[str] | None = None
        self._read_all()

    def keep(self, root: Path, photos: Sequence[SourcePhoto], options: CutOptions) -> None:
        """Forget records of other photos, and those whose photo, mask, prompts or cut-outs changed; open the journal.

        Args:
            root: folder of the photos.
            photos: of the source or the shard.
            options: what decides the bytes.
        """
        found, self.records = self.records, {}
        for photo in photos:
            key = (photo.split, photo.stem)
            record = found.get(key)
            if record and self._stamps[key] == photo.stamp(root) and self._is_whole(record, options):
                self.records[key] = record
        header = self._header
        if self.shard is not None:
            header = header | {"shard": [self.shard.number, self.shard.count], "given": self._given}
        lines = [header] + [self._line(key) for key in self.records]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self._path.open("a", encoding="utf-8")

    def add(self, root: Path, photo: SourcePhoto, record: CutRecord) -> None:
        """Note a photo whose files are written."""
        key = (photo.split, photo.stem)
        self.records[key], self._stamps[key] = record, photo.stamp(root)
        self._append(self._line(key))

    def finish(self) -> None:
        """Note that no photo is missing, and close the file."""
        self._append(_DONE)
        self.close()

    def close(self) -> None:
        """Close the file; the journal stays on the disk."""
        if self._file is not None:
            self._file.close()

    def _append(self, line: dict[str, Any]) -> None:
        assert self._file is not None, "keep comes first"
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _line(self, key: tuple[str, str]) -> dict[str, Any]:
        record = self.records[key]
        fields = {**vars(record), "pairs": [vars(pair) for pair in record.pairs]}
        return {"stamp": self._stamps[key], "record": fields}

    def _read_all(self) -> None:
        shards = shard_journals(self.folder)
        others = sorted({count for _, count in shards} - {self._group.count}) if self._group else []
        if others:
            raise DataError(
                f"{self.folder} holds shards of {others[0]}; go on with --shard K/{others[0]}, or without shards "
                f"(--shard 1/1), or delete the folder to start afresh"
            )
        for path in [*shards.values(), self.folder / JOURNAL_FILE]:
            try:
                self._read(path, records=self.shard is None or path in (self._path, self.folder / JOURNAL_FILE))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DataError(f"{path} is damaged ({error}); delete {self.folder} to start afresh") from None

    def _read(self, path: Path, *, records: bool) -> None:
        if not path.exists():
            return
        with path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):  # what follows the last line end was cut short by a kill
                return
            self._compare(json.loads(first))
            if not records:
                return
            for text in file:
                line: dict[str, Any] = json.loads(text) if text.endswith(b"\n") else _DONE
                if line == _DONE:
                    continue
                record = _record(line["record"])
                key = (record.split, record.stem)
                self.records[key], self._stamps[key] = record, line["stamp"]

    def _compare(self, header: Header) -> None:
        given = header.get("given", self._given) if self._group else self._given
        header = {name: value for name, value in header.items() if name not in _NOT_COMPARED}
        # A photo that needed --mask_orientation cannot have been finished without it.
        if header["mask_orientation"] is None:
            header["mask_orientation"] = self._header["mask_orientation"]
        if header != self._header or given != self._given:
            changed = {name for name in self._header if header.get(name) != self._header[name]}
            changed |= {name for name in self._given if given.get(name) != self._given[name]}
            raise DataError(
                f"{self.folder} is an unfinished run with another {', '.join(sorted(changed))}; give the options of "
                f"that run to go on with it, or delete the folder to start afresh"
            )

    def _is_whole(self, record: CutRecord, options: CutOptions) -> bool:
        for path, size in zip(written_paths(record, options), record.file_bytes, strict=True):
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
    names = [fields["split"], fields["stem"], *(folder_name(pair["class_name"]) for pair in fields["pairs"])]
    if problem := next((f"{shown(name)} {why}" for name in names if (why := name_problem(name))), None):
        raise ValueError(problem)
    pairs = [CutPair(**{**pair, "box": tuple(pair["box"])}) for pair in fields["pairs"]]
    sizes = {name: tuple(fields[name]) for name in ("size", "content_size")}
    return CutRecord(**{**fields, **sizes, "pairs": pairs})
