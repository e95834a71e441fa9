"""All of it on a small tree: files, keys, and what is said where something cannot be had."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.index import PairIndex
from experiments.analysis.write import FILES, NO_VALIDATION, write_analysis
from utils.errors import RunError

GROUPED = ("ece", "ece_equal_mass", "aurc", "coverage_at_5_percent_risk", "coverage_at_10_percent_risk")
BY_SUPERCATEGORY = ("supercategory_top1", "supercategory_top1_summed", "supercategory_macro_f1")


@pytest.fixture(scope="module")
def index(pair_tree: Path) -> PairIndex:
    """The test pairs of three foods, two of them fruit."""
    index = PairIndex.from_tree(pair_tree, "test")
    groups = {"tomato": "fruit", "spinach": "leaf", "blueberry": "fruit"}
    return replace(index, classes=replace(index.classes, supercategories=groups))


def noisy(labels: np.ndarray, classes: int = 3, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(labels.size, classes)).astype(np.float32)
    logits[np.arange(labels.size), labels] += 1
    return 2 * logits


@pytest.fixture(scope="module")
def written(index: PairIndex, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and summary of one analysis; the temperature is fitted on 300 labels of their own."""
    folder = tmp_path_factory.mktemp("runs") / "run" / "analysis"
    labels = np.arange(300) % 3
    validation = labels, noisy(labels, seed=1)
    return folder, write_analysis(folder, index, noisy(index.label), validation=validation, resamples=50)


def test_everything_is_written_and_summarised(index: PairIndex, written: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = written
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["files"] == list(FILES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in (*GROUPED, *BY_SUPERCATEGORY, "ece_calibrated"):
        low, high = summary[f"{name}_ci"]
        assert 0 <= low <= summary[name] <= high <= 1, name
    hits = noisy(index.label).argmax(axis=1) == index.label
    assert summary["aurc_random"] == pytest.approx(1 - hits.mean())
    assert summary["aurc_ideal"] <= summary["aurc"] <= summary["aurc_random"]
    # Logits were doubled after their labels were drawn from something flatter.
    assert summary["temperature"] > 1.2
    assert summary["nll_calibrated"] < summary["nll"]
    assert summary["calibration_note"] == "fitted on 300 validation pairs"
    assert sum(row["pairs"] for row in summary["top_confusions"]) == (~hits).sum()
    for name in FILES:
        if name.endswith(".png"):
            with Image.open(folder / name) as image:
                image.verify()


def test_tables_hold_what_the_summary_says(index: PairIndex, written: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = written

    def table(name: str) -> list[dict[str, str]]:
        with (folder / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    confusions = table("confusion_pairs")
    assert [(row["truth"], row["prediction"], int(row["pairs"])) for row in confusions] == [
        (row["truth"], row["prediction"], row["pairs"]) for row in summary["top_confusions"]
    ]
    assert sum(int(row["support"]) for row in table("per_class")) == len(index)
    curve = table("risk_coverage")
    assert float(curve[-1]["coverage"]) == 1
    assert float(curve[-1]["risk"]) == pytest.approx(summary["aurc_random"], abs=1e-6)
    for name, key in (("as trained", "ece"), ("temperature scaled", "ece_calibrated")):
        bins = [row for row in table("calibration") if row["probabilities"] == name and row["accuracy"]]
        gaps = [int(row["pairs"]) * abs(float(row["accuracy"]) - float(row["mean_confidence"])) for row in bins]
        assert sum(int(row["pairs"]) for row in bins) == len(index)
        assert sum(gaps) / len(index) == pytest.approx(summary[key], abs=1e-5)
    assert [row["supercategory"] for row in table("supercategories")] == ["fruit", "leaf"]
    text = (folder / "analysis.md").read_text()
    assert f"A temperature of {summary['temperature']:.3f} (fitted on 300 validation pairs)" in text
    assert "one of 2 super-categories with top-1 " in text


def test_what_cannot_be_had_is_said(pair_tree: Path, tmp_path: Path) -> None:
    """No validation, no super-categories, a single group, nothing wrong; files of an earlier analysis go."""
    index = PairIndex.from_tree(pair_tree, "test")
    index = replace(index, group=np.zeros_like(index.group))
    (tmp_path / "confidently_wrong.png").write_bytes(b"of an earlier analysis")
    summary = write_analysis(tmp_path, index, 9 * np.eye(3)[index.label], validation=None, resamples=20)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert {summary[f"{name}_ci"] for name in GROUPED} == {None}
    assert (summary["temperature"], summary["calibration_note"]) == (None, NO_VALIDATION)
    assert {summary[name] for name in BY_SUPERCATEGORY} == {None}
    assert summary["supercategory_note"].startswith("not computed: the classes have no super-categories")
    assert (summary["top_confusions"], summary["aurc"], summary["coverage_at_5_percent_risk"]) == ([], 0, 1)
    missing = {"confidently_wrong.png", "supercategories.csv"}
    assert set(summary["files"]) == set(FILES) - missing
    assert not any((tmp_path / name).exists() for name in missing)
    text = (tmp_path / "analysis.md").read_text()
    assert f"Temperature: {NO_VALIDATION}." in text
    for sentence in ("No prediction is wrong.", "There is none: every prediction is right.", "Not computed: the"):
        assert sentence in text
    header = (tmp_path / "confusion_pairs.csv").read_text()
    assert header == "truth,prediction,pairs,share_of_truth,groups\n"


def test_diverged_predictions_are_refused_before_any_file(index: PairIndex, tmp_path: Path) -> None:
    logits = noisy(index.label)
    logits[3, 1] = np.nan
    with pytest.raises(RunError, match=r"1 of 20 pairs are not numbers \(first: row 3\)"):
        write_analysis(tmp_path / "analysis", index, logits, validation=None, resamples=5)
    assert not (tmp_path / "analysis").exists()
