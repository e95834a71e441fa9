"""predict.py on photos: points, boxes, masks, nothing; what is written, and what numbers in it mean."""

import csv
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.new_pairs import NewPair
from datasets.picture_size import PREPROCESSING_LIMIT
from experiments.export.command import export_command
from experiments.prediction.ahead import Afterwards, done_ahead
from experiments.prediction.command import predict_command
from experiments.prediction.jobs import PhotoJob, Way
from experiments.prediction.options import WeakScores
from experiments.prediction.predictor import Predictor
from segmenters.grabcut import GrabCut
from segmenters.prompts import Prompt
from segmenters.segmenter import iou
from utils.errors import ConfigError

Predict = Callable[..., dict[str, Any]]
Disc = tuple[Path, NDArray[np.bool_]]
WAY = Way(0, PREPROCESSING_LIMIT, True, GrabCut)


@pytest.mark.parametrize("prompt", [Prompt(((70.0, 55.0),), (1,)), Prompt(box=(38.0, 23.0, 102.0, 87.0))])
def test_a_prompt_finds_the_disc(disc: Disc, prompt: Prompt) -> None:
    path, inside = disc
    (region,) = PhotoJob(path, WAY, [prompt]).open().regions
    assert iou(region.pair.mask, inside) > 0.9
    np.testing.assert_allclose(region.box, (40, 25, 100, 85), atol=3)
    assert region.area_fraction == pytest.approx(inside.mean(), rel=0.1)


@pytest.fixture(scope="module")
def boxed(disc: Disc, predicted: Predict) -> dict[str, Any]:
    """The disc in its box, with a picture."""
    return predicted(photo=str(disc[0]), box=[38.0, 23.0, 102.0, 87.0], top_k=9)


def test_probabilities_are_the_softmax_of_logits_over_the_temperature(
    boxed: dict[str, Any], predictor: Predictor
) -> None:
    top = boxed["regions"][0]["top"]
    assert sorted(one["class"] for one in top) == sorted(predictor.classes)
    weights = np.exp(np.array([one["logit"] for one in top]) / boxed["temperature"])
    np.testing.assert_allclose([one["probability"] for one in top], weights / weights.sum(), atol=2e-6)
    assert [one["logit"] for one in top] == sorted((one["logit"] for one in top), reverse=True)
    assert boxed["temperature"] == predictor.temperature


def test_each_label_of_a_mask_is_a_region(disc: Disc, predicted: Predict, tmp_path: Path) -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[10:20, 30:50], labels[60:100, 100:110] = 7, 3
    Image.fromarray(labels).save(tmp_path / "mask.png")
    regions = predicted(photo=str(disc[0]), mask=str(tmp_path / "mask.png"))["regions"]
    assert [region["source"]["label"] for region in regions] == [3, 7]
    assert [region["box"] for region in regions] == [[100, 60, 110, 100], [30, 10, 50, 20]]
    assert [region["area_fraction"] for region in regions] == [round(400 / 19200, 6), round(200 / 19200, 6)]
    assert {region["score"] for region in regions} == {None}


