"""A run on class folders, from training to every script that takes its folder."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.sources import moved_to
from experiments.baselines.rows import baseline_rows
from experiments.commands import train_command
from experiments.diagnosis import diagnose
from experiments.evaluation.command import evaluate_command
from experiments.explanation.command import explain_command
from experiments.explanation.page import table_of
from experiments.kinds import OFF_THE_SHELF
from experiments.loading import load_splits
from experiments.prediction.command import predict_command
from experiments.run_diagnosis import examine_run
from experiments.runs import load_index, read_runs
from experiments.verification.command import VerifyOptions, verify
from utils.errors import ConfigError, DataError

COLORS = {"tomato": (200, 40, 40), "spinach": (40, 160, 50), "blueberry": (50, 60, 190)}
OPTIONS = [
    *("--data.source", "folders", "--data.view", "photo", "--data.splits.test", "val", "--data.image_size", "32"),
    *("--data.workers", "0", "--train.device", "cpu", "--train.epochs", "2", "--train.batch_size", "12"),
    *("--train.backbone_lr", "3e-3", "--eval.resamples", "100", "--eval.recalibration_pairs", "36"),
    *("--model.backbone.name", "test_efficientnet", "--model.backbone.pretrained", "false"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of one colour a class with noise, of several sizes; the stems are alike in all classes."""
    root = tmp_path_factory.mktemp("data") / "food"
    rng = np.random.default_rng(0)
    for split, number in (("train", 12), ("val", 4)):
        for name, color in COLORS.items():
            (root / split / name).mkdir(parents=True)
            for place in range(number):
                pixels = np.clip(color + rng.normal(0, 30, (24 + place, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{place}.jpg")
    return root


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "food"
    train_command(OFF_THE_SHELF, [*OPTIONS, "--data.root", str(folders), "--run.dir", str(folder)])
    return folder


def test_a_folder_run_learns_and_names_its_classes(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["classes"] == sorted(COLORS)
    assert metrics["test"]["top1"] > 0.6
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert len(rows) == 12


def test_the_run_verifies_and_its_folder_is_healthy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(VerifyOptions(runs=[run])), capsys.readouterr().out
    assert examine_run(run).findings == []


def test_evaluation_leaves_out_what_needs_masks(run: Path, tmp_path: Path) -> None:
    evaluate_command(["--run", str(run), "--out", str(tmp_path / "out"), "--resamples", "100"])
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["model"]: row for row in found["baselines"]}
    assert {name for name, row in rows.items() if row.get("top1") is not None} == {"majority class", "colour histogram"}
    assert rows["colour histogram"]["top1"] == 1
    assert all("no masks" in rows[name]["note"] for name in rows if "context" in name or "geometry" in name)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the missing name gives the answer away" not in page


def test_colours_off_leaves_the_commonest_class(run: Path) -> None:
    (record,) = read_runs([run])
    rows = baseline_rows(load_index(record, split="train"), load_index(record), resamples=10, colour=False)
    assert [row["model"] for row in rows if "top1" in row] == ["majority class"]


def test_photos_are_predicted_whole_and_no_segmenter_is_asked(folders: Path, run: Path, tmp_path: Path) -> None:
    photo = folders / "val" / "tomato"
    found = predict_command(["--run", str(run), "--photo", str(photo), "--out", str(tmp_path / "out")])
    assert found["segmenter"] is None
    assert len(found["regions"]) == len(found["photos"]) == 4
    assert {one["source"]["kind"] for one in found["regions"]} == {"whole photo"}
    assert {one["area_fraction"] for one in found["regions"]} == {1.0}
    assert any("whole photos" in note for note in found["notes"])
    assert not (tmp_path / "out" / "masks").exists()
    drawn = np.asarray(Image.open(tmp_path / "out" / "pictures" / "0.png").convert("RGB"))
    assert drawn.size > 0


@pytest.mark.parametrize(
    "option", [["--point", "3,3"], ["--box", "1,1,9,9"], ["--mask", "m.png"], ["--prompts", "p.csv"]]
)
def test_where_to_look_is_refused_of_a_model_of_whole_photos(
    folders: Path, run: Path, option: list[str], tmp_path: Path
) -> None:
    photo = str(folders / "val" / "tomato" / "0.jpg")
    with pytest.raises(ConfigError, match=rf"{option[0]} would find a region, and .* looks at the whole photo"):
        predict_command(["--run", str(run), "--photo", photo, *option, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_predictions_of_a_split_are_the_runs_own_and_say_the_true_class(
    folders: Path, run: Path, tmp_path: Path
) -> None:
    found = predict_command(
        ["--run", str(run), "--pairs", str(folders), "--top_k", "3", "--out", str(tmp_path / "out")]
    )
    own = np.load(run / "logits.npz")["test"]
    classes = found["model"]["classes"]
    by_name = [{top["class"]: top["logit"] for top in one["top"]} for one in found["regions"]]
    logits = [[of[name] for name in classes] for of in by_name]
    np.testing.assert_allclose(logits, own, atol=1e-4)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["true_class"] for row in rows] == [name for name in sorted(COLORS) for _ in range(4)]
    assert rows[0]["photo"] == "val/blueberry/0"
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 12


def test_maps_of_whole_photos(run: Path, tmp_path: Path) -> None:
    summary = explain_command(["--run", str(run), "--select", "first", "--count", "2", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "index.html").is_file()
    headings, _, row = (re.split(r"\s{2,}", line.strip()) for line in table_of(summary).splitlines())
    said = dict(zip(headings, row, strict=True))
    assert said["heat on cut-out pixels"] == said["their area"] == said["excess, other cuts"] == "n/a"


def test_training_refuses_a_photo_of_train_in_test(folders: Path, tmp_path: Path) -> None:
    copy = tmp_path / "food"
    shutil.copytree(folders, copy)
    shutil.copy(copy / "train" / "tomato" / "3.jpg", copy / "val" / "tomato" / "other.jpg")
    with pytest.raises(DataError, match=r"same-photo.*train/tomato/3.jpg.*val/tomato/other.jpg.*remove one of them"):
        train_command(OFF_THE_SHELF, [*OPTIONS, "--data.root", str(copy), "--run.dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_the_diagnosis_says_what_it_compared(run: Path) -> None:
    (record,) = read_runs([run])
    found = diagnose(load_splits(record.config.data, 0), record.config)
    assert found.lines[0].startswith(
        "data: 36 photos without masks to train, 12 photos without masks to test, 3 classes"
    )
    assert "parts of each file" in found.lines[0]


def test_a_photo_that_changed_between_two_parts_is_noticed(folders: Path, tmp_path: Path) -> None:
    copy = tmp_path / "food"
    shutil.copytree(folders, copy)
    options = [
        *OPTIONS,
        "--data.root",
        str(copy),
        *("--data.validation_fraction", "0.25", "--train.epochs", "1", "--run.dir", str(tmp_path / "run")),
    ]
    train_command(OFF_THE_SHELF, options)
    assert [len(np.load(tmp_path / "run" / "logits.npz")[name]) for name in ("validation", "test")] == [9, 12]
    (tmp_path / "run" / "metrics.json").unlink()
    path = copy / "train" / "tomato" / "3.jpg"
    Image.open(path).rotate(180).save(path)
    with pytest.raises(ConfigError, match=r"changed since .* was started; .* photos or masks of other content"):
        train_command(OFF_THE_SHELF, [*options, "--run.resume", "auto"])


def test_a_model_of_cut_outs_finds_no_mask_in_class_folders(folders: Path, tiny_runs: Path) -> None:
    for name in ("roi", "both/seed0"):
        (record,) = read_runs([tiny_runs / name])
        with pytest.raises(DataError, match="without masks"):
            load_index(record, folders, "val")


def test_a_model_of_whole_photos_takes_pairs_as_well(run: Path, pair_tree: Path) -> None:
    (record,) = read_runs([run])
    data, notes = moved_to(record.config.data, pair_tree, "test")
    assert data.source == "pairs"
    assert "trained on class folders of photos" in notes[0]
