"""evaluate.py from the command line: one true evaluation of three tiny runs, and what becomes of its folder."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.analysis.write import write_analysis
from experiments.evaluation import one_run
from experiments.evaluation.command import evaluate_command, evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.statistics import paired_bootstrap

SUITE = """
seeds: [0, 1]
conditions:
  identity: {}
  permute: {perturbation: permute_patches, views: [roi], patch: 28}
  move: {perturbation: translate, views: [extra_roi], dx: [28, 56]}
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suites") / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def evaluated(tiny_runs: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the results of all three runs and what was printed."""
    out = tmp_path_factory.mktemp("results") / "all"
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        patch.setattr(one_run, "write_analysis", analysis_of_the_last_run)
        evaluate_command(
            [
                *("--run", str(tiny_runs / "both"), str(tiny_runs / "roi"), "--suite", str(suite), "--out", str(out)),
                *("--resamples", "200", "--device", "cpu", "--data.workers", "0"),
            ]
        )
    return out, "\n".join(lines)


def analysis_of_the_last_run(folder: Path, *arguments: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Analyse one run of three, since figures take longer than all else."""
    return write_analysis(folder, *arguments, **options) if folder.parts[-2] == "roi" else {"temperature": None}


def results(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return document


def test_unchanged_pairs_score_as_after_training(evaluated: tuple[Path, str]) -> None:
    document = results(evaluated[0])
    assert list(document["runs"]) == ["both/seed0", "both/seed1", "roi"]
    for run in document["runs"].values():
        metrics = json.loads((Path(run["path"]) / "metrics.json").read_text(encoding="utf-8"))
        scores = run["conditions"]["identity"]["scores"]
        for name in ("top1", "macro_f1", "ambiguous_f1"):
            assert scores[name] == pytest.approx(metrics["test"][name])
        assert "change" not in run["conditions"]["identity"]
        assert run["notes"] == []


def test_results_name_what_they_were_computed_from(evaluated: tuple[Path, str], suite: Path) -> None:
    document = results(evaluated[0])
    assert document["suite_sha256"] == hashlib.sha256(suite.read_bytes()).hexdigest()
    assert document["data"]["fingerprint"] == document["fingerprint"]
    assert document["environment"].keys() >= {"script", "code", "versions", "processor", "arguments"}
    for run in document["runs"].values():
        assert run["computed_from"].keys() == {"model.safetensors", "config.yaml"}
        for name, described in run["computed_from"].items():
            content = (Path(run["path"]) / name).read_bytes()
            assert described == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_every_condition_has_its_scores_changes_and_pixels(evaluated: tuple[Path, str]) -> None:
    document = results(evaluated[0])
    run = document["runs"]["both/seed0"]
    assert list(run["conditions"]) == ["identity", "permute", "move-dx=28", "move-dx=56"]
    # f of identity and 2 orders, g of identity and 2 shifts; the loop: (1 + 2 + 1 + 1) conditions of two modules.
    assert run["passes"] == {"distinct": 6, "naive": 10}
    permuted, moved = run["conditions"]["permute"], run["conditions"]["move-dx=56"]
    assert permuted["seeds"] == [0, 1]
    assert permuted["pixels"] == {"patch": 4}
    assert permuted["inputs"] == {"roi": "permute_patches(patch=28)"}
    mean = np.mean([one["top1"] for one in permuted["scores_by_seed"]])
    assert permuted["scores"]["top1"] == pytest.approx(mean)
    before = run["conditions"]["identity"]["scores"]["top1"]
    assert permuted["change"]["top1"] == pytest.approx(mean - before)
    assert moved["pixels"] == {"dx": 8}
    assert 0.5 < moved["content_kept"]["extra_roi"] < 1
    assert moved["change"]["top1_p_holm"] >= moved["change"]["top1_p"]
    assert (moved["family"], moved["parameter"], moved["value"]) == ("move", "dx", 56)
    other = document["runs"]["roi"]
    assert other["not_applicable"] == dict.fromkeys(["move-dx=28", "move-dx=56"], "the run has no view extra_roi")
    assert document["side"] == {"roi": 32, "extra_roi": 32}


def test_series_are_means_over_runs(evaluated: tuple[Path, str]) -> None:
    document = results(evaluated[0])
    assert list(document["series"]) == ["both", "roi"]
    for condition, entry in document["series"]["both"].items():
        single = [document["runs"][f"both/seed{seed}"]["conditions"][condition] for seed in (0, 1)]
        assert entry["scores"]["macro_f1"] == pytest.approx(np.mean([one["scores"]["macro_f1"] for one in single]))
    assert document["series"]["roi"]["identity"]["scores"]["top1_ci"] is None


def test_runs_are_compared_on_the_same_pairs(evaluated: tuple[Path, str], tiny_runs: Path) -> None:
    document = results(evaluated[0])
    (row,) = document["comparisons"]  # one run of each series has seed 0
    assert (row["a"], row["b"]) == ("roi", "both/seed0")
    ours, theirs = (np.load(tiny_runs / name / "logits.npz") for name in ("roi", "both/seed0"))
    expected = paired_bootstrap(
        ours["test_label"], ours["test"], theirs["test"], ours["test_group"], tuple(ours["ambiguous"]), resamples=200
    )["macro_f1"]
    assert expected is not None
    assert row["scores"]["macro_f1"]["difference"] == pytest.approx(expected.difference)
    assert row["scores"]["macro_f1"]["interval"] == pytest.approx(expected.interval, abs=1e-6)


def test_baselines_and_analysis_are_there(evaluated: tuple[Path, str]) -> None:
    folder, _ = evaluated
    document = results(folder)
    models = [row["model"] for row in document["baselines"]]
    assert models[:2] == ["majority class", "label-only context"]
    assert document["runs"]["roi"]["analysis"]["temperature"] is not None, "fitted on its validation pairs"
    assert document["runs"]["both/seed0"]["analysis"]["temperature"] is None
    assert (folder / "roi" / "analysis" / "calibration.png").is_file()


def test_predictions_hold_every_seed(evaluated: tuple[Path, str]) -> None:
    path = evaluated[0] / "both" / "seed1" / "permute" / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert next(iter(rows[0])) == "seed"
    assert [row["seed"] for row in rows] == ["0"] * 20 + ["1"] * 20
    hits = [row["truth"] == row["prediction"] for row in rows if row["seed"] == "1"]
    found = results(evaluated[0])["runs"]["both/seed1"]["conditions"]["permute"]["scores_by_seed"][1]
    assert found["top1"] == pytest.approx(np.mean(hits))


def test_console_and_pages(evaluated: tuple[Path, str]) -> None:
    folder, text = evaluated
    assert "6 module passes per pair instead of 10." in text
    assert f"report: {folder / 'report.html'}" in text
    assert "both: mean of 2 runs" in text
    assert "majority class" in text
    files = {path.name for path in folder.iterdir()}
    expected = {"both", "roi", "results.json", "table.md", "report.html", "severity.png", "conditions.png", "views.png"}
    assert files == expected | {"severity_ambiguous_f1.png"}
    assert [path.name for path in folder.parent.iterdir()] == ["all"], "nothing is left beside the results"


@pytest.mark.usefixtures("no_analysis")
def test_one_run_without_a_suite_lies_in_its_own_folder(tiny_runs: Path, pair_tree: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_runs / "roi", tmp_path / "roi"))
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree", ignore=shutil.ignore_patterns("train")))
    options = EvaluateOptions(
        run=[str(run)],
        data=EvaluationData(root=str(tree), workers=0),
        exclude=["spinach"],
        resamples=100,
        device="cpu",
    )
    document = evaluate_runs(options)
    folder = run / "evaluation" / "identity"
    assert document["folder"] == str(folder)
    assert results(folder)["classes"] == ["tomato", "blueberry"]
    assert document["exclude"] == ["spinach"]
    assert document["baselines"] == []
    assert any("no baselines" in note and "has no split train" in note for note in document["notes"])
    assert set(document["runs"]["roi"]["conditions"]) == {"identity"}
    assert not (folder / "views.png").exists()


def test_the_dry_run_writes_nothing(tiny_runs: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_command(["--run", str(tiny_runs / "both"), "--suite", str(suite), "--dry_run"])
    text = capsys.readouterr().out
    assert "run         both/seed0: 6 module passes per pair instead of 10" in text
    assert f"results     {tiny_runs / 'both' / 'evaluation' / 'tiny'}" in text
    assert not (tiny_runs / "both" / "evaluation").exists()


@pytest.fixture
def no_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of the analysis, which take longer than all else."""
    monkeypatch.setattr("experiments.evaluation.one_run.write_analysis", lambda *_args, **_options: {})


@pytest.mark.usefixtures("no_analysis")
def test_an_earlier_evaluation_is_replaced_whole(tiny_runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")
    (out / "severity_stale.png").write_text("")
    command = ["--run", str(tiny_runs / "roi"), "--out", str(out), "--resamples", "100", "--device", "cpu"]
    evaluate_command([*command, "--overwrite", "--baselines", "false", "--data.workers", "0"])
    assert not (out / "severity_stale.png").exists()
    assert results(out)["suite"] == "identity"


@pytest.mark.usefixtures("no_analysis")
def test_an_error_in_the_middle_leaves_the_earlier_results(
    tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")

    def fail(*_: object) -> None:
        raise RuntimeError("full disk")

    monkeypatch.setattr("experiments.evaluation.command.write_pages", fail)
    command = ["--run", str(tiny_runs / "roi"), "--out", str(out), "--resamples", "100", "--device", "cpu"]
    with pytest.raises(RuntimeError, match="full disk"):
        evaluate_command([*command, "--overwrite", "--baselines", "false", "--data.workers", "0"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "results.json").read_text() == "{}"


def test_a_run_of_a_gpu_is_evaluated_without_one(tiny_runs: Path, tmp_path: Path) -> None:
    """What its device could do, such as rounding products, is asked of no other."""
    shutil.copytree(tiny_runs / "roi", tmp_path / "roi")
    config = (tmp_path / "roi" / "config.yaml").read_text()
    assert "tf32: false" in config
    (tmp_path / "roi" / "config.yaml").write_text(config.replace("tf32: false", "tf32: true"))
    evaluate_command(["--run", str(tmp_path / "roi"), "--out", str(tmp_path / "out"), "--resamples", "100"])
    assert (tmp_path / "out").is_dir()
