"""What a model measures of its pairs: means with intervals, the files of a run, and what is printed."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from experiments.measures import (
    measures_notes,
    measures_table,
    measures_with_intervals,
    read_measures,
    save_measures,
)
from experiments.outcome import confusion_csv
from experiments.statistics import grouped_intervals
from tests.experiments.measured_model import OPTIONS
from utils.errors import DataError, RunError


def test_the_interval_of_being_right_is_that_of_top1(measured_run: Path) -> None:
    """The same groups are drawn for measures as for scores."""
    metrics = json.loads((measured_run / "metrics.json").read_text())
    most = metrics["measures"]["most/top1"]
    assert most["value"] == metrics["test"]["top1"]
    assert [most["low"], most["high"]] == metrics["test"]["top1_ci"]
    assert most["n"] == metrics["test"]["n_pairs"] == 20


def test_files_of_a_run_say_the_same(measured_run: Path) -> None:
    metrics = json.loads((measured_run / "metrics.json").read_text())
    pairs = read_measures(measured_run / "measures.npz")
    assert list(pairs) == list(metrics["measures"]) == ["most/top1", "least/top1", "picture/light"]
    with np.load(measured_run / "logits.npz") as stored:
        hits = {"most/top1": stored["test"].argmax(axis=1), "least/top1": stored["test"].argmin(axis=1)}
        for name, answer in hits.items():
            np.testing.assert_array_equal(pairs[name], answer == stored["test_label"])
    with (measured_run / "measures.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line, (name, cells) in zip(lines, metrics["measures"].items(), strict=True):
        assert line["measure"] == name
        assert int(line["n"]) == cells["n"]
        for key in ("value", "low", "high"):
            assert float(line[key]) == pytest.approx(cells[key], abs=1e-6)
        assert pairs[name].mean() == pytest.approx(cells["value"])
        assert cells["low"] <= cells["value"] <= cells["high"]
    assert "measures.npz" in metrics["computed_from"]["files"]


def test_a_model_without_measures_leaves_no_trace_of_them(tiny_runs: Path) -> None:
    for run in (tiny_runs / "roi", tiny_runs / "both" / "seed0"):
        assert "measures" not in json.loads((run / "metrics.json").read_text())
        assert not list(run.glob("measures*"))


def test_a_finished_run_prints_the_same_again(
    measured_run: Path, pair_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where the program has no such measures any more."""
    again = [*OPTIONS, "--data.root", str(pair_tree), "--run.dir", str(measured_run), "--run.resume", "auto"]
    train_command(OFF_THE_SHELF, again)
    said = capsys.readouterr().out
    assert "measured" in said
    most = json.loads((measured_run / "metrics.json").read_text())["measures"]["most/top1"]
    assert f"most      {most['value']:.3f} [{most['low']:.3f}, {most['high']:.3f}]" in said


def test_intervals_are_those_of_a_bootstrap_by_hand() -> None:
    """Groups of 1 to 4 pairs; some pairs have no number."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 5, 12)))
    values = rng.normal(size=groups.size).astype(np.float32)
    values[rng.random(groups.size) < 0.2] = np.nan
    found = measures_with_intervals({"some": values, "all": np.ones_like(values)}, groups, resamples=300, seed=4)
    draws = np.random.default_rng(4).integers(12, size=(300, 12))
    means = []
    for draw in draws:
        chosen = np.concatenate([values[groups == group] for group in draw]).astype(np.float64)
        means.append(np.nanmean(chosen))
    assert found["some"]["value"] == pytest.approx(np.nanmean(values.astype(np.float64)))
    assert found["some"]["n"] == np.count_nonzero(~np.isnan(values))
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found["some"]["low"], found["some"]["high"]) == pytest.approx((low, high))
    assert found["all"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": groups.size}


def test_what_no_pair_says_or_one_group_alone_has_no_interval() -> None:
    nowhere, once = np.full(4, np.nan, np.float32), np.array([np.nan, np.nan, 1, 0], np.float32)
    found = measures_with_intervals({"nowhere": nowhere, "once": once}, np.array([0, 1, 2, 2]), resamples=50)
    assert found["nowhere"] == {"value": None, "low": None, "high": None, "n": 0}
    assert found["once"] == {"value": 0.5, "low": None, "high": None, "n": 2}
    assert measures_with_intervals({}, np.arange(4)) == {}
    with pytest.raises(RunError, match="once of the model are not finite"):
        measures_with_intervals({"nowhere": nowhere, "once": once + np.float32(np.inf)}, np.array([0, 1, 2, 2]))


def test_hits_have_the_intervals_of_scores() -> None:
    rng = np.random.default_rng(1)
    truth, logits, groups = rng.integers(4, size=60), rng.normal(size=(60, 4)), rng.integers(20, size=60)
    hits = (logits.argmax(axis=1) == truth).astype(np.float32)
    found = measures_with_intervals({"top1": hits}, groups, resamples=200, seed=3)["top1"]
    assert [found["low"], found["high"]] == grouped_intervals(truth, logits, groups, resamples=200, seed=3)["top1_ci"]


def test_a_table_has_a_row_for_each_part_of_a_model() -> None:
    def cells(value: float) -> dict[str, Any]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}

    names = ["view_0/share", "view_1/share", "oracle/top1", "oracle/top3"]
    rows, columns = measures_table({name: cells(0.1 * place) for place, name in enumerate(names, start=1)})
    assert columns == {"part": "measured", "share": "part of the pairs", "top1": "top-1", "top3": "top-3"}
    assert [row["part"] for row in rows] == ["view_0", "view_1", "oracle"]
    assert rows[2]["share"] == rows[0]["top1"] == ""
    assert rows[2]["top3"] == pytest.approx(0.4)
    assert rows[2]["top3_ci"] == pytest.approx([0.3, 0.5])


def test_readers_are_told_that_the_best_head_is_biased() -> None:
    pim = ["level_1/top1", "kept_1/top1", "combiner/top1", "highest_1/top1", "highest_2/top1"]
    notes = " ".join(measures_notes(pim))
    assert "biased" in notes
    assert "`kept_i`" in notes
    assert "view" not in notes
    assert "biased" not in " ".join(measures_notes(["view_0/share", "oracle/top1"]))
    assert measures_notes(f"roi/{name}" for name in pim) == measures_notes(pim)


def test_a_damaged_file_of_pairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "measures.npz"
    save_measures({"a/top1": np.array([0, 1, np.nan], np.float32)}, path)
    np.testing.assert_array_equal(read_measures(path)["a/top1"], [0, 1, np.nan])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"measures\.npz is damaged"):
        read_measures(path)
    for names, values in ((["a", "b"], np.zeros((3, 1), np.float32)), (["a"], np.zeros((3, 1)))):
        np.savez(path, names=np.array(names), values=values)
        with pytest.raises(DataError, match="one column of numbers for each of its names"):
            read_measures(path)


def test_the_table_of_confusions_has_every_class_in_both_directions() -> None:
    """Also one without pairs, one that is never predicted, and one called like the heading."""
    names = ["truth", "sauce, red", "absent"]
    lines = list(csv.reader(confusion_csv(np.array([0, 0, 1]), np.array([0, 1, 1]), names).splitlines()))
    assert lines == [["truth", *names], ["truth", "1", "1", "0"], ["sauce, red", "0", "1", "0"], ["absent", *"000"]]
