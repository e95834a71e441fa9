"""Mistakes of a user of evaluate.py: one line that says what to do, exit status 2, nothing half-written."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.evaluation.command import evaluate_command
from utils.errors import run_script


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
    "a device that is not there": (lambda *_: ["--device", "cuda"], r"error: device is cuda.*; use --device cpu"),
    "a precision of GPUs": (lambda *_: ["--precision", "fp16"], r"error: precision is fp16, which needs a GPU"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tiny_runs: Path,
    pair_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mistake: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    spoil, expected = MISTAKES[mistake]
    run = Path(shutil.copytree(tiny_runs / "roi", tmp_path / "run"))
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    error = refusal(monkeypatch, capsys, "--run", str(run), "--baselines", "false", *spoil(run, tree))
    assert re.search(expected, error), error
    assert not [*tmp_path.rglob("report.html"), *tmp_path.rglob("predictions.csv.*"), *tmp_path.rglob(".*unfinished")]


def test_several_folders_need_a_place_for_the_results(
    tiny_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(monkeypatch, capsys, "--run", str(tiny_runs / "both"), str(tiny_runs / "roi"))
    assert "--run names 2 folders, which share no place for the results; say where with --out DIR" in error
    assert "no run is named" in refusal(monkeypatch, capsys, "--suite", "paper")


def test_runs_that_see_different_pairs_are_not_compared(
    tiny_runs: Path,
    pair_tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of the runs was trained on a tree that has since lost a pair."""
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    (tree / "manifest.csv").unlink()
    lost = min((tree / "test" / "roi" / "tomato").iterdir())
    lost.unlink()
    (tree / "test" / "extra-roi" / "tomato" / lost.name).unlink()
    run = Path(shutil.copytree(tiny_runs / "roi", tmp_path / "other"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(pair_tree), str(tree)))
    out = tmp_path / "out"
    error = refusal(monkeypatch, capsys, "--run", str(tiny_runs / "roi"), str(run), "--out", str(out))
    assert "(20 pairs of" in error
    assert "(19 pairs of" in error
    assert f"only in roi: tomato/{lost.stem}" in error
    assert not out.exists()


def test_runs_of_different_classes_are_not_compared(
    tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the runs was trained without a class."""
    run = Path(shutil.copytree(tiny_runs / "roi", tmp_path / "two"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("exclude: []", "exclude: [blueberry]"))
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"classes": ["tomato", "spinach"]}))
    error = refusal(monkeypatch, capsys, "--run", str(tiny_runs / "roi"), str(run), "--out", str(tmp_path / "out"))
    assert "do not share their classes (only in roi: blueberry)" in error
    both = ["--run", str(tiny_runs / "roi"), str(run), "--out", str(tmp_path / "out")]
    evaluate_command([*both, "--exclude", "blueberry", "--dry_run"])
    assert "in 2 classes" in capsys.readouterr().out
