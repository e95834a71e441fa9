"""evaluate.py from the command line: one true evaluation, and each mistake as one line and status 2."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.analysis.write import write_analysis
from experiments.commands import train_command
from experiments.evaluation import one_run
from experiments.evaluation.command import evaluate_command, evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.kinds import OFF_THE_SHELF, RVERNET
from experiments.statistics import paired_bootstrap
from utils.errors import run_script

SMALL = [
    *("--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "16"),
    *("--train.epochs", "1", "--eval.resamples", "100"),
]
TWO_VIEWS = [
    *("--model.roi_backbone.name", "test_efficientnet", "--model.roi_backbone.pretrained", "false"),
    *("--model.extra_roi_backbone.name", "test_vit", "--model.extra_roi_backbone.pretrained", "false"),
]
ONE_VIEW = ["--model.backbone.name", "test_efficientnet", "--model.backbone.pretrained", "false"]
SUITE = """
seeds: [0, 1]
conditions:
  identity: {}
  permute: {perturbation: permute_patches, views: [roi], patch: 28}
  move: {perturbation: translate, views: [extra_roi], dx: [28, 56]}
"""


@pytest.fixture(scope="module")
def runs(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``both``, two seeds of two views, and ``roi``, a run of one view with a validation split."""
    folder = tmp_path_factory.mktemp("runs")
    shared = ["--data.root", str(pair_tree), *SMALL]
    train_command(RVERNET, [*shared, *TWO_VIEWS, "--run.dir", str(folder / "both"), "--train.seeds", "0,1"])
    held_out = ["--data.validation_fraction", "0.3"]
    train_command(OFF_THE_SHELF, [*shared, *ONE_VIEW, *held_out, "--run.dir", str(folder / "roi")])
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suites") / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def evaluated(runs: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the results of all three runs and what was printed."""
    out = tmp_path_factory.mktemp("results") / "all"
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        patch.setattr(one_run, "write_analysis", analysis_of_the_last_run)
        evaluate_command(
            [
                *("--run", str(runs / "both"), str(runs / "roi"), "--suite", str(suite), "--out", str(out)),
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


def test_runs_are_compared_on_the_same_pairs(evaluated: tuple[Path, str], runs: Path) -> None:
    document = results(evaluated[0])
    (row,) = document["comparisons"]  # one run of each series has seed 0
    assert (row["a"], row["b"]) == ("roi", "both/seed0")
    ours, theirs = (np.load(runs / name / "logits.npz") for name in ("roi", "both/seed0"))
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
def test_one_run_without_a_suite_lies_in_its_own_folder(runs: Path, pair_tree: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "roi", tmp_path / "roi"))
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


def test_the_dry_run_writes_nothing(runs: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_command(["--run", str(runs / "both"), "--suite", str(suite), "--dry_run"])
    text = capsys.readouterr().out
    assert "run         both/seed0: 6 module passes per pair instead of 10" in text
    assert f"results     {runs / 'both' / 'evaluation' / 'tiny'}" in text
    assert not (runs / "both" / "evaluation").exists()


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the script's whole body in this process; return the one line that it ends with."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_script(evaluate_command)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .+\n", error), error
    return error


Spoil = Callable[[Path, Path], list[str]]


def unfinished(run: Path, _tree: Path) -> list[str]:
    (run / "metrics.json").unlink()
    return []


def without_weights(run: Path, _tree: Path) -> list[str]:
    (run / "model.safetensors").unlink()
    return []


def other_classes(_run: Path, tree: Path) -> list[str]:
    document = yaml.safe_load((tree / "classes.yaml").read_text())
    document["classes"][0]["name"] = "pepper"
    document["ambiguous"] = []
    (tree / "classes.yaml").write_text(yaml.safe_dump(document))
    manifest = tree / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",tomato,", ",pepper,"))
    return ["--data.root", str(tree)]


def empty_split(_run: Path, tree: Path) -> list[str]:
    for view in ("roi", "extra-roi"):
        shutil.rmtree(tree / "test" / view)
        (tree / "test" / view).mkdir()
    return ["--data.root", str(tree)]


def suite_of(condition: str) -> Spoil:
    def spoil(run: Path, _tree: Path) -> list[str]:
        path = run.parent / "suite.yaml"
        path.write_text(f"conditions: {{{condition}}}\n")
        return ["--suite", str(path)]

    return spoil


def full_folder(run: Path, _tree: Path) -> list[str]:
    (run / "evaluation" / "identity").mkdir(parents=True)
    (run / "evaluation" / "identity" / "results.json").write_text("{}")
    return []