def test_without_a_prompt_every_segment_is_a_region(disc: Disc) -> None:
    way = Way(16, PREPROCESSING_LIMIT, False, lambda: GrabCut(working_side=96))
    opened = PhotoJob(disc[0], way).open()
    assert any(np.allclose(region.box, (40, 25, 100, 85), atol=6) for region in opened.regions)
    assert {region.source["kind"] for region in opened.regions} == {"everything"}
    scores = [region.score for region in opened.regions if region.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(opened.regions)


def test_a_folder_is_written_with_a_picture_of_each_photo(disc: Disc, predicted: Predict, tmp_path: Path) -> None:
    """Two photos of one name in two folders, one of them with two regions."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.open(disc[0]).save(tmp_path / "photos" / name / "disc.png")
    prompts = tmp_path / "photos" / "prompts.csv"
    prompts.write_text("photo,points,box\na/disc.png,70 55,\nb/disc.png,,38 23 102 87\na/disc.png,60 60,\n")
    found = predicted(prompts=str(prompts), maps=True, what_if=True, top_k=2)
    out = Path(found["folder"])
    assert [(Path(one["photo"]).parent.name, one["region"]) for one in found["regions"]] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
    ]
    assert [one["picture"] for one in found["photos"]] == ["pictures/disc.png", "pictures/disc_2.png"]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "masks/disc_1.png",
        "masks/disc_2.png",
        "masks/disc_2_1.png",
        "pictures/disc.png",
        "pictures/disc_2.png",
        "predictions.csv",
        "predictions.json",
    ]
    assert [one["mask"] for one in found["regions"]] == [f"masks/disc_{name}.png" for name in ("1", "2", "2_1")]
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, region in zip(rows, found["regions"], strict=True):
        assert (row["class_1"], float(row["probability_1"])) == tuple(region["top"][0].values())[:2]
        assert [int(row[side]) for side in ("left", "top", "right", "bottom")] == region["box"]
        assert row["without_context_class"] == region["without_context"]["top"][0]["class"]
        shares = region["evidence_share"]
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert float(row["evidence_share_roi"]) == shares["roi"]


def test_the_picture_shows_the_photo_and_tints_the_region(disc: Disc, boxed: dict[str, Any]) -> None:
    drawn = np.asarray(Image.open(Path(boxed["folder"]) / boxed["photos"][0]["picture"])).astype(int)
    photo = np.asarray(Image.open(disc[0]).resize((640, 480), Image.Resampling.BICUBIC)).astype(int)
    shown = drawn[42 : 42 + 480, 16 : 16 + 640]
    outside = np.s_[400:470, 500:630]
    assert np.abs(shown[outside] - photo[outside]).mean() < 3
    inside = np.s_[160:190, 200:230]  # in the disc, beside its number
    blue = (shown[inside] - photo[inside])[..., 2].mean()
    assert 8 < blue < 0.15 * (178 - 40)  # blue over red, at most 15 % of it


def test_points_of_the_command_line_make_one_region(
    disc: Disc, tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--run", str(tiny_runs / "both" / "seed0"), "--photo", str(disc[0]), "--device", "cpu"]
    arguments += ["--point", "70,55", "--point", "60,60", "--negative", "10,10.5"]
    found = predict_command([*arguments, "--pictures", "false", "--out", str(tmp_path / "out")])
    (region,) = found["regions"]
    points = {"points": [[70, 55], [60, 60], [10, 10.5]], "labels": [1, 1, 0], "box": None}
    assert region["source"] == {"kind": "prompt", **points}
    np.testing.assert_allclose(region["box"], (40, 25, 100, 85), atol=3)
    assert found["segmenter"]["name"] == "grabcut"
    answer = region["top"][0]
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("disc.png")).split()[:4] == [
        "disc.png",
        "1",
        answer["class"],
        f"{100 * answer['probability']:.0f}",
    ]
    assert "among these 3 classes: tomato, spinach, blueberry" in lines
    assert not (tmp_path / "out" / "pictures").exists()


def test_a_written_mask_is_taken_again_as_it_was(boxed: dict[str, Any], disc: Disc, predicted: Predict) -> None:
    (region,) = boxed["regions"]
    path = Path(boxed["folder"]) / region["mask"]
    with Image.open(path) as mask:
        assert (mask.mode, mask.size) == ("1", (160, 120))
        assert iou(np.asarray(mask), disc[1]) > 0.9
    (again,) = predicted(photo=str(disc[0]), mask=str(path), top_k=9, pictures=False)["regions"]
    assert [again[key] for key in ("box", "area_fraction", "top", "mask")] == [
        region["box"],
        region["area_fraction"],
        region["top"],
        None,
    ]


def test_small_and_doubtful_masks_are_marked(disc: Disc, predicted: Predict, tmp_path: Path) -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[10:22, 30:42], labels[60:90, 100:130] = 1, 2
    Image.fromarray(labels).save(tmp_path / "mask.png")
    found = predicted(photo=str(disc[0]), mask=str(tmp_path / "mask.png"))
    assert [region["marks"] for region in found["regions"]] == [["tiny mask"], []]
    assert sum("the mask of region 1 is tiny" in note for note in found["notes"]) == 1
    prompts = [Prompt(((70.0, 55.0),), (1,))]
    (score,) = [region.score for region in PhotoJob(disc[0], WAY, prompts).open().regions]
    assert score is not None
    above = score + 1e-6
    for weak_below, marks in ((WeakScores(score, above), ()), (WeakScores(above, score), ("weak mask",))):
        (region,) = PhotoJob(disc[0], replace(WAY, weak_below=weak_below), prompts).open().regions
        assert region.marks == marks


def test_prompts_are_drawn_where_they_lie(disc: Disc, predicted: Predict) -> None:
    found = predicted(photo=str(disc[0]), point=[70.0, 55.0], negative=[10.0, 100.0])
    drawn = np.asarray(Image.open(Path(found["folder"]) / found["photos"][0]["picture"])).astype(int)[42:, 16:]
    for x, y, ink in ((70, 55, (0, 0x72, 0xB2)), (10, 100, (0x33, 0x33, 0x33))):
        column, row = 4 * x, 4 * y
        assert tuple(drawn[row, column]) == ink  # the middle of the sign
        assert tuple(drawn[row - 3, column + 3]) == (255, 255, 255)
        assert (tuple(drawn[row - 3, column]) == ink) == (x == 70)  # + and −


def test_an_exported_folder_answers_as_its_run(
    boxed: dict[str, Any], disc: Disc, tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its folder stays as it was exported."""
    exported = tmp_path / "exported"
    monkeypatch.chdir(tmp_path)
    export_command(["--run", str(tiny_runs / "both" / "seed0"), "--out", str(exported)])
    command = ["--run", str(exported), "--photo", str(disc[0]), "--box", "38,23,102,87", "--top_k", "9"]
    before = sorted(exported.rglob("*"))
    found = predict_command([*command, "--pictures", "false", "--device", "cpu"])
    assert found["folder"] == "predictions/disc"
    assert sorted(exported.rglob("*")) == before
    assert found["regions"] == boxed["regions"]
    assert (found["temperature"], found["calibration"]) == (boxed["temperature"], boxed["calibration"])


def test_threads_are_a_few_items_ahead_and_no_more() -> None:
    begun, taken, most = [0], [0], [0]
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun[0] += 1
            most[0] = max(most[0], begun[0] - taken[0])
        time.sleep(0.001)
        return item * item

    found = []
    for value in done_ahead(work, range(40), 3):
        found.append(value)
        with lock:
            taken[0] += 1
    assert found == [item * item for item in range(40)]
    assert 2 <= most[0] <= 5


def test_what_is_done_afterwards_is_waited_for_and_its_error_raised() -> None:
    done: list[int] = []
    with Afterwards(2, 3) as afterwards:
        for number in range(9):
            afterwards.do(lambda number=number: done.append(number))  # type: ignore[misc]
    assert sorted(done) == list(range(9))

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Afterwards(1, 2) as afterwards:
        afterwards.do(fail)


def test_maps_are_bright_inside_the_photo_and_of_the_last_layer_where_none_is_finer(
    disc: Disc, predictor: Predictor
) -> None:
    pair = NewPair(np.asarray(Image.open(disc[0])), disc[1])
    last = predictor.explain(pair, least_cells=1)
    for view, found in predictor.explain(pair).items():
        side = predictor.model.view_specs[view].size
        assert found.content == (0, side // 8, side, 3 * side // 4)  # a photo of 4:3
        inside = found.own_scale[side // 8 : side // 8 + 3 * side // 4]
        assert inside.max() in (0, 1)
        assert found.grid == last[view].grid
        np.testing.assert_array_equal(found.heat, last[view].heat)
    with pytest.raises(ConfigError, match="of at least 7×7 cells"):
        predictor.explain(pair, least_cells=7)
