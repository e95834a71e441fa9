"""compare_masks.py from the command line: all three parts on a tiny archive and tiny runs, and users' mistakes."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.mask_quality.command import compare_command
from experiments.mask_quality.options import CompareOptions
from utils.errors import run_script

LEVELS = (0.1, 0.3)


@pytest.fixture(scope="module")
def compared(tiny_runs: Path, pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of results of everything at once, and what was printed."""
    out = tmp_path_factory.mktemp("results") / "masks"
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        compare_command(
            [
                *("--src", str(pair_tree.parent / "archive"), "--split", "test", "--photos", "3"),
                *("--prompts", "box", "points2~0.1", "--segmenter.working_side", "32"),
                *("--run", str(tiny_runs / "both"), str(tiny_runs / "roi")),
                *("--trees", str(pair_tree), str(pair_tree), "--sweep", "--edits", "erode", "shift"),
                *("--levels", "0.3", "0.1", "--resamples", "200", "--device", "cpu", "--workers", "0"),
                *("--out", str(out)),
            ]
        )
    return out, "\n".join(lines)


@pytest.fixture(scope="module")
def document(compared: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((compared[0] / "results.json").read_text(encoding="utf-8"))
    return found


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_ious_of_the_csv_make_the_means(compared: tuple[Path, str], document: dict[str, Any]) -> None:
    rows, part = table(compared[0] / "iou.csv"), document["prompted"]
    assert [column["name"] for column in part["columns"]] == ["box", "filled box", "ellipse", "points2~0.1"]
    assert (part["n_photos"], part["n_pairs"], len(rows)) == (3, 6, 6)
    for column in part["columns"]:
        values = [float(row[column["name"]]) for row in rows]
        assert part["overall"][column["name"]]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    # The foods of this archive are squares that fill their boxes, one object each.
    assert part["overall"]["filled box"]["mean"] == 1
    assert part["n_objects"] == 6
    assert part["overall"]["ellipse"]["mean"] == pytest.approx(np.pi / 4, abs=0.03)
    gain = part["overall"]["box"]["over_ellipse"]["difference"]
    assert gain == pytest.approx(part["overall"]["box"]["mean"] - part["overall"]["ellipse"]["mean"])


def test_equal_trees_differ_in_nothing_and_score_as_after_training(document: dict[str, Any], tiny_runs: Path) -> None:
    part = document["trees"]
    assert part["mask_iou"]["mean"] == part["mask_iou"]["least"] == 1
    assert [(cell["trained"], cell["seeds"]) for cell in part["cells"]] == [("both", [0, 1])] * 2 + [("roi", [0])] * 2
    for name in ("top1", "macro_f1", "ambiguous_f1"):
        recorded = [
            json.loads((tiny_runs / "both" / seed / "metrics.json").read_text(encoding="utf-8"))["test"][name]
            for seed in ("seed0", "seed1")
        ]
        assert part["cells"][0]["scores"][name] == pytest.approx(np.mean(recorded))
    for comparison in part["comparisons"][:2]:
        assert comparison["question"].startswith("test masks")
        assert comparison["scores"]["top1"]["difference"] == 0
        assert comparison["mcnemar"]["grouped_p_value"] == 1


def test_the_sweep_reports_what_each_edit_left(document: dict[str, Any], compared: tuple[Path, str]) -> None:
    for entry, cell in zip(document["sweep"], document["trees"]["cells"][::2], strict=True):
        assert entry["stored"] == cell["scores"]
        names = [edit["name"] for edit in entry["edits"]]
        assert names == ["erode-0.1", "erode-0.3", "shift-0.1", "shift-0.3"]
        ious = {edit["name"]: edit["iou"]["mean"] for edit in entry["edits"]}
        assert ious["erode-0.3"] < ious["erode-0.1"] < 1
        assert ious["shift-0.3"] < ious["shift-0.1"] < 1
        for score, found in entry["slopes"].items():
            assert list(found) == ["all edits", "erode", "shift"]
            lost = np.array([entry["stored"][score] - edit["scores"][score] for edit in entry["edits"]])
            gone = np.array([1 - ious[name] for name in names])
            expected = 10 * np.linalg.lstsq(gone[:, None], lost, rcond=None)[0][0]
            assert found["all edits"]["points"] == pytest.approx(expected)
    rows = table(compared[0] / "sweep.csv")
    assert len(rows) == 2 * 5
    assert [row["edit"] for row in rows[:2]] == ["identity", "erode"]


def test_pages_hold_every_part(compared: tuple[Path, str]) -> None:
    folder, printed = compared
    made = {path.name for path in folder.iterdir()}
    pictures = {"iou.png", "iou_by_class.png", "worst.png", "two_by_two.png", "sweep.png", "edits.png"}
    assert made == pictures | {"results.json", "table.md", "report.html", "iou.csv", "trees.csv", "sweep.csv"}
    text = (folder / "table.md").read_text(encoding="utf-8")
    for heading in ("Prompted masks against annotation", "Trained runs on other masks", "Points lost per 0.1 IoU"):
        assert f"## {heading}" in text
        assert heading in printed
    assert (folder / "report.html").read_text(encoding="utf-8").count("<img") == len(pictures)
    assert len(table(folder / "trees.csv")) == 20


def test_dry_run_says_what_would_be_computed(
    tiny_runs: Path, pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    compare_command(
        ["--run", str(tiny_runs / "roi"), "--sweep", "--trees", str(pair_tree), "--out", str(out), "--dry_run"]
    )
    printed = capsys.readouterr().out
    assert "16 edits of 20 masks" in printed
    assert "17 passes" in printed
    assert not out.exists()


def test_dry_run_times_photos_and_names_a_folder_for_the_results(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --out; foods of the test photos are two objects each, asked for in one way."""
    archive = pair_tree.parent / "archive"
    monkeypatch.chdir(tmp_path)
    arguments = ["--src", str(archive), "--split", "test", "--photos", "3", "--prompts", "box", "--dry_run"]
    compare_command([*arguments, "--segmenter.working_side", "32"])
    printed = capsys.readouterr().out
    assert "3 photos with 6 objects, asked for in 1 way, took" in printed
    assert printed.endswith("results  runs/mask_comparison/archive\n")
    assert not any(tmp_path.iterdir())
    compare_command([*arguments, "--out", str(pair_tree)])
    assert "could not be written" in capsys.readouterr().out


def test_results_go_where_archive_or_runs_say(tmp_path: Path) -> None:
    folders = {
        "photos": CompareOptions(src=str(tmp_path / "photos"), run=["runs/a"], sweep=True),
        "a-b": CompareOptions(run=["runs/a", "runs/b"], trees=["x", "y"]),
        "a-seed0": CompareOptions(run=["runs/a/seed0"], sweep=True),
    }
    for name, options in folders.items():
        assert options.folder == Path("runs") / "mask_comparison" / name
    assert CompareOptions(src="photos", out="elsewhere").folder == Path("elsewhere")


MISTAKES = {
    "nothing asked": ([], "--src ARCHIVE"),
    "a run alone": (["--run", "RUN"], "--sweep"),
    "a sweep alone": (["--sweep"], "add --run"),
    "trees alone": (["--trees", "TREE"], "add --run"),
    "three runs on trees": (["--run", "RUN", "RUN2", "RUN3", "--trees", "TREE"], "one or two"),
    "three trees": (["--run", "RUN", "--trees", "TREE", "TREE", "TREE"], "--trees names 3"),
    "photos of no archive": (["--run", "RUN", "--trees", "TREE", "--photos", "3"], "add --src"),
    "a kind of prompt": (["--src", "ARCHIVE", "--prompts", "circle"], "circle is no kind of prompt; allowed: box"),
    "a kind twice": (["--src", "ARCHIVE", "--prompts", "box", "box"], "without repetition"),
    "a level of 0": (["--run", "RUN", "--sweep", "--levels", "0"], "above 0"),
    "no such split": (["--src", "ARCHIVE", "--split", "tests", "--out", "OUT"], "did you mean 'test'"),
    "no such archive": (["--src", "NOWHERE", "--out", "OUT"], "is not a folder"),
    "no such run": (["--run", "NOWHERE", "--sweep", "--out", "OUT"], "does not exist"),
    "no such tree": (["--run", "RUN", "--trees", "NOWHERE", "--out", "OUT"], "NOWHERE"),
    "a foreign folder": (["--src", "ARCHIVE", "--out", "TREE"], "no comparison filled it"),
    "weights for GrabCut": (["--src", "ARCHIVE", "--segmenter.checkpoint", "x.pth", "--out", "OUT"], "for SAM"),
    "a side for SAM": (["--src", "ARCHIVE", "--segmenter.name", "sam", "--segmenter.working_side", "99"], "GrabCut"),
    "SAM without weights": (["--src", "ARCHIVE", "--segmenter.name", "sam", "--out", "OUT"], "checkpoint"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line_and_leave_nothing(
    mistake: str,
    tiny_runs: Path,
    pair_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, expected = MISTAKES[mistake]
    places = {"ARCHIVE": pair_tree.parent / "archive", "TREE": pair_tree, "RUN": tiny_runs / "roi"}
    places |= {"OUT": tmp_path / "out", "NOWHERE": tmp_path / "NOWHERE"}
    monkeypatch.setattr(sys, "argv", ["compare_masks.py", *(str(places.get(word, word)) for word in arguments)])
    with pytest.raises(SystemExit) as stop:
        run_script(compare_command)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .+\n", error), error
    assert expected in error
    assert not any(tmp_path.iterdir())


def test_only_an_earlier_comparison_is_replaced_and_only_when_asked(
    compared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pair_tree: Path
) -> None:
    arguments = ["--src", str(pair_tree.parent / "archive"), "--out", str(compared[0])]
    monkeypatch.setattr(sys, "argv", ["compare_masks.py", *arguments])
    with pytest.raises(SystemExit):
        run_script(compare_command)
    assert "add --overwrite" in capsys.readouterr().err
