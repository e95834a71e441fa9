"""Mistakes of a user of predict.py: said in one message that says what to do, exit status 2, nothing half-written."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.prediction.command import predict_command
from utils.errors import run_script

Spoil = Callable[[Path], list[str]]


def main(argv: list[str]) -> None:
    predict_command(argv)


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the script's whole body in this process; return the message that it ends with."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .+\n", error, re.DOTALL), error
    return error


@pytest.fixture
def scene(tmp_path: Path, tiny_runs: Path) -> Path:
    """A folder with a photo, a mask of it, a folder of three photos, and a run."""
    pixels = np.random.default_rng(0).integers(20, 236, (30, 40, 3)).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    for name in ("photo", "photos/a", "photos/b", "photos/c"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    shutil.copytree(tiny_runs / "both" / "seed0", tmp_path / "run")
    return tmp_path


def no_image(folder: Path) -> list[str]:
    (folder / "photo.png").write_text("not a picture")
    return ["--point", "5,5"]


def one_pixel(folder: Path) -> list[str]:
    Image.new("RGB", (1, 1)).save(folder / "photo.png")
    return ["--point", "0.5,0.5"]


def mask_of(value: int, size: tuple[int, int] = (40, 30), suffix: str = "png") -> Spoil:
    def spoil(folder: Path) -> list[str]:
        path = folder / f"other.{suffix}"
        Image.new("L", size, value).save(path)
        return ["--mask", str(path)]

    return spoil


def unfinished(folder: Path) -> list[str]:
    (folder / "run" / "metrics.json").unlink()
    return []


def without_classes(folder: Path) -> list[str]:
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    (folder / "run" / "metrics.json").write_text(json.dumps(metrics | {"classes": []}))
    return []


def full_folder(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "predictions.json").write_text("{}")
    return []


def foreign_folder(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "letter.txt").write_text("dear")
    return ["--overwrite"]


MISTAKES: dict[str, tuple[Spoil, str]] = {
    "no image": (no_image, r"photo\.png: not a picture that Pillow can read"),
    "one pixel": (one_pixel, r"a photo of 1×1 pixels is too small for GrabCut"),
    "too many pixels": (
        lambda _: ["--max_megapixels", "0.001"],
        r"the picture has 40×30 pixels, more than --max_megapixels 0\.001 million",
    ),
    "a point outside": (lambda _: ["--point", "41,5"], r"point \(41, 5\) lies outside of the photo, which is 40×30"),
    "points that contradict": (
        lambda _: ["--point", "5,5", "--negative", "5.4,5.2"],
        r"pixel \(5, 5\) is said to lie both in and out",
    ),
    "a box of no area": (lambda _: ["--box", "5,5,5,20"], r"box \(5, 5, 5, 20\) has no area"),
    "half a point": (lambda _: ["--point", "5"], r"--point has an odd count of numbers \(5\); a point is x,y"),
    "three sides of a box": (lambda _: ["--box", "5,5,9"], r"--box takes four numbers and not 3 \(5,5,9\)"),
    "a point of letters": (
        lambda _: ["--point", "a,b"],
        r"--point holds a, where numbers are wanted; give x,y .* 320,215",
    ),
    "a side of letters": (
        lambda _: ["--box", "1,b,5,5"],
        r"--box holds \[.*'b'.*\], where numbers .* left,top,right,bottom",
    ),
    "only where it is not": (
        lambda _: ["--negative", "5,5"],
        r"--negative says only what the region is not; add --point",
    ),
    "an empty mask": (mask_of(0), r"other\.png: the mask is empty"),
    "a whole mask": (mask_of(7), r"other\.png: the mask covers the whole photo"),
    "a mask of another size": (mask_of(1, (30, 40)), r"other\.png is 30×40 pixels, but its photo .* is 40×30"),
    "a mask as JPEG": (mask_of(1, suffix="jpg"), r"other\.jpg is a JPEG, which changes label ids"),
    "no such mask": (lambda f: ["--mask", str(f / "mask.pgn")], r"does not exist; did you mean 'mask\.png'\?"),
    "mask and point": (
        lambda f: ["--mask", str(f / "mask.png"), "--point", "5,5"],
        r"--point, --negative or --box and --mask both say what the regions are",
    ),
    "mask and segmenter": (
        lambda f: ["--mask", str(f / "mask.png"), "--segmenter.working_side", "64"],
        r"--mask has regions already, so segmenter\.\* does nothing",
    ),
    "photo and pairs": (lambda f: ["--pairs", str(f)], r"--pairs and --photo both say what is to be predicted"),
    "a split of nothing": (lambda _: ["--split", "test"], r"--split names a part of a tree of pairs; add --pairs"),
    "SAM without weights": (lambda _: ["--segmenter.name", "sam"], r"segmenter\.checkpoint"),
    "an unfinished run": (unfinished, r"is an unfinished run \(it has no metrics\.json\)"),
    "a run without classes": (without_classes, r"metrics\.json is damaged: it names no known model and classes"),
    "a full folder": (full_folder, r"out holds earlier predictions; add --overwrite"),
    "a full folder and a point outside": (
        lambda f: [*full_folder(f), "--point", "41,5"],
        r"point \(41, 5\) lies outside of the photo",
    ),
    "a foreign folder": (foreign_folder, r"holds what no prediction wrote \(letter\.txt\)"),
    "a misspelt option": (lambda _: ["--maks", "x"], r"unknown option '--maks'; did you mean .*'--mask'"),
    "a method of no maps": (
        lambda _: ["--method", "gradcan"],
        r"--method gradcan is not known; did you mean 'gradcam'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    spoil, expected = MISTAKES[mistake]
    arguments = spoil(scene)
    before = sorted(scene.rglob("*"))
    fixed = ["--run", str(scene / "run"), "--photo", str(scene / "photo.png"), "--out", str(scene / "out")]
    error = refusal(monkeypatch, capsys, *fixed, "--device", "cpu", *arguments)
    assert error.count("\n") == 1
    assert re.search(expected, error), error
    assert sorted(scene.rglob("*")) == before


def test_every_bad_photo_of_a_folder_is_named_and_nothing_is_written(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lack their mask or have one that is empty, which is seen when it is read; before that, two are no photos."""
    (scene / "masks").mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(scene / "mask.png", scene / "masks" / f"{name}.png")
    fixed = ["--run", str(scene / "run"), "--photo", str(scene / "photos"), "--mask", str(scene / "masks")]
    Image.new("L", (40, 30)).save(scene / "masks" / "a.png")
    Image.new("L", (4, 3)).save(scene / "masks" / "c.png")
    error = refusal(monkeypatch, capsys, *fixed, "--device", "cpu")
    assert "nothing is predicted: 2 problems" in error
    assert re.search(r"1\. .*a\.png: the mask is empty.*\n  2\. .*c\.png is 4×3 pixels", error)
    assert not (scene / "run" / "predictions").exists()
    (scene / "photos" / "a.png").write_text("no picture")
    (scene / "photos" / "b.png").write_bytes(b"")
    error = refusal(monkeypatch, capsys, *fixed)
    assert re.search(r"2 problems\n  1\. .*a\.png: not a picture.*\n  2\. .*b\.png: the file is empty", error)
    (scene / "masks" / "b.png").unlink()
    assert re.search(r"b\.png has no mask .*masks/b\.png", refusal(monkeypatch, capsys, *fixed))


