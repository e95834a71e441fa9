import csv
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import explain
from datasets.index import PairIndex
from experiments.explanation.command import explain_command
from utils.errors import ConfigError, DataError, UserError, run_script


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "explanations.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_gallery_of_two_runs(two_view_run: Path, one_view_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["--run", str(one_view_run), str(two_view_run), "--select", "all", "--out", str(out), "--batch_size", "7"]
    summary = explain_command(argv)
    rows = rows_of(out)
    assert len(rows) == 40
    assert [row["run"] for row in rows[:2]] == ["roi", "both"]
    for row in rows:
        if row["run"] == "roi":
            assert row["evidence_extra_roi"] == row["evidence_share_roi"] == ""
        else:
            roi, extra_roi = float(row["evidence_roi"]), float(row["evidence_extra_roi"])
            assert float(row["evidence_share_roi"]) == pytest.approx(roi / (roi + extra_roi), abs=1e-4)
        assert (out / row["sheet"]).is_file()
        assert float(row["bars_area_roi"]) == 0.25  # 48×36 pixels in a square
        assert row["correct"] == str(int(row["prediction"] == row["class"]))
    sheets = sorted((out / "sheets").iterdir())
    assert [path.name for path in sheets] == ["0001.png", "0002.png", "0003.png", "0004.png"]
    with Image.open(sheets[0]) as picture:
        assert len(set(picture.convert("L").tobytes())) > 100
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["runs"]["both"]["layers"]["roi"]["prefix_tokens"] == 1
    assert summary["n_pairs"] == 20
    assert summary["runs"]["both"]["map_departure"]["roi"] > 0.1  # a class token
    assert summary["runs"]["both"]["map_departure"]["extra_roi"] < 1e-4
    named = [line for line in summary["notes"] if "where, not how much" in line]
    assert [line.partition(" (layer")[0] for line in named] == [
        "roi: the maps of roi",
        "both: the maps of roi",
    ]
    assert "sum_i max(0, f_i dy/df_i)" in summary["definitions"]["evidence"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("sheets/0003.png") == 3
    assert "base64" not in page
    assert "Σ max(0, f_i ∂y/∂f_i)" in page


def test_shares_do_not_depend_on_cells_and_method(two_view_run: Path, tmp_path: Path) -> None:
    tables = []
    for number, options in enumerate(([], ["--least_cells", "2"], ["--method", "eigencam"])):
        out = tmp_path / str(number)
        argv = ["--run", str(two_view_run), "--select", "first", "--count", "2", "--out", str(out), *options]
        explain_command(argv)
        tables.append(rows_of(out))
    for first, *rest in zip(*tables, strict=True):
        for other in rest:
            assert other["map_sum_extra_roi"] != first["map_sum_extra_roi"]
            for name in (
                "contribution_roi",
                "contribution_extra_roi",
                "evidence_share_roi",
                "evidence_share_extra_roi",
            ):
                assert float(other[name]) == pytest.approx(float(first[name]), rel=1e-3, abs=1e-6)


def test_results_do_not_depend_on_the_batch(two_view_run: Path, tmp_path: Path) -> None:
    tables = []
    for size in ("1", "16"):
        out = tmp_path / size
        explain_command(
            ["--run", str(two_view_run), "--select", "first", "--count", "5", "--out", str(out), "--batch_size", size]
        )
        tables.append(rows_of(out))
    for one, other in zip(*tables, strict=True):
        assert one["target"] == other["target"]
        assert float(one["evidence_roi"]) == pytest.approx(float(other["evidence_roi"]), rel=1e-3, abs=1e-6)
        for name in ("control_heat_extra_roi", "control_area_extra_roi"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-5)


def test_disagreement_shows_both_directions_with_their_counts(
    one_view_run: Path, two_view_run: Path, test_index: PairIndex, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    argv = ["--run", str(one_view_run), "--run", str(two_view_run), "--select", "disagree", "--out", str(out)]
    summary = explain_command(argv)
    assert summary["sections"] == [
        {"title": "roi is right and both wrong on 2 of 20 pairs", "pairs": 2},
        {"title": "both is right and roi wrong on 3 of 20 pairs", "pairs": 3},
    ]
    assert summary["notes"][2].startswith("McNemar's exact test")
    stems = [row["stem"] for row in rows_of(out)[::2]]
    assert stems == [test_index.stems[row] for row in (0, 1, 17, 18, 19)]
    assert len(list((out / "sheets").iterdir())) == 2


def test_most_confident_mistakes_come_first(one_view_run: Path, test_index: PairIndex, tmp_path: Path) -> None:
    argv = ["--run", str(one_view_run), "--select", "confidently_wrong", "--count", "2", "--out", str(tmp_path / "out")]
    summary = explain_command(argv)
    assert summary["sections"][0]["title"] == "roi is wrong on 3 of 20 pairs; the most confident first"
    assert rows_of(tmp_path / "out")[0]["stem"] == test_index.stems[19]


def test_keys_classes_and_truth(two_view_run: Path, test_index: PairIndex, tmp_path: Path) -> None:
    key = test_index.draw_key(4)
    run = ["--run", str(two_view_run), "--target", "truth", "--per_sheet", "1"]
    explain_command([*run, "--keys", key, "--out", str(tmp_path / "a")])
    (row,) = rows_of(tmp_path / "a")
    assert "/".join(row[name] for name in ("split", "class", "stem")) == key
    assert row["target"] == row["class"]
    assert row["sheet"] == f"sheets/0001_{row['class']}_{row['stem']}.png"
    explain_command([*run, "--classes", "spinach", "--count", "3", "--out", str(tmp_path / "b")])
    assert {row["class"] for row in rows_of(tmp_path / "b")} == {"spinach"}


def test_default_folder_and_overwriting(two_view_run: Path) -> None:
    argv = ["--run", str(two_view_run), "--select", "first", "--count", "7"]
    explain_command(argv)
    out = two_view_run / "explanations"
    with pytest.raises(ConfigError, match=r"explanations holds earlier explanations; add --overwrite"):
        explain_command(argv)
    explain_command([*argv[:-1], "2", "--overwrite"])
    assert [path.name for path in (out / "sheets").iterdir()] == ["0001.png"]
    (out / "sheets" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"holds what no explanation wrote \(sheets/mine.txt\)"):
        explain_command([*argv, "--overwrite"])
    (out / "mine.txt").write_text("x")
    (out / "sheets" / "mine.txt").unlink()
    with pytest.raises(ConfigError, match=r"holds what no explanation wrote \(mine.txt\)"):
        explain_command([*argv, "--overwrite"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "gradcan"], r"--method gradcan is not known; did you mean 'gradcam'"),
        (["--classes", "spinash"], r"--classes spinash: .* has no such class; did you mean 'spinach'\?"),
        (["--keys", "test/spinach/photo_9"], r"--keys test/spinach/photo_9: .* has no such pair; did you mean"),
        (["--keys", "train/spinach/photo_000"], r"keys of this split start with 'test/', such as test/tomato/"),
        (["--keys", "test/a/b", "--classes", "spinach"], r"leave out --classes"),
        (["--select", "disagree"], r"--select disagree compares two runs, but --run names 1"),
        (["--data.split", "tset"], r"tset"),
        (["--count", "0"], r"count is 0; it must be at least 1"),
        (["--least_cells", "20"], r"of at least 20×20 cells for pictures of 32×32 px"),
        (["--device", "tpu"], r"device"),
    ],
)
def test_bad_options(two_view_run: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain_command(["--run", str(two_view_run), "--out", str(tmp_path / "out"), *options])
    assert list(tmp_path.iterdir()) == []


def test_after_an_error_the_corrected_command_works_and_old_explanations_stay(
    two_view_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    argv = ["--run", str(two_view_run), "--select", "first", "--count", "2", "--out", str(out)]
    with pytest.raises(ConfigError, match="20×20 cells"):
        explain_command([*argv, "--least_cells", "20"])
    explain_command(argv)
    before = {path.name: path.read_bytes() for path in out.rglob("*.*")}
    with pytest.raises(ConfigError, match="20×20 cells"):
        explain_command([*argv, "--least_cells", "20", "--overwrite"])
    with monkeypatch.context() as patch:
        patch.setattr("experiments.explanation.gallery.write_page", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            explain_command([*argv, "--overwrite"])
    assert {path.name: path.read_bytes() for path in out.rglob("*.*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_mistake_to_show(two_view_run: Path, tmp_path: Path) -> None:
    argv = ["--run", str(two_view_run), "--select", "wrong", "--classes", "spinach", "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match=r"both gets all \d+ pairs right; there is no mistake to show"):
        explain_command(argv)


def test_script_prints_one_line_for_a_users_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["explain.py", "--run", "nowhere"])
    with pytest.raises(SystemExit) as stop:
        run_script(explain.main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --run nowhere does not exist\n"
