"""evaluate.py of a model with measures beside one without, and the tables of several such models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timm.models import VisionTransformer

from experiments.evaluation import one_run
from experiments.evaluation.command import evaluate_runs
from experiments.evaluation.measured import measures_sections
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.evaluation.page import console_text
from Off_the_shelfs.model import OffTheShelf
from tests.experiments.measured_model import measures


def has_measures(model: OffTheShelf) -> bool:
    """Whether a model is the one of ``measured_run``, by its backbone."""
    return isinstance(model.backbone.model, VisionTransformer)


def evaluate(runs: list[Path], out: Path, *exclude: str) -> dict[str, Any]:
    """Evaluate the unchanged pairs, with as many resamples as behind the intervals of the runs."""
    options = EvaluateOptions(
        run=[str(run) for run in runs],
        out=str(out),
        data=EvaluationData(workers=0),
        resamples=100,
        device="cpu",
        baselines=False,
        exclude=list(exclude),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OffTheShelf, "measures", measures)
        patch.setattr(OffTheShelf, "has_measures", property(has_measures))
        patch.setattr(one_run, "write_analysis", lambda *_, **__: {"temperature": None})
        return evaluate_runs(options)


def test_measures_stand_beside_the_scores_of_any_other_model(
    measured_run: Path, tiny_runs: Path, tmp_path: Path
) -> None:
    document = evaluate([measured_run, tiny_runs / "roi"], tmp_path / "out")
    found = document["runs"]["run"]["measures"]
    recorded = json.loads((measured_run / "metrics.json").read_text())["measures"]
    assert list(found) == list(recorded)
    for name, cells in recorded.items():
        assert found[name] == pytest.approx(cells)
    assert (tmp_path / "out" / "run" / "measures.csv").read_text() == (measured_run / "measures.csv").read_text()
    assert "measures" not in document["runs"]["roi"]
    assert not (tmp_path / "out" / "roi" / "measures.csv").exists()
    for page in ("table.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert text.count("run: parts of the model, unchanged pairs") == 1
        assert "roi: parts of the model" not in text
    assert f"most      {recorded['most/top1']['value']:.3f} [" in console_text(document)


def test_labels_are_those_of_the_models_outputs_where_classes_are_left_out(measured_run: Path, tmp_path: Path) -> None:
    """The first class in the order of the outputs is left out, so the index has other numbers for the others."""
    first = json.loads((measured_run / "metrics.json").read_text())["classes"][0]
    entry = evaluate([measured_run], tmp_path / "out", first)["runs"]["run"]
    with np.load(measured_run / "logits.npz") as stored:
        kept = stored["test_label"] > 0
        right = stored["test"].argmax(axis=1)[kept] == stored["test_label"][kept]
    assert entry["measures"]["most/top1"]["value"] == pytest.approx(right.mean())
    assert entry["measures"]["most/top1"]["n"] == kept.sum() < 20
    assert "the measures of run count all 3 classes of the model, its scores do not" in entry["notes"]


def run_of(series: str, **values: float) -> dict[str, Any]:
    summary = {
        name: {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 9} for name, value in values.items()
    }
    return {"series": series, "measures": {f"{name}/top1": cells for name, cells in summary.items()}}


def test_models_with_the_same_parts_share_a_table() -> None:
    runs: dict[str, Any] = {
        "pim/seed0": run_of("pim", level_1=0.2, combiner=0.5),
        "pim/seed1": run_of("pim", level_1=0.4, combiner=0.5),
        "other": run_of("other", level_1=0.9, combiner=0.8),
        "salience": run_of("salience", oracle=0.7),
        "plain": {"series": "plain"},
    }
    both, salience = measures_sections({"runs": runs})
    assert both.columns == {"measure": "measure", "pim, mean of 2": "pim, mean of 2", "other": "other"}
    level = both.rows[0]
    assert (level["measure"], level["other"], level["other_ci"]) == ("level_1/top1", 0.9, [0.8, 1.0])
    assert level["pim, mean of 2"] == pytest.approx(0.3)
    assert level["pim, mean of 2_ci"] == pytest.approx([0.3 - 1.27062, 0.3 + 1.27062])
    assert salience.heading == "salience: parts of the model, unchanged pairs"
    assert [row["part"] for row in salience.rows] == ["oracle"]
    assert measures_sections({"runs": {"plain": {"series": "plain"}}}) == []
