"""docs/reliability.md against its record, and the page of a small record by hand."""

import json
from pathlib import Path

import pytest

from benchmarks.reliability import PAGE, RECORD, gather, with_messages
from benchmarks.reliability_page import render, table
from utils.errors import DataError

ROOT = Path(__file__).parents[2]
LINES = [
    {"section": "kill", "phase": "training", "place": "step", "steps_lost": 0},
    {"section": "kill", "phase": "training", "place": "step", "steps_lost": 1, "bytes_lost": 1234},
    {"section": "kill", "phase": "one after the other", "place": "", "count": 4},
    {"section": "signal", "signal": "SIGTERM", "moment": "scoring", "message": "stopped by signal 15\n"},
    {"section": "equal", "case": "2 processes, kill", "message": ""},
    {"section": "message", "test": "test_bad_input::test_a[b|c]", "message": "first `one`\nsecond"},
]


def test_the_page_is_what_the_record_says() -> None:
    record = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(record), "run: python -m benchmarks.reliability --write"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """What two test processes noted."""
    for name, part in (("gw0", LINES[:2]), ("gw1", LINES[2:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    return tmp_path


def test_kills_are_counted_by_phase_with_the_most_steps_lost(notes: Path) -> None:
    page = render({"date": "2000-01-01", "machine": "a machine", "sections": gather(notes)})
    assert "| training, in mid-epoch, with a checkpoint at every step | 2 | 1 | 1,234 |" in page
    assert "| training, killed again and again until it ends | 4 | - | - |" in page
    assert "6 kills in all. 5 interrupted runs were compared" in page
    assert "| 2 processes, kill | 1 |" in page
    assert "| SIGTERM | scoring | `stopped by signal 15` |" in page
    assert "| test_a[b\\|c] | `first 'one'`<br>`second` |" in page
    assert "<summary>test_bad_input (1)</summary>" in page


def test_messages_alone_are_replaced(notes: Path) -> None:
    before = {"date": "2000-01-01", "machine": "m", "sections": {"kill": [1], "message": [2]}, "benchmarks": []}
    after = with_messages(before, notes)
    assert after["sections"]["kill"] == [1]
    assert [one["message"] for one in after["sections"]["message"]] == ["first `one`\nsecond"]


def test_no_notes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no notes of tests; make them with: make soak"):
        gather(tmp_path)


def test_a_cell_cannot_break_its_table() -> None:
    assert table(("a",), [("x|y\nz",)]) == "| a |\n|---|\n| x\\|y<br>z |\n"


def test_fuzz_and_planted_copies_have_their_tables() -> None:
    fuzz = [{"target": "masks", "cases": 1500, "accepted": 20, "seconds": 2.5}]
    copies = [{"distinct": 200, "false_alarms": 0, "found": 40, "planted": 41}]
    page = render({"date": "", "machine": "", "sections": {"fuzz": fuzz, "near duplicates": copies}})
    assert "1,500 cases in 2 seconds of one core" in page
    assert "| target | cases | accepted | seconds |\n|---|---|---|---|\n| masks | 1500 | 20 | 2.5 |" in page
    assert "| distinct | planted | found | false_alarms |\n|---|---|---|---|\n| 200 | 41 | 40 | 0 |" in page
    assert "## On a GPU\n\nNot measured." in page
