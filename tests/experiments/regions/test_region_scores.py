"""Means over seeds, intervals, differences and the rows of tables, against numbers worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.regions.scores import compare_with, over_seeds, score_cells, score_models
from experiments.regions.tables import REACHABLE, differences_table, models_table, write_rows

LABEL = np.array([0, 0, 1, 1])
GROUP = np.array([0, 1, 2, 3])


def logits(*rows: list[int]) -> np.ndarray:
    """One row of predicted classes for each seed, as logits S×N×2."""
    found: np.ndarray = np.eye(2, dtype=np.float32)[np.array(rows)]
    return found


def scored() -> dict[str, Any]:
    stacks = {
        "roi only": logits([0, 0, 1, 1], [0, 0, 1, 0]),  # top-1: 1.0 and 0.75
        "PIM on the photo": logits([0, 1, 1, 0], [0, 1, 1, 0]),  # 0.5 and 0.5
        "whole photo": logits([1, 1, 1, 0], [1, 1, 1, 1]),  # 0.25 and 0.5
    }
    return score_models(LABEL, stacks, GROUP, (), 200)


def test_a_models_score_is_the_mean_over_seeds_with_students_interval() -> None:
    cells = score_cells(scored()["roi only"])
    # Mean 0.875, deviation 0.25/√2, error 0.125; t(0.975, 1 degree) = 12.706.
    assert cells["top1"] == pytest.approx(0.875)
    assert cells["top1_ci"] == pytest.approx([0.875 - 12.7062 * 0.125, 0.875 + 12.7062 * 0.125], abs=1e-3)
    assert [one["top1"] for one in cells["by_seed"]] == [1.0, 0.75]
    assert 0 <= cells["test_intervals"]["top1"][0] <= 0.875 <= cells["test_intervals"]["top1"][1] <= 1


def test_one_seed_has_the_interval_over_test_groups() -> None:
    one = score_models(LABEL, {"m": logits([0, 0, 1, 0])}, GROUP, (), 200)["m"]
    cells = score_cells(one)
    assert cells["top1"] == 0.75
    assert cells["top1_ci"] == cells["test_intervals"]["top1"]


def test_differences_are_to_both_references_once_each() -> None:
    rows = compare_with(scored(), ["roi only", "whole photo"])
    assert [(row["a"], row["b"]) for row in rows] == [
        ("PIM on the photo", "roi only"),
        ("whole photo", "roi only"),
        ("PIM on the photo", "whole photo"),
    ]
    found = rows[0]["scores"]["top1"]
    assert found["difference"] == pytest.approx(0.5 - 0.875)
    assert found["by_seed"] == pytest.approx([-0.5, -0.25])
    assert found["over_seeds"] == pytest.approx([-0.375 - 12.7062 * 0.125, -0.375 + 12.7062 * 0.125], abs=1e-3)
    assert found["interval"][0] <= found["difference"] <= found["interval"][1] <= 0
    assert found["p_holm"] >= found["p_value"]
    assert rows[0]["scores"]["ambiguous_f1"] is None  # no class is ambiguous


def test_measures_are_averaged_over_runs() -> None:
    runs = [{"oracle/top1": {"value": value, "low": 0.1, "high": 0.9, "n": 4}} for value in (0.5, 0.7)]
    found = over_seeds(runs)["oracle/top1"]
    assert found["value"] == pytest.approx(0.6)
    assert found["value_ci"] == pytest.approx([0.6 - 12.7062 * 0.1, 0.6 + 12.7062 * 0.1], abs=1e-3)
    assert over_seeds(runs[:1])["oracle/top1"]["value_ci"] == [0.1, 0.9]
    assert over_seeds([None]) == {}


def part() -> dict[str, Any]:
    cost = {"parameters": 10, "operations": 2_500_000, "evaluation_ms": 1.5, "training_ms": 4.0, "batch": 50}
    found = scored()
    models = [
        {"name": name, "knows": "mask given", "scores": score_cells(one), "cost": cost} for name, one in found.items()
    ]
    return {
        "ambiguous": [],
        "n_pairs": 4,
        "seeds": [0, 1],
        "best_reachable_top1": 0.5,
        "models": models,
        "differences": compare_with(found, ["roi only"]),
    }


def test_the_tables_end_with_what_can_be_reached_without_the_mask() -> None:
    rows, columns = models_table(part())
    assert [row["model"] for row in rows] == ["roi only", "PIM on the photo", "whole photo", REACHABLE]
    assert rows[0]["top1"] == pytest.approx(0.875)
    assert rows[0]["mega_operations"] == pytest.approx(2.5)
    assert rows[-1]["top1"] == 0.5
    assert "ambiguous_f1" not in columns
    rows, columns = differences_table(part())
    assert rows[0]["models"] == "PIM on the photo less roi only"
    assert float(rows[0]["top1"]) == pytest.approx(-0.375)
    assert "top1_seeds" in columns


def test_intervals_are_two_columns_of_a_csv(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [{"model": "a", "top1": 0.5, "top1_ci": [0.25, 0.75]}, {"model": "b", "top1": None}])
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "model,top1,top1_low,top1_high",
        "a,0.5,0.25,0.75",
        "b,,,",
    ]
