"""JSON that others wrote: a document, or one line that names the file and what is wrong."""

from pathlib import Path

import pytest

from utils.errors import ConfigError, DataError
from utils.json_file import read_json, read_json_object

DAMAGED = [
    (b"{", r"is damaged \(no JSON: Expecting property name.*\); restore it"),
    (b"", r"is damaged \(no JSON: "),
    (b"\xff\xfe{}", r"is damaged \(no UTF-8 text at byte 0\); restore it"),
    (b"[" * 100_000, r"is damaged \(nested too deeply\); restore it"),
    (b"9" * 5000, r"is damaged \(no JSON: "),
    (b"[1]", r"is damaged \(a list where entries belong\); restore it"),
    (b'"' + b"a" * 2000 + b'"', r"has more than 1,000 bytes, which is the most that is read"),
]


@pytest.mark.parametrize(("data", "message"), DAMAGED)
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=rf"^the record {path} {message}") as caught:
        read_json_object(path, "record", ConfigError, largest=1000 if b"aaa" in data else 1 << 20)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_or_not_readable_is_told(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "x.json", "does not exist"), (tmp_path, "cannot be read: Is a directory")):
        with pytest.raises(DataError, match=rf"^the file {path} {message}"):
            read_json(path)


def test_whole_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, null, "\xc3\xa9"]}\n')
    assert read_json(path) == read_json_object(path) == {"a": [1, None, "é"]}
