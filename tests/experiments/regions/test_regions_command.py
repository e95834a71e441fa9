"""compare_regions.py and study_grey_size.py from end to end on a tiny tree."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.regions.command import regions_command
from experiments.regions.grey_command import grey_command

FAST = ["--resamples", "100", "--timing_rounds", "0"]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(pair_tree: Path, recipes: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("regions") / "out"
    argv = ["--data.root", str(pair_tree), "--out", str(out), "--seeds", "0,1", "--question", "every"]
    argv += ["--models", "roi", "salience", *recipes, "--resamples", "100", "--timing_rounds", "1"]
    regions_command(argv)
    return out, argv


def test_a_comparison_leaves_runs_tables_plot_and_page(compared: tuple[Path, list[str]]) -> None:
    out, _ = compared
    document = json.loads((out / "results.json").read_text())
    (part,) = document["questions"]
    assert [entry["name"] for entry in part["models"]] == ["roi only", "salience on the photo"]
    # Two foods on each of 10 photos: half of the pairs are right at most without the mask.
    assert (part["n_pairs"], part["n_photos"], part["best_reachable_top1"]) == (20, 10, 0.5)
    metrics = [json.loads((out / f"runs/every/roi/seed{seed}/metrics.json").read_text()) for seed in (0, 1)]
    mean = sum(one["test"]["top1"] for one in metrics) / 2
    rows = read_csv(out / "comparison.csv")
    assert float(rows[0]["top1"]) == pytest.approx(mean, abs=1e-12)
    assert int(rows[0]["parameters"]) == metrics[0]["parameters"]["total"]
    assert all(float(row["evaluation_ms"]) > 0 for row in rows[:2])
    assert [row["models"] for row in read_csv(out / "differences.csv")] == ["salience on the photo less roi only"]
    assert all(seed["top1"] <= 0.5 for seed in part["models"][1]["scores"]["by_seed"])  # it sees the photo alone
    assert (out / "comparison.png").stat().st_size > 5_000
    assert "most that a model" not in (out / "table.md").read_text()
    page = (out / "report.html").read_text()
    assert "oracle/top1" in page
    assert "knows the pair&#x27;s class" in page or "knows the pair's class" in page
    assert "inside the times of salience" in page
    assert "JPEG" not in page


def test_repeating_the_command_takes_finished_runs_and_trains_what_is_missing(
    compared: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, argv = compared
    before = read_csv(out / "differences.csv")
    shutil.rmtree(out / "runs" / "every" / "salience" / "seed1")
    regions_command(argv)
    said = capsys.readouterr().out
    assert said.count("finished already") == 3
    assert "run 4 of 4: salience on the photo, seed 1\n" in said
    assert read_csv(out / "differences.csv") == before


def test_the_largest_region_is_asked_about_once_for_each_photo(
    pair_tree: Path, recipes: list[str], tmp_path: Path
) -> None:
    argv = ["--data.root", str(pair_tree), "--out", str(tmp_path / "out"), "--seeds", "3", "--question", "largest"]
    regions_command([*argv, "--largest_epochs", "2", "--models", "rvernet", "pim", *recipes, *FAST])
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    (part,) = document["questions"]
    assert (part["n_pairs"], part["n_photos"], part["best_reachable_top1"], part["epochs"]) == (10, 10, 1.0, 2)
    assert [entry["cost"]["evaluation_ms"] for entry in part["models"]] == [None, None]
    assert (tmp_path / "out" / "runs" / "largest" / "pim" / "seed3" / "metrics.json").is_file()
    how = (tmp_path / "out" / "table.md").read_text()
    assert "PIM on the photo is trained with model.dropout 0.1, a head of one linear layer." in how


def test_the_study_of_the_grey_copy(pair_tree: Path, grey_recipes: list[str], tmp_path: Path) -> None:
    out = tmp_path / "grey"
    grey_command(
        ["--data.root", str(pair_tree), "--out", str(out), "--grey", "12", "--seeds", "0", *grey_recipes, *FAST]
    )
    document: dict[str, Any] = json.loads((out / "results.json").read_text())
    assert [entry["grey"] for entry in document["models"]] == [12, None, None]
    # Two convolutions of 4 channels: 12 -> 5 -> 2 positions a side, one weight for each of 4 channels.
    convolutions = (9 * 4 + 4) + 8 + (9 * 16 + 4) + 8
    parameters = [entry["selector"]["parameters"] for entry in document["models"]]
    assert parameters == [convolutions + 4 * 4 + 1, 0, 0]
    # A multiplication and an addition for each weight and position, for six views.
    small = 6 * 2 * (9 * 4 * 25 + 9 * 16 * 4 + 16)
    assert document["models"][0]["selector"]["operations"] == small
    shares = read_csv(out / "shares.csv")
    assert sum(float(value) for key, value in shares[0].items() if key.endswith("/share")) == pytest.approx(1, abs=1e-4)
    rows = read_csv(out / "grey_size.csv")
    assert float(rows[0]["oracle/top1"]) >= float(rows[0]["top1"])
    assert (out / "grey_size.png").stat().st_size > 5_000
    assert (out / "report.html").is_file()
