"""The grid as a whole: what it costs, that it trains what is missing and nothing else, and its report."""

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import f1_score

from experiments import figures, outcome, training
from experiments import fit as fit_module
from experiments.kinds import Config, Kind
from experiments.paper import command, pictures
from experiments.paper.command import paper_command
from utils import engine
from utils.errors import ConfigError, DataError, InterruptedRunError

RUNS = ["roi_small", "small_small", "roi_small-without-blue_berry"]


def arguments(grid: Path, root: Path, out: Path, *options: str) -> list[str]:
    return ["--grid", str(grid), "--data.root", str(root), "--out", str(out), "--resamples", "100", *options]


def blank(path: Path, *_: object, **__: object) -> None:
    """Stand in for a drawing of a run, which has tests of its own and takes longer than training here."""
    Image.new("RGB", (4, 4)).save(path)


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Pictures of runs and evaluations are blank; those of the report are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("experiments.") and module not in (figures, pictures) and hasattr(module, "draw"):
                patch.setattr(module, "draw", blank)
        patch.setattr(outcome, "save_curves", lambda _rows, path: blank(path))
        yield


@pytest.fixture(scope="module")
def trained(quick: None, small_grid: Path, pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The recipe's folder after one call."""
    out = tmp_path_factory.mktemp("paper")
    paper_command(arguments(small_grid, pair_tree, out, "--probe", "false"))
    return out / "tiny"


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil; the folder to name as --out."""
    shutil.copytree(trained, tmp_path / "out/tiny")
    return tmp_path / "out"


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of all files but the report."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "report" not in path.relative_to(folder).parts
    }


def read(trained: Path, name: str) -> list[dict[str, str]]:
    head, *lines = (trained / "report" / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader([head, *lines]))


def test_a_dry_run_says_what_it_costs_and_writes_nothing(
    small_grid: Path, pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper_command(arguments(small_grid, pair_tree, tmp_path / "out", "--dry_run"))
    text = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert "3 runs, 3 to train: 3 epochs" in text
    assert all(f"{run}, seed 0" in text for run in RUNS)
    assert "an estimate" in text
    assert "48 training and 20 test pairs of 3 classes" in text
    # 0.37 million parameters of test_resnet, a head of its own, 16 bytes each: weights, checkpoint, two Adam moments.
    assert "0.37 M" in text
    assert "6.0 MB" in text


def test_every_run_is_trained_and_only_shown_conditions_are_evaluated(trained: Path) -> None:
    assert sorted(path.name for path in (trained / "runs").iterdir()) == sorted(RUNS)
    assert all((trained / "runs" / run / "seed0/metrics.json").is_file() for run in RUNS)
    assert [run for run in RUNS if (trained / "runs" / run / "seed0/evaluation").exists()] == ["small_small"]
    config = yaml.safe_load((trained / "runs/small_small/seed0/config.yaml").read_text())
    assert config["model"]["hidden_width"] == 16
    assert config["model"]["roi_backbone"]["name"] == "test_resnet"
    twin = json.loads((trained / "runs" / RUNS[2] / "seed0/metrics.json").read_text())
    assert twin["classes"] == ["tomato", "spinach"]


def test_the_tables_hold_the_runs_own_scores(trained: Path) -> None:
    metrics = json.loads((trained / "runs/small_small/seed0/metrics.json").read_text())["test"]
    cells = {(row["row"], row["column"]): row for row in read(trained, "table2.csv")}
    both = cells["Both", "macro_f1"]
    assert float(both["ours"]) == pytest.approx(metrics["macro_f1"], abs=1e-5)
    assert float(both["difference"]) == pytest.approx(metrics["macro_f1"] - 0.4424, abs=1e-5)
    # Tomato and spinach are the paper's two foods under the aliases, and the data's ambiguous classes.
    assert float(cells["Both", "ambiguous_f1"]["ours"]) == pytest.approx(metrics["ambiguous_f1"], abs=1e-5)
    changed = {row["column"]: row for row in read(trained, "table11.csv")}
    folder = trained / "runs/small_small/seed0/evaluation/suite"
    results = json.loads((folder / "results.json").read_text())["runs"]["small_small/seed0"]
    scores = results["conditions"]["permute_both"]
    assert float(changed["permute_both"]["ours"]) == pytest.approx(100 * scores["scores"]["top1"], abs=1e-3)
    assert float(changed["permute_both_change"]["ours"]) == pytest.approx(100 * scores["change"]["top1"], abs=1e-3)


def test_counts_come_from_the_predictions(trained: Path) -> None:
    def count(run: str) -> int:
        lines = (trained / "runs" / run / "seed0/predictions.csv").read_text().splitlines()
        return sum(line.split(",")[4:6] == ["tomato", "tomato"] for line in lines)

    row = {cell["column"]: cell for cell in read(trained, "table8.csv")}
    assert int(row["kk"]["ours"]) == count("roi_small")
    assert int(row["kk_excluded"]["ours"]) == count(RUNS[2])
    assert int(row["kk_change"]["ours"]) == count("roi_small") - count(RUNS[2])


def test_a_value_that_is_not_to_be_compared_is_shown_alone(trained: Path) -> None:
    cell = next(row for row in read(trained, "table2.csv") if (row["row"], row["column"]) == ("Both", "ambiguous_f1"))
    assert cell["published"] == "0.8286"
    assert (cell["difference"], cell["status"], cell["cell_notes"]) == ("", "not compared", "e")
    text = (trained / "report/report.md").read_text(encoding="utf-8")
    assert [line.count("0.8286") for line in text.splitlines() if "0.8286" in line] == [1]


def test_rows_of_other_data_backbones_weights_and_epochs_are_marked(trained: Path) -> None:
    text = (trained / "report/report.md").read_text(encoding="utf-8")
    assert "ROI_only [a,b,c,d]" in text
    assert "Classes and pairs as published: no." in text
    assert "3 classes (105); 48 training pairs (18,320); 20 test pairs (7,769)" in text
    assert "training pairs of ketchup (69)" in text
    assert "Made with other backbones than the paper's: test_resnet for vit_base_patch16_224.augreg_in1k." in text
    assert "Trained from random weights" in text
    assert "Trained for 1 epoch (30)." in text
    assert "Figures 9 and 10 are missing." in text


def test_the_report_holds_baselines_figures_and_every_format(trained: Path) -> None:
    names = {path.name for path in (trained / "report").iterdir()}
    tables = {f"table{number}.{kind}" for number in (2, 8, 11) for kind in ("csv", "tex")}
    assert names == {"report.md", "report.html", "figure3.csv", "figure6.png", *tables}
    text = (trained / "report/report.md").read_text(encoding="utf-8")
    assert "label-only context" in text
    assert "recipe `tiny`" in text
    assert "patch 8 pixels" in text
    page = (trained / "report/report.html").read_text(encoding="utf-8")
    assert "F1 &amp; more_of 50 % {all}" in page
    assert "data:image/png;base64," in page


def test_figure_3_counts_pairs_that_one_run_alone_gets_right(trained: Path) -> None:
    def correct(run: str) -> Any:  # noqa: ANN401
        with np.load(trained / "runs" / run / "seed0/logits.npz") as arrays:
            return arrays["test"].argmax(axis=1) == arrays["test_label"]

    expected = int((correct("small_small") & ~correct("roi_small")).sum())
    row = read(trained, "figure3.csv")[0]
    assert (row["ours"], row["published"], row["of"]) == (str(expected), "530 of 7,769", "20")


def test_figure_6_rests_on_scores_after_each_epoch(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "runs/roi_small/seed0/log.jsonl").read_text().splitlines()]
    assert all("test" in row for row in log)
    lines = (trained / "runs/roi_small/seed0/predictions.csv").read_text().splitlines()[1:]
    truth, predicted = zip(*((line.split(",")[4], line.split(",")[5]) for line in lines), strict=True)
    assert log[-1]["test"]["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_a_second_call_trains_and_evaluates_nothing(
    small_grid: Path,
    pair_tree: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("nothing was left to do")

    for name in ("fit", "evaluate_runs", "baseline_rows"):
        monkeypatch.setattr(command, name, forbidden)
    before = states(trained)
    paper_command(arguments(small_grid, pair_tree, trained.parent))
    assert states(trained) == before
    text = capsys.readouterr().out
    assert text.count("finished already") == 3
    assert "3 runs, 0 to train" in text


def test_new_weights_are_evaluated_again(
    small_grid: Path, pair_tree: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(command, "evaluate_runs", seen.append)
    stamp = copy / "tiny/runs/small_small/seed0/evaluation/suite/made_from.json"
    stamp.write_text('{"weights": "other"}')
    paper_command(arguments(small_grid, pair_tree, copy, "--tables", "11"))
    assert [options.run for options in seen] == [[str(copy / "tiny/runs/small_small/seed0")]]
    assert seen[0].overwrite


def test_an_interrupted_grid_goes_on_where_it_stopped(
    small_grid: Path, pair_tree: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / "tiny/runs" / RUNS[2])
    kept = states(copy / "tiny/runs/roi_small")
    original = engine.train_one_epoch

    def interrupted(*given: Any) -> tuple[int, bool]:  # noqa: ANN401
        os.kill(os.getpid(), signal.SIGINT)
        return original(*given)

    monkeypatch.setattr(training, "train_one_epoch", interrupted)
    call = arguments(small_grid, pair_tree, copy, "--tables", "8", "--probe", "false")
    message = f"^run {RUNS[2]}, seed 0 was stopped by signal 2 after a checkpoint; repeat the same command to go on$"
    with pytest.raises(InterruptedRunError, match=message) as stopped:
        paper_command(call)
    assert stopped.value.signal_number == signal.SIGINT
    monkeypatch.setattr(training, "train_one_epoch", original)
    trained: list[str] = []

    def recorded(kind: Kind, config: Config) -> dict[str, Any]:
        trained.append(str(config.run.dir))
        return fit_module.fit(kind, config)

    monkeypatch.setattr(command, "fit", recorded)
    paper_command(call)
    assert [Path(path).parent.name for path in trained] == [RUNS[2]]
    assert states(copy / "tiny/runs/roi_small") == kept


def test_a_signal_between_runs_is_one_line_too(
    small_grid: Path, pair_tree: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    shutil.rmtree(copy / "tiny/runs/small_small/seed0/evaluation")
    monkeypatch.setattr(command, "evaluate_runs", stopped)
    with pytest.raises(
        InterruptedRunError, match="stopped at run small_small, seed 0; repeat the same command"
    ) as error:
        paper_command(arguments(small_grid, pair_tree, copy, "--tables", "11", "--probe", "false"))
    assert error.value.signal_number == signal.SIGINT


def test_report_only_says_what_was_not_run(small_grid: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "tiny/runs/small_small")
    before = states(copy)
    paper_command(["--grid", str(small_grid), "--out", str(copy), "--report_only", "--resamples", "100"])
    assert "5 cells wait for runs" in capsys.readouterr().out
    assert states(copy) == before
    cells = {(row["row"], row["column"]): row["status"] for row in read(copy / "tiny", "table2.csv")}
    assert cells["Both", "macro_f1"] == "not run"
    assert cells["ROI_only", "macro_f1"] == "ok"
    assert "Not run: small_small." in (copy / "tiny/report/report.md").read_text(encoding="utf-8")


def test_a_stale_evaluation_is_no_number(small_grid: Path, copy: Path) -> None:
    (copy / "tiny/runs/small_small/seed0/evaluation/suite/made_from.json").unlink()
    paper_command(
        ["--grid", str(small_grid), "--out", str(copy), "--report_only", "--tables", "11", "--resamples", "100"]
    )
    assert {row["status"] for row in read(copy / "tiny", "table11.csv")} == {"not evaluated"}


def test_runs_on_different_pairs_are_refused(small_grid: Path, copy: Path) -> None:
    path = copy / "tiny/runs/small_small/seed0/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["fingerprint"]["test"] = "other"
    path.write_text(json.dumps(metrics))
    with pytest.raises(DataError, match="were tested on different pairs"):
        paper_command(["--grid", str(small_grid), "--out", str(copy), "--report_only", "--tables", "2"])


def test_a_finished_run_of_other_settings_is_refused_by_name(small_grid: Path, pair_tree: Path, copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"run roi_small, seed 0: run\.resume.*train\.epochs was 1 and is now 2"):
        paper_command(arguments(small_grid, pair_tree, copy, "--train.epochs", "2", "--probe", "false"))
