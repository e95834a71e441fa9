from pathlib import Path

import pytest

from utils.files import whole_folder


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
