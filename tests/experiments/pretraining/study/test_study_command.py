"""study_pretraining.py from end to end on a tiny tree."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn.metrics import f1_score

from experiments.pretraining.study import command
from experiments.pretraining.study.command import study_command
from utils.errors import ConfigError

Study = tuple[Path, list[str]]


def results(study: Study) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((study[0] / "results.json").read_text())
    return document


def runs_of(study: Study, start: str, labels: str) -> list[Path]:
    return [study[0] / "runs" / "finetuning" / start / f"labels_{labels}" / f"seed{seed}" for seed in (0, 1)]


def test_every_start_takes_the_same_steps_of_the_same_pairs(study: Study) -> None:
    for labels, pairs in (("0.25", 12), ("1", 48)):
        logs = {}
        for start in ("random", "pretrained"):
            for run in runs_of(study, start, labels):
                metrics = json.loads((run / "metrics.json").read_text())
                last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
                assert metrics["train"]["n_pairs"] == pairs
                logs[start, run.name] = (last["step"], metrics["fingerprint"])
        assert {steps for steps, _ in logs.values()} == {3}
        for seed in ("seed0", "seed1"):
            assert logs["random", seed] == logs["pretrained", seed]
    # Another seed draws another quarter.
    one, other = (json.loads((run / "metrics.json").read_text()) for run in runs_of(study, "random", "0.25"))
    assert one["fingerprint"]["train"] != other["fingerprint"]["train"]


def test_starts_differ_in_their_weights_alone(study: Study) -> None:
    for one, other in zip(runs_of(study, "random", "1"), runs_of(study, "pretrained", "1"), strict=True):
        configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (one, other)]
        for role in ("roi_backbone", "extra_roi_backbone"):
            weights = [config["model"][role].pop("weights") for config in configs]
            assert weights == [None, str(study[0] / "runs" / "pretraining" / one.name)]
        for config in configs:
            del config["run"]["dir"]
        assert configs[0] == configs[1]
        environment = json.loads((other / "env.json").read_text())
        assert "pretraining" in json.dumps(environment["weights"])


def test_numbers_of_the_table_follow_from_the_runs(study: Study) -> None:
    document = results(study)
    entry = next(one for one in document["entries"] if one["kind"] == "finetuned" and one["fraction"] == 0.25)
    top1 = {}
    for start in ("random", "pretrained"):
        found = []
        for run in runs_of(study, start, "0.25"):
            with np.load(run / "logits.npz") as arrays:
                found.append(float(np.mean(arrays["test"].argmax(axis=1) == arrays["test_label"])))
        top1[start] = found
        half = stats.t.ppf(0.975, 1) * np.std(found, ddof=1) / np.sqrt(2)
        cells = entry["starts"][start]["scores"]
        assert cells["top1"] == pytest.approx(np.mean(found))
        assert cells["top1_ci"] == pytest.approx([np.mean(found) - half, np.mean(found) + half])
    difference = entry["difference"]["top1"]
    by_seed = np.subtract(top1["pretrained"], top1["random"])
    assert difference["by_seed"] == pytest.approx(by_seed)
    assert difference["difference"] == pytest.approx(by_seed.mean())
    if by_seed.std():
        assert difference["p_seeds"] == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_the_csv_has_a_line_for_each_start_part_seed_and_score(study: Study) -> None:
    with (study[0] / "study.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "macro_f1"]
    count = Counter((row["method"], row["start"], row["fraction"]) for row in rows)
    expected = {("RveRNet", start, part): 2 for start in ("random", "pretrained") for part in ("0.25", "1.0")}
    expected |= {
        (method, start, "1.0"): 2
        for method in ("linear probe", "nearest neighbours")
        for start in ("random", "pretrained")
    }
    assert count == expected | {("RveRNet", "longer", "0.25"): 2}
    (run,) = runs_of(study, "pretrained", "1")[1:]
    with np.load(run / "logits.npz") as arrays:
        value = f1_score(arrays["test_label"], arrays["test"].argmax(axis=1), average="macro")
    wanted = {"method": "RveRNet", "start": "pretrained", "fraction": "1.0", "seed": "1"}
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    assert float(row["value"]) == pytest.approx(value)
    assert (row["train_pairs"], row["steps"]) == ("48", "3")


def test_frozen_backbones_are_the_pre_trained_one_and_the_start_of_pre_training(study: Study) -> None:
    records = {
        (start, seed): json.loads((study[0] / "frozen" / start / f"seed{seed}.json").read_text())
        for start in ("random", "pretrained")
        for seed in (0, 1)
    }
    assert all(record["converged"] == {"roi": True} for record in records.values())
    assert records["random", 0]["made_from"]["weights"] is None
    weights = [records["pretrained", seed]["made_from"]["weights"] for seed in (0, 1)]
    assert len(set(weights)) == 2
    answers = [
        np.load(study[0] / "frozen" / start / "seed0.npz")["roi/linear probe"] for start, _ in list(records)[::2]
    ]
    assert answers[0].shape == (20, 3)
    assert not np.array_equal(answers[0], answers[1])


def test_the_random_start_gets_the_seconds_of_pre_training_where_asked(study: Study) -> None:
    entry = next(one for one in results(study)["entries"] if one["fraction"] == 0.25)
    # A second each: the 3 steps twice.
    assert entry["starts"]["longer"]["steps"] == [6, 6]
    assert entry["difference_longer"]["top1"]["by_seed"] is not None
    whole = next(one for one in results(study)["entries"] if one["fraction"] == 1 and one["kind"] == "finetuned")
    assert "longer" not in whole["starts"]


def test_pages_show_tables_and_plots_and_say_what_the_budget_leaves_out(study: Study) -> None:
    for name in ("fractions.png", "pretraining.png"):
        assert (study[0] / name).stat().st_size > 5_000
    page, table = (study[0] / "report.html").read_text(), (study[0] / "table.md").read_text()
    assert page.count("<img") == 2
    for text in (page, table):
        assert "The seconds of pre-training are on top of this budget" in text
        assert "RveRNet, 25 % of the labels" in text
        assert "views of 64 px" in text


def test_repeating_the_command_takes_what_is_finished_and_does_the_rest(
    study: Study, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (study[0] / "study.csv").read_bytes()
    argv = [*study[1], "--equal_compute", "true", "--equal_compute_fractions", "0.25"]
    victims = [runs_of(study, "pretrained", "0.25")[1], study[0] / "frozen" / "random"]
    for number, victim in enumerate(victims):
        shutil.move(victim, tmp_path / str(number))
    study_command([*argv, "--dry_run"])
    plan = capsys.readouterr().out
    assert "pre-training of test_efficientnet: 2 steps; seeds 0, 1 finished" in plan
    assert "fine-tuning with 0.25 of the labels: 12 pairs, 3 passes, 3 steps of at most 16" in plan
    assert "pre-trained, 0.25 of the labels: seeds 0 finished; seeds 1 to do" in plan
    assert not victims[0].exists()
    monkeypatch.setattr(command, "write_pages", lambda _document, _folder: None)
    study_command(argv)
    text = capsys.readouterr().out
    assert text.count("finished already") == 2 + 7 + 2
    assert (study[0] / "study.csv").read_bytes() == before


def test_parts_that_were_made_otherwise_are_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"run pre-training, seed 0: .*train.epochs was 1 and is now 2"):
        study_command([*study[1], "--pretrain.epochs", "2"])
    with pytest.raises(ConfigError, match=r"run random start, 0.25 of the labels, seed 0: .*train.epochs was 3"):
        study_command([*study[1], "--finetune.steps", "6"])