def test_a_folder_without_photos_and_prompts_that_fit_no_photo(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--run", str(scene / "run"), "--photo"]
    error = refusal(monkeypatch, capsys, *fixed, str(scene / "photos"), "--point", "5,5")
    assert "put prompts of several photos into a file: --prompts FILE" in error
    (scene / "empty").mkdir()
    assert "empty holds no photo" in refusal(monkeypatch, capsys, *fixed, str(scene / "empty"))
    prompts = scene / "prompts.csv"
    prompts.write_text("photo,points\na.png,5 5\nb.png,50 5\n../photo.png,5 5\nd.png,5 5\n")
    error = refusal(monkeypatch, capsys, *fixed, str(scene / "photos"), "--prompts", str(prompts))
    assert "2 problems" in error
    assert re.search(r"line 4: the photo '\.\./photo\.png' .*\n.*line 5: .*d\.png does not exist", error)
    prompts.write_text("photo,points\na.png,5 5\nb.png,50 5\n")
    error = refusal(monkeypatch, capsys, *fixed, str(scene / "photos"), "--prompts", str(prompts))
    assert re.search(r"prompts\.csv, line 3: point \(50, 5\) lies outside of the photo", error)
    assert not (scene / "run" / "predictions").exists()


def test_pairs_that_are_none(
    scene: Path, pair_tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--run", str(scene / "run"), "--pairs"]
    assert "did you mean 'photos'" in refusal(monkeypatch, capsys, *fixed, str(scene / "photo_s"))
    assert "holds no split 'tets'" in refusal(monkeypatch, capsys, *fixed, str(pair_tree), "--split", "tets")
    error = refusal(monkeypatch, capsys, *fixed, str(pair_tree / "test"))
    assert f"is one split; write --pairs {pair_tree} --split test" in error
    for view, size in (("roi", (40, 30)), ("extra-roi", (40, 31))):
        (scene / "plain" / view).mkdir(parents=True)
        Image.new("RGB", size, "red").save(scene / "plain" / view / "x.png")
    assert re.search(
        r"x\.png is 40×30 pixels and .*x\.png is 40×31", refusal(monkeypatch, capsys, *fixed, str(scene / "plain"))
    )
    (scene / "plain" / "extra-roi" / "x.png").unlink()
    assert "has no partner in" in refusal(monkeypatch, capsys, *fixed, str(scene / "plain"))


def test_a_model_of_one_view_has_no_context_to_lose(
    tiny_runs: Path, scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--run", str(tiny_runs / "roi"), "--photo", str(scene / "photo.png"), "--point", "5,5", "--what_if"]
    assert "--what_if takes the context away" in refusal(monkeypatch, capsys, *fixed)
    fixed[1] = str(tiny_runs / "both")
    assert "holds 2 runs, one for each seed" in refusal(monkeypatch, capsys, *fixed)
    fixed[1] = str(tiny_runs)
    assert str(tiny_runs / "roi") in refusal(monkeypatch, capsys, *fixed).partition("name one of them: ")[2]