MISTAKES: dict[str, tuple[Spoil, str]] = {
    "unfinished": (unfinished, r"is an unfinished run \(it has no metrics.json\)"),
    "no weights": (without_weights, r"has no model.safetensors"),
    "other classes": (other_classes, r"only in .*tree: pepper; only in the run: tomato"),
    "empty split": (empty_split, r"test"),
    "no such split": (lambda *_: ["--data.split", "tets"], r"tets"),
    "unknown class": (lambda *_: ["--exclude", "tomatoe"], r"called 'tomatoe'; did you mean 'tomato'\?"),
    "unknown perturbation": (
        suite_of("a: {perturbation: permute_patchs, views: [roi]}"),
        r"unknown perturbation 'permute_patchs'; did you mean 'permute_patches'\?",
    ),
    "none applies": (
        suite_of("a: {perturbation: blank, views: [extra_roi]}"),
        r"no condition of the suite .* applies to a run with the view roi",
    ),
    "patch too large": (
        suite_of("a: {perturbation: permute_patches, views: [roi], patch: 224}"),
        r"condition 'a': a patch of 32 pixels \(224 at 224\) is too large",
    ),
    "no such suite": (lambda *_: ["--suite", "papr"], r"--suite papr does not exist; did you mean 'paper'\?"),
    "full folder": (full_folder, r"holds an earlier evaluation; add --overwrite"),
    "misspelt option": (lambda *_: ["--suit", "paper"], r"unknown option '--suit'; did you mean '--suite'\?"),
    "two folders": (lambda run, _: ["--run", f"{run},{run.parent / 'tree'}"], r"is not the folder of a run"),
    "few resamples": (lambda *_: ["--resamples", "5"], r"resamples is 5; it must be 'auto' or at least 100"),
    "a device that is not there": (lambda *_: ["--device", "cuda"], r"--device is cuda.*; use --device cpu"),
    "a precision of GPUs": (lambda *_: ["--precision", "fp16"], r"--precision is fp16, which needs a GPU"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    runs: Path,
    pair_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mistake: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    spoil, expected = MISTAKES[mistake]
    run = Path(shutil.copytree(runs / "roi", tmp_path / "run"))
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    error = refusal(monkeypatch, capsys, "--run", str(run), "--baselines", "false", *spoil(run, tree))
    assert re.search(expected, error), error
    assert not [*tmp_path.rglob("report.html"), *tmp_path.rglob("predictions.csv.*"), *tmp_path.rglob(".*unfinished")]


def test_several_folders_need_a_place_for_the_results(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(monkeypatch, capsys, "--run", str(runs / "both"), str(runs / "roi"))
    assert "--run names 2 folders, which share no place for the results; say where with --out DIR" in error
    assert "no run is named" in refusal(monkeypatch, capsys, "--suite", "paper")


def test_runs_that_see_different_pairs_are_not_compared(
    runs: Path, pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the runs was trained on a tree that has since lost a pair."""
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    (tree / "manifest.csv").unlink()
    lost = min((tree / "test" / "roi" / "tomato").iterdir())
    lost.unlink()
    (tree / "test" / "extra-roi" / "tomato" / lost.name).unlink()
    run = Path(shutil.copytree(runs / "roi", tmp_path / "other"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(pair_tree), str(tree)))
    out = tmp_path / "out"
    error = refusal(monkeypatch, capsys, "--run", str(runs / "roi"), str(run), "--out", str(out))
    assert "(20 pairs of" in error
    assert "(19 pairs of" in error
    assert f"only in roi: tomato/{lost.stem}" in error
    assert not out.exists()


def test_runs_of_different_classes_are_not_compared(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the runs was trained without a class."""
    run = Path(shutil.copytree(runs / "roi", tmp_path / "two"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("exclude: []", "exclude: [blueberry]"))
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"classes": ["tomato", "spinach"]}))
    error = refusal(monkeypatch, capsys, "--run", str(runs / "roi"), str(run), "--out", str(tmp_path / "out"))
    assert "do not share their classes (only in roi: blueberry)" in error
    both = ["--run", str(runs / "roi"), str(run), "--out", str(tmp_path / "out")]
    evaluate_command([*both, "--exclude", "blueberry", "--dry_run"])
    assert "in 2 classes" in capsys.readouterr().out


@pytest.fixture
def no_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of the analysis, which take longer than all else."""
    monkeypatch.setattr("experiments.evaluation.one_run.write_analysis", lambda *_args, **_options: {})


@pytest.mark.usefixtures("no_analysis")
def test_an_earlier_evaluation_is_replaced_whole(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")
    (out / "stale.png").write_text("")
    command = ["--run", str(runs / "roi"), "--out", str(out), "--resamples", "100", "--device", "cpu"]
    evaluate_command([*command, "--overwrite", "--baselines", "false", "--data.workers", "0"])
    assert not (out / "stale.png").exists()
    assert results(out)["suite"] == "identity"


@pytest.mark.usefixtures("no_analysis")
def test_an_error_in_the_middle_leaves_the_earlier_results(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")

    def fail(*_: object) -> None:
        raise RuntimeError("full disk")

    monkeypatch.setattr("experiments.evaluation.command.write_pages", fail)
    command = ["--run", str(runs / "roi"), "--out", str(out), "--resamples", "100", "--device", "cpu"]
    with pytest.raises(RuntimeError, match="full disk"):
        evaluate_command([*command, "--overwrite", "--baselines", "false", "--data.workers", "0"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "results.json").read_text() == "{}"
