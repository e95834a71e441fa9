import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datasets.class_names import default_ambiguous, foodseg103_classes

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

PROJECT = Path(__file__).resolve().parents[3]


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "preprocess_foodseg103.py"), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sise", "3"], r"^error: unknown option '--sise'; did you mean '--size'.*\(see --help\)$"),
        (["--size", "big"], r"^error: argument --size: invalid int value: 'big' \(see --help\)$"),
        (["--src", "nowhere", "--dst", "x"], r"^error: --src nowhere is not a folder; give the archive's folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments: list[str], message: str) -> None:
    done = _script(*arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr.strip()), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_makes_a_tree_and_shows_its_summary(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    done = _script(
        "--src", str(archive.root), "--dst", str(tmp_path / "tree"), "--workers=1", "--ambiguous", "pie, soup"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "train: 3 photos, 9 pairs" in done.stdout
    assert (tmp_path / "tree" / "contact_sheet.png").is_file()
    assert "ambiguous:\n- pie\n- soup\n" in (tmp_path / "tree" / "classes.yaml").read_text()


def test_the_published_classes() -> None:
    classes = foodseg103_classes()
    assert len(classes) == 103
    # Class index = id − 1, from the published class file.
    for index, name in ((0, "candy"), (51, "sauce"), (95, "French beans"), (102, "other ingredients")):
        assert classes.names[index] == name
    assert len(set(classes.supercategories.values())) == 15
    assert default_ambiguous() == ("ketchup", "chili-paste")
