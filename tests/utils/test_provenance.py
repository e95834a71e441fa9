"""What a run records of its code, command and machine."""

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from utils import clock
from utils.provenance import (
    PACKAGES,
    continued,
    describe_code,
    describe_environment,
    describe_files,
    without_secrets,
)


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "code.py").write_text("one = 1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "--quiet", "-m", "First")
    describe_code.cache_clear()
    return folder


def test_the_commit_and_whether_tracked_files_differ_from_it(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "note.txt").write_text("not tracked")
    clean = describe_code(repository)
    assert clean == {"commit": commit, "dirty": False, "changed_files": 0, "diff_sha256": None, "reason": None}
    (repository / "code.py").write_text("one = 2\n")
    assert describe_code(repository) is clean  # the code that this process runs was read at its start
    describe_code.cache_clear()
    difference = subprocess.run(["git", "-C", str(repository), "diff", "HEAD"], check=True, capture_output=True).stdout
    assert describe_code(repository) == {
        "commit": commit,
        "dirty": True,
        "changed_files": 1,
        "diff_sha256": hashlib.sha256(difference).hexdigest(),
        "reason": None,
    }


def test_a_folder_inside_another_repository_has_no_commit(repository: Path) -> None:
    (repository / "part").mkdir()
    found = describe_code(repository / "part")
    assert found["commit"] is None
    assert found["dirty"] is None
    assert found["reason"].endswith("part has no git repository of its own")


def test_where_nothing_can_be_said_of_the_code_the_reason_is_there(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    assert "not a git repository" in describe_code(tmp_path / "unpacked")["reason"]

    def slow(command: list[str], **_options: object) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", slow)
    assert describe_code(repository)["reason"] == "git did not answer within 10 seconds"
    describe_code.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_code(repository)["reason"] == "git is not installed"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--wandb.api_key=abc", "--data.root", "x"], ["--wandb.api_key=***", "--data.root", "x"]),
        (["--token", "abc", "--seed", "1"], ["--token", "***", "--seed", "1"]),
        (["--hub.password", "-abc"], ["--hub.password", "***"]),
        (["--logger", '{"secret": "a b", "dir": "x"}'], ["--logger", '{"secret": ***, "dir": "x"}']),
        (["--data.root=https://me:pw@host/x"], ["--data.root=https://***@host/x"]),
        (["--data.root=https://me:p@ss@host/a@b"], ["--data.root=https://***@host/a@b"]),
        (["https://host/x?who=a@b&sig=ab%2Fc"], ["https://host/x?who=a@b&sig=***"]),
        (["https://s3/x?X-Amz-Signature=0a1b"], ["https://s3/x?X-Amz-Signature=***"]),
        (["--signature", "abc"], ["--signature", "***"]),
        (["--header", "Authorization: Bearer a.b c"], ["--header", "Authorization: ***"]),
        (
            ["--header", '{"authorization": "Basic a\\"b", "dir": "x"}'],
            ["--header", '{"authorization": ***, "dir": "x"}'],
        ),
        (["-HProxy-Authorization:Digest a=1, b=2"], ["-HProxy-Authorization:***"]),
        (["--design", "a", "--config=x"], ["--design", "a", "--config=x"]),
        (["--note", "uses hf_abcdefghijklmnopqrstuv"], ["--note", "uses ***"]),
        (["--token", "--run.dir", "x"], ["--token", "--run.dir", "x"]),
        (["--monkey", "a", "--data.keys", "b", "--tokens=3"], ["--monkey", "a", "--data.keys", "b", "--tokens=3"]),
    ],
)
def test_secrets_on_the_command_line_are_masked(arguments: list[str], shown: list[str]) -> None:
    assert without_secrets(arguments) == shown


def test_environment_tells_all_direct_dependencies_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "value-of-the-environment")
    monkeypatch.setattr(sys, "argv", ["train_RveRNet.py", "--wandb_key", "value-of-the-option"])
    document = describe_environment("train_RveRNet.py", "cpu", seeds=[3], data={"test": {}}, weights={"roi": {}})
    text = json.dumps(document)
    assert "value-of" not in text
    requirements = (Path(__file__).parents[2] / "requirements.txt").read_text()
    assert set(document["parts"][0]["versions"]) == set(re.findall(r"^([\w-]+)>=", requirements, re.MULTILINE))
    assert set(document) == {"script", "seeds", "data", "weights", "parts"}
    assert document["seeds"] == [3]
    assert "torch" in PACKAGES


def test_a_continued_run_tells_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([datetime(2024, 5, 2, 8, 0, tzinfo=UTC), datetime(2024, 5, 1, 8, 0, tzinfo=UTC)])
    monkeypatch.setattr(clock, "now", lambda: next(times))
    first = describe_environment("train_RveRNet.py", "cpu")
    later = continued(first, "cpu", step=40)
    assert [part["step"] for part in later["parts"]] == [0, 40]
    # The clock may have gone back in between; it is recorded as it was.
    assert [part["started"] for part in later["parts"]] == ["2024-05-02T08:00:00+00:00", "2024-05-01T08:00:00+00:00"]
    assert first["parts"] == later["parts"][:1]


def test_files_are_described_by_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    # The hash of "abc" is the first example of FIPS 180-2.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert describe_files(tmp_path, ["a.txt"]) == {"a.txt": {"sha256": digest, "bytes": 3}}
