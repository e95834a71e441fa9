import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils.files import link_or_copy, replace_by_link, sweep, whole_folder, write_text
from utils.locks import FileLock

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "old.txt").write_text("good")
    return folder


def test_a_folder_appears_whole_and_replaces_the_old_one(old: Path) -> None:
    with whole_folder(old) as folder:
        (folder / "new.txt").write_text("better")
        assert names(old) == ["old.txt"]
    assert names(old) == ["new.txt"]
    assert names(old.parent) == ["results"]


def test_after_an_error_the_old_folder_is_as_it_was(old: Path) -> None:
    with pytest.raises(IsADirectoryError), whole_folder(old) as folder:
        folder.write_text("half")
    assert (old / "old.txt").read_text() == "good"
    assert names(old.parent) == ["results"]


def test_a_failed_rename_brings_the_old_folder_back(old: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(old) as folder:
        folder.rmdir()
    assert names(old) == ["old.txt"]
    assert names(old.parent) == ["results"]


def test_a_folder_may_be_missing_or_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with whole_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").touch()
    monkeypatch.chdir(tmp_path / "a" / "b")
    with whole_folder(Path()) as folder:
        (folder / "y").touch()
    assert names(tmp_path / "a" / "b") == ["y"]


KILLED = """
import os, signal, sys
from pathlib import Path
from utils.files import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half.txt").write_text("half")
    if sys.argv[2] == "replacing":
        real = Path.replace
        def replace(self, target):
            done = real(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
            return done
        Path.replace = replace
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["filling", "replacing"])
def test_what_a_killed_process_left_is_cleared_by_the_next(old: Path, moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(old), moment], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(old.parent)) > 1 or moment == "replacing"
    assert old.exists() == (moment == "filling")
    with whole_folder(old) as folder:
        assert names(old) == ["old.txt"], "the old folder is back before anything else happens"
        (folder / "new.txt").touch()
    assert names(old) == ["new.txt"]
    assert names(old.parent) == ["results"]


def test_the_folder_that_a_living_process_fills_is_left_alone(old: Path) -> None:
    with FileLock(old.parent / ".results.1.lock") as lock:
        assert lock.take()
        (old.parent / ".results.1.unfinished").mkdir()
        with whole_folder(old) as folder:
            (folder / "mine").touch()
        assert names(old.parent) == [".results.1.lock", ".results.1.unfinished", "results"]


def test_a_second_name_is_no_second_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "a.bin", tmp_path / "b.bin"
    source.write_bytes(b"weights")
    target.write_bytes(b"older")
    replace_by_link(source, target)
    assert target.read_bytes() == b"weights"
    assert source.samefile(target)
    write_text(source, "newer")
    assert target.read_bytes() == b"weights", "a file that is written anew takes no other along"


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.bin").write_bytes(b"weights")
    link_or_copy(tmp_path / "a.bin", tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"weights"


def test_only_temporary_files_are_swept(tmp_path: Path) -> None:
    kept = [".config.tmp.yaml", ".hidden", "model.safetensors", ".x.12.tmpl", "a.12.tmp.yaml"]
    for name in [*kept, ".config.123.tmp.yaml", ".predictions.9.tmp"]:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == sorted(kept)
