"""Runs verified: untouched ones agree, and every kind of tampering is told in words."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.runs import read_runs
from experiments.verification.checks import alike
from experiments.verification.command import VerifyOptions, verify
from experiments.verification.reading import read_recorded
from experiments.verification.recomputed import check_recomputed
from utils.errors import ConfigError, DataError
from verify import main

Tamper = Callable[[Path], None]


@pytest.fixture
def run(tiny_runs: Path, tmp_path: Path) -> Path:
    """A copy of a run with a validation split."""
    return Path(shutil.copytree(tiny_runs / "roi", tmp_path / "run"))


def edit(path: Path, *keys: str, value: object) -> None:
    document = place = json.loads(path.read_text())
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document))


def remove(path: Path, *keys: str) -> None:
    document = place = json.loads(path.read_text())
    for key in keys[:-1]:
        place = place[key]
    del place[keys[-1]]
    path.write_text(json.dumps(document))


def edit_line(path: Path, number: int, column: int, text: str) -> None:
    """Change one cell of a CSV file; lines are counted from 1."""
    lines = path.read_text().splitlines()
    cells = lines[number - 1].split(",")
    cells[column] = text
    lines[number - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


def other_class(run: Path) -> str:
    predicted = (run / "predictions.csv").read_text().splitlines()[1].split(",")[5]
    return next(name for name in ("tomato", "spinach", "blueberry") if name != predicted)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_logits(run: Path) -> None:
    with np.load(run / "logits.npz") as stored:
        arrays = dict(stored)
    arrays["validation"] = -arrays["validation"]
    np.savez_compressed(run / "logits.npz", **arrays)


def test_untouched_runs_agree_bit_for_bit(tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.json"
    assert verify(VerifyOptions(runs=[tiny_runs / "both", tiny_runs / "roi"], json=found))
    said = capsys.readouterr().out
    assert said.count("ok  model: gives the recorded logits bit for bit") == 3
    assert "ok  seeds: means and intervals follow from the 2 runs" in said
    assert "  NO  " not in said
    assert said.endswith("4 of 4 agree\n")
    document = json.loads(found.read_text())
    assert document["agrees"] is True
    assert {Path(path).name for path in document["runs"]} == {"seed0", "seed1", "roi", "both"}


def test_metrics_name_what_they_were_computed_from(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["computed_from"]["step"] == json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"]
    files = metrics["computed_from"]["files"]
    assert files.keys() == {"predictions.csv", "logits.npz", "model.safetensors"}
    for name, described in files.items():
        content = (run / name).read_bytes()
        assert described == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert metrics["data"].keys() == {"train", "validation", "test"}
    assert {split: summary["fingerprint"] for split, summary in metrics["data"].items()} == metrics["fingerprint"]


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (
            lambda run: edit(run / "metrics.json", "test", "top1", value=0.45),
            [
                "predictions.csv: test top1 is 0.45 in metrics.json, but 0.4 from predictions.csv",
                "logits.npz: test top1 is 0.45 in metrics.json, but 0.4 from logits.npz",
            ],
        ),
        (
            lambda run: edit(run / "metrics.json", "val", "macro_f1_ci", value=[0.1, 0.9]),
            ["logits.npz: val macro_f1_ci is [0.1, 0.9] in metrics.json, but ["],
        ),
        (
            lambda run: edit(run / "metrics.json", "train", "loss", value=0.001),
            ["log.jsonl: loss is", "and metrics.json says 0.001"],
        ),
        (
            lambda run: edit_line(run / "predictions.csv", 2, 5, other_class(run)),
            [
                "predictions.csv is not the file that metrics.json was computed from (SHA-256",
                "line 2: prediction is",
                "per_class.csv: ",
            ],
        ),
        (
            lambda run: edit_line(run / "predictions.csv", 3, 7, "0.999999"),
            ["line 3: top1_probability is 0.999999, and logits.npz gives 0."],
        ),
        (lambda run: edit_line(run / "predictions.csv", 4, 3, "a,b"), ["line 4 has another number of cells"]),
        (
            lambda run: edit_line(run / "per_class.csv", 2, 6, "0.987654"),
            ["tomato: f1 is 0.987654, and predictions.csv"],
        ),
        (
            lambda run: edit_line(run / "confusion.csv", 3, 1, "77"),
            ["confusion.csv: line 3 is not what predictions.csv gives"],
        ),
        (
            lambda run: (run / "config.yaml").write_text((run / "config.yaml").read_text() + "# note\n"),
            ["config.yaml: was changed since the run was started"],
        ),
        (lambda run: cut(run / "logits.npz"), ["logits.npz cannot be read", "logits.npz is not the file"]),
        (other_logits, ["logits.npz is not the file", "val top1 is"]),
        (
            lambda run: edit(run / "metrics.json", "classes", value=["tomato", "spinach"]),
            ["logits.npz cannot be read (the arrays of test do not fit", "has 3 lines for 2 classes"],
        ),
        (lambda run: (run / "predictions.csv").unlink(), ["predictions.csv is gone", "predictions.csv cannot be read"]),
        (lambda run: cut(run / "model.safetensors"), ["model.safetensors is not the file"]),
        (
            lambda run: edit_line(run / "predictions.csv", 1, 10, "tpo3"),
            ["NO  predictions.csv: predictions.csv cannot be read (it has no column top3)"],
        ),
        (
            lambda run: remove(run / "metrics.json", "val"),
            ["metrics.json has no scores of validation, and config.yaml holds pairs out for it"],
        ),
        (
            lambda run: edit(run / "metrics.json", "test", "auc", value=0.9),
            ["test auc is in metrics.json, and nothing computes it"],
        ),
        (
            lambda run: remove(run / "metrics.json", "test", "top5"),
            ["test top5 is not in metrics.json"],
        ),
        (
            lambda run: edit(run / "log.jsonl", "val", "top1", value=0.125),
            ["log.jsonl: val top1 of epoch 1 is 0.125, and metrics.json says"],
        ),
        (
            lambda run: edit(run / "metrics.json", "computed_from", "files", "../a", value={"sha256": "0", "bytes": 1}),
            ["NO  files: the name '../a' of a file starts with a dot"],
        ),
    ],
    ids=[
        *("metrics", "interval", "training", "prediction", "probability", "cells", "classes"),
        *("confusions", "configuration"),
        *("cut logits", "other logits", "a class less", "no predictions", "cut weights", "header", "no validation"),
        *("another score", "no score", "logged validation", "way out"),
    ],
)
def test_what_was_tampered_with_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], tamper: Tamper, told: list[str]
) -> None:
    tamper(run)
    assert not verify(VerifyOptions(runs=[run], scores_only=True))
    said = capsys.readouterr().out
    assert f"{run} DISAGREES" in said
    for text in told:
        assert text in said
    assert said.endswith("0 of 1 agree\n")


def test_a_mean_over_seeds_that_does_not_follow_is_told(
    tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_runs / "both", tmp_path / "both"))
    edit(folder / "metrics.json", "test", "macro_f1", value=0.75)
    with pytest.raises(SystemExit, match=r"^1$"):
        main([str(folder), "--scores_only"])
    said = capsys.readouterr().out
    assert "seeds: test macro_f1 is 0.75 in metrics.json, but 0." in said
    assert said.endswith("2 of 3 agree\n")
    (folder / "seed1" / "metrics.json").write_text((folder / "seed1" / "metrics.json").read_text() + "\n")
    assert not verify(VerifyOptions(runs=[folder], scores_only=True))
    assert "seed1/metrics.json is not the file that the means were computed from" in capsys.readouterr().out


def test_weights_of_another_seed_are_told(tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(tiny_runs / "both" / "seed0", tmp_path / "run"))
    shutil.copy(tiny_runs / "both" / "seed1" / "model.safetensors", run)
    assert not verify(VerifyOptions(runs=[run]))
    said = capsys.readouterr().out
    assert "model.safetensors is not the file that metrics.json was computed from" in said
    assert "NO  model: largest difference of logits" in said
    assert "predictions.csv: its 20 lines give" in said


def test_other_pairs_are_told_and_missing_ones_are_a_mistake(
    run: Path, pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(pair_tree, tmp_path / "tree"))
    lines = (tree / "manifest.csv").read_text().splitlines(keepends=True)
    gone = next(line for line in lines if line.startswith("test,"))
    split, name, stem = gone.split(",")[:3]
    (tree / "manifest.csv").write_text("".join(line for line in lines if line != gone))
    for view in ("roi", "extra-roi"):
        (tree / split / view / name / f"{stem}.png").unlink()
    assert not verify(VerifyOptions(runs=[run], root=tree))
    said = capsys.readouterr().out
    assert f"NO  pairs: test: class '{name}' had" in said
    assert "--  model: not computed: the pairs are not those of the run" in said
    with pytest.raises(DataError, match=r"absent does not exist[^\n]*\nname the run's pairs with --root DIR"):
        verify(VerifyOptions(runs=[run], root=tmp_path / "absent"))


def test_a_run_of_an_earlier_version_is_scored_without_hashes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["computed_from"], metrics["data"]
    (run / "confusion.csv").unlink()
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "env.json").unlink()
    assert verify(VerifyOptions(runs=[run], scores_only=True))
    said = capsys.readouterr().out
    assert "--  files: metrics.json names no files" in said
    assert "--  config.yaml: env.json holds no hash of it" in said
    assert "--  confusion.csv: is not there" in said


def test_another_machine_may_round_otherwise(run: Path) -> None:
    """One part in ten million of the largest logit is rounding elsewhere, and none on the machine of the run."""
    recorded = read_recorded(run, json.loads((run / "metrics.json").read_text()))
    assert recorded.arrays is not None
    near = dict(recorded.arrays) | {"test": recorded.arrays["test"] * np.float32(1 + 3e-7)}
    far = dict(recorded.arrays) | {"test": recorded.arrays["test"] + np.float32(0.5)}
    (record,) = read_runs([run])
    part = recorded.environment["parts"][-1]
    elsewhere = recorded.environment | {"parts": [part | {"processor": "another"}]}
    found = [
        check_recomputed(replace(recorded, arrays=arrays, environment=environment), record, None)[1]
        for arrays, environment in ((near, elsewhere), (near, recorded.environment), (far, elsewhere))
    ]
    assert [check.agrees for check in found] == [True, False, False]
    assert "is rounding in fp32" in found[0].said
    assert "so that there should be none" in found[1].differences[0]
    assert "0 of 20 predictions changed" in found[2].differences[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("test", 3), ("classes", 3), ("computed_from", 3), ("computed_from", {"files": {"a": 1}}), ("data", {"test": {}})],
)
def test_damaged_metrics_are_one_line(run: Path, key: str, value: object) -> None:
    edit(run / "metrics.json", key, value=value)
    with pytest.raises(DataError, match=f"metrics.json is damaged.*{key}|metrics.json is damaged; delete it"):
        verify(VerifyOptions(runs=[run], scores_only=True))


def test_mistakes_in_the_command_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path / 'rum'} does not exist; did you mean 'run'"):
        verify(VerifyOptions(runs=[tmp_path / "rum"]))
    with pytest.raises(ConfigError, match="--scores_only leaves alone"):
        main([str(run), "--root", str(tmp_path), "--scores_only"])
    with pytest.raises(ConfigError, match="unknown option '--score_only'; did you mean '--scores_only'"):
        main([str(run), "--score_only"])
    (run / "metrics.json").unlink()
    with pytest.raises(DataError, match="is an unfinished run"):
        verify(VerifyOptions(runs=[run]))


def test_numbers_are_alike_up_to_rounding() -> None:
    assert alike([0.1 + 0.2, 1], [0.3, 1.0])
    assert not alike(0.3, 0.300001)
    assert not alike(0.3, None)
    assert not alike([0.1], [0.1, 0.2])
    assert alike(None, None)
