"""A disk that is full, and folders that cannot be written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Event, Task
    from tests.server import Ended

TASKS = ("training", "evaluation", "preprocessing")


def written(task: "Task") -> list[str]:
    """Return the names of files that a task writes, in the order of their sizes."""
    files = [path for path in task.reference.rglob("*") if path.is_file() and path.stat().st_size > 0]
    return [str(path.relative_to(task.reference)) for path in sorted(files, key=lambda path: path.stat().st_size)]


def assert_one_line(ended: "Ended", *words: str) -> None:
    """Check that a user reads one line, and status 2."""
    assert ended.status == 2, ended.err
    assert re.fullmatch(r"(error: .*)\n", ended.err), ended.err
    for word in words:
        assert word in ended.err


@pytest.mark.parametrize("which", TASKS)
@pytest.mark.points(4)
def test_no_file_may_be_larger(
    request: pytest.FixtureRequest, tmp_path: Path, record_fact: Callable[..., None], which: str, number: int
) -> None:
    """The system itself refuses to write beyond some bytes: one less than one of the files has."""
    task: Task = request.getfixturevalue(which)
    names = written(task)
    name = names[-1 - (number * 7) % len(names)]
    size = (task.reference / name).stat().st_size - 1
    ended = task.run(tmp_path / "out", {"largest_file": size})
    again = ("run the same command again",) if which == "preprocessing" else ()
    assert_one_line(ended, "File too large", *again)
    task.assert_same_end(tmp_path / "out")
    record_fact("disk", task=which, fault=f"no room for {Path(name).name}", message=ended.err)


@pytest.mark.parametrize("which", TASKS)
@pytest.mark.points(4)
def test_no_space_is_left(
    request: pytest.FixtureRequest, tmp_path: Path, record_fact: Callable[..., None], which: str, number: int
) -> None:
    """Opening or flushing one of the files fails, and all later ones do."""
    task: Task = request.getfixturevalue(which)

    def wanted(event: "Event") -> bool:
        return event[0] in ("open", "fsync")

    fault = task.choose(number, wanted) | {"action": {"do": "full"}}
    name = Path(task.events[fault["n"] - 1][1]).name
    ended = task.run(tmp_path / "out", fault)
    assert_one_line(ended)
    assert re.search("[Nn]o space", ended.err), ended.err
    task.assert_same_end(tmp_path / "out")
    record_fact(
        "disk", task=which, fault="no space left at " + re.sub(r"^[.]|[.][0-9]+[.]tmp", "", name), message=ended.err
    )


@pytest.mark.parametrize("which", TASKS)
def test_a_folder_that_may_not_be_written(
    request: pytest.FixtureRequest, tmp_path: Path, record_fact: Callable[..., None], which: str
) -> None:
    task: Task = request.getfixturevalue(which)
    fault: dict[str, Any] = {"kinds": ["open"], "n": 1, "action": {"do": "refuse", "error": "EROFS"}}
    ended = task.run(tmp_path / "out", fault)
    assert_one_line(ended, "Read-only file system")
    task.assert_same_end(tmp_path / "out")
    record_fact("disk", task=which, fault="read-only folder", message=ended.err)


@pytest.mark.parametrize("which", ["training", "evaluation"])
def test_data_are_never_written(request: pytest.FixtureRequest, pair_tree: Path, which: str) -> None:
    """So that they may be read-only."""
    task: Task = request.getfixturevalue(which)
    kinds = {kind for kind, path in task.elsewhere if path.startswith(str(pair_tree))}
    assert kinds == {"read"}
