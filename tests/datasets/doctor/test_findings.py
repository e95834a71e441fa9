import json
from pathlib import Path

import pytest

from datasets.doctor.archive_check import shifted
from datasets.doctor.counts import class_support, pixels_at_model
from datasets.doctor.findings import CODES, Finding, accepted, check_codes, condensed, counted, exit_status, finding
from datasets.doctor.names import alike_names, hidden_files, windows_line_ends
from datasets.doctor.report import Report, publish
from utils.errors import ConfigError

ERROR, WARNING, NOTE = finding("same-photo", "a", "x", "y"), finding("tiny-roi", "b", "x"), finding("crlf", "c", "x")


@pytest.mark.parametrize(
    ("found", "status"), [([], 0), ([NOTE], 0), ([NOTE, WARNING], 1), ([WARNING, ERROR, NOTE], 2), ([ERROR], 2)]
)
def test_the_exit_status_is_that_of_the_worst(found: list[Finding], status: int) -> None:
    assert exit_status(found) == status


def test_the_worst_comes_first_and_many_become_one() -> None:
    many = [finding("empty-file", f"/{number}", "has 0 bytes", "copy it") for number in range(2000)]
    few = [finding("size-mismatch", f"/{number}", "is 1×1", "mend it") for number in range(5)]
    lines = [str(one) for one in condensed([NOTE, WARNING, *many, *few, ERROR, ERROR])]
    assert len(lines) == 1 + 5 + 1 + 1 + 1
    assert lines[0] == "error [same-photo] a: x; y"
    assert lines[1] == "error [size-mismatch] /0: is 1×1; mend it"
    assert lines[6] == "error [empty-file] 2,000 places: /0 | /1 | /2 | …: has 0 bytes; copy it"
    assert [line.partition(" ")[0] for line in lines[7:]] == ["warning", "note"]
    (together,) = condensed(many)
    assert (together.count, len(together.places)) == (2000, 1000)
    assert counted(condensed([*many, NOTE])) == "1 error, 0 warnings, 1 note"


def test_accepted_findings_are_notes_and_unknown_codes_are_refused() -> None:
    (one,) = accepted([ERROR], check_codes(["same-photo"], "--accept"))
    assert str(one) == "note [same-photo] a: accepted: x; y"
    with pytest.raises(
        ConfigError, match=r"^--accept: no finding has the code 'same-foto'; did you mean 'same-photo'\?"
    ):
        check_codes(["same-foto"], "--accept")


def test_findings_are_said_and_written_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    lines: list[str] = []
    assert publish([Report(folder, "pairs", "3 pairs", [NOTE, ERROR])], lines.append) == 2
    assert lines == [
        "error [same-photo] a: x; y",
        "note [crlf] c: x",
        f"1 error, 0 warnings, 1 note (3 pairs in {folder})",
    ]
    document = json.loads((tmp_path / "data.doctor.json").read_text())
    assert document["status"] == 2
    assert [one["code"] for one in document["checked"][0]["findings"]] == ["same-photo", "crlf"]
    assert not list(folder.iterdir())
    report = Report(folder, "pairs", "3 pairs", [])
    assert publish([report], lines.append, json_file=tmp_path / "other.json") == 0
    assert json.loads((tmp_path / "other.json").read_text())["status"] == 0
    with pytest.raises(
        ConfigError, match=r"^--json .*none/other\.json cannot be written \(No such file or directory\)"
    ):
        publish([report], lines.append, json_file=tmp_path / "none" / "other.json")


def test_no_place_for_the_json_is_said_and_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "data.doctor.json").mkdir()  # root may write anywhere, but nobody replaces a folder by a file
    lines: list[str] = []
    assert publish([Report(folder, "pairs", "3 pairs", [])], lines.append) == 0
    assert lines[0].startswith(f"{tmp_path / 'data.doctor.json'} cannot be written (")
    assert lines[0].endswith("); doctor.py --json FILE writes the findings elsewhere")


@pytest.mark.parametrize(
    ("known", "found", "way"),
    [
        ({1, 2, 3}, {0, 1, 2, 3}, 0),
        ({1, 2, 3}, {1, 2, 3}, 0),  # no background is nothing wrong
        ({1, 2, 3}, {1, 2, 3, 4}, 1),  # 1 is the background, 4 the third class
        ({1, 2, 3}, {1, 2, 4}, 1),
        ({1, 2, 3}, {0, 1, 2, 4}, 0),  # an unknown id, but 0 is there
        ({1, 2, 3}, {0, 1, 2}, -1),  # every class one too low, and nothing for the last
        ({1, 2, 3}, {0, 1, 2, 255}, -1),
        ({1, 2, 3}, {0, 1}, 0),  # too little to tell
        ({1, 2, 5}, {0, 4}, -1),  # 4 is no id, 5 - 1 is
        ({1}, {0}, 0),
        ({1, 2}, set(), 0),
    ],
)
def test_shifted_ids(known: set[int], found: set[int], way: int) -> None:
    assert shifted(known, found) == way


def test_support_of_classes_by_hand() -> None:
    counts = {"train": {"bun": 9, "egg": 3, "pea": 2}, "test": {"bun": 5, "egg": 4, "tea": 7}}
    lines = [str(one) for one in class_support(counts, ["bun", "egg", "pea", "tea"], "data")]
    assert lines == [
        "note [class-support] data: test has 16 pairs of 3 of 4 classes: least 4 (egg), most 7 (tea)",
        "note [class-support] data: train has 14 pairs of 3 of 4 classes: least 2 (pea), most 9 (bun)",
        "error [untrained-class] data, class 'tea': has no pair in train, but 7 to test; add photos to train, take it "
        "out of the class file, or leave it out with data.exclude",
        "warning [untested-class] data: 1 class is trained on and never tested: pea; add photos to test; a score of so "
        "few says little, and macro-F1 counts every class alike",
        "warning [few-pairs] data: 1 class is tested with fewer than 5 pairs: egg (4); add photos to test; a score of "
        "so few says little, and macro-F1 counts every class alike",
    ]


def test_pixels_at_the_size_of_a_model() -> None:
    assert pixels_at_model(400, 448, 100) == pytest.approx(100)  # halved in both directions
    assert pixels_at_model(100, 112, 50) == pytest.approx(400)


def test_names_that_are_easily_confused(tmp_path: Path) -> None:
    (one,) = alike_names("x", ["Egg", "egg ", "bun"], "photos")
    assert one.what == "the photos 'Egg' and 'egg ' differ by blanks or case alone"
    for name in ("a/.ipynb_checkpoints/x", "__MACOSX/y", "a/._b.jpg", "a/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (one,) = hidden_files(tmp_path)
    assert one.places == ("__MACOSX", "a/._b.jpg", "a/.ipynb_checkpoints")
    (tmp_path / "list.txt").write_bytes(b"a\r\nb\r\n")
    (one,) = windows_line_ends([tmp_path / "list.txt", tmp_path / "a" / "b.jpg", tmp_path / "none.txt"])
    assert one.where == str(tmp_path / "list.txt")


def test_every_code_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
    for code, (severity, meaning) in CODES.items():
        assert f"| `{code}` | {severity} | {meaning} |" in text
