import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from experiments.export.command import export_command
from experiments.export.folder import read_export
from experiments.prediction.predictor import load_predictor
from experiments.runs import load_index, read_runs
from utils.errors import UserError
from utils.files import sha256

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(("run", "export"), [("both/seed0", "exported_pair"), ("roi", "exported_one")])
def test_the_folder_alone_gives_the_runs_own_test_logits(
    run: str, export: str, tiny_runs: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shutil.copytree(request.getfixturevalue(export), tmp_path / "elsewhere")
    index = load_index(read_runs([tiny_runs / run])[0])
    predictor = load_predictor(tmp_path / "elsewhere", device="cpu")
    with np.load(tiny_runs / run / "logits.npz") as stored:
        assert np.allclose(predictor.stored_logits(index, 20), stored["test"], atol=1e-6)
    assert predictor.classes == ("tomato", "spinach", "blueberry")
    assert predictor.ambiguous == ("tomato", "spinach")
    assert predictor.size == 32


def test_the_temperature_and_its_story_travel(tiny_runs: Path, plain: Path) -> None:
    run, exported = (load_predictor(folder, device="cpu") for folder in (tiny_runs / "both" / "seed0", plain))
    assert (exported.temperature, exported.calibration) == (run.temperature, run.calibration)


def test_nothing_of_this_machine_or_of_training_is_in_the_folder(exported_pair: Path, tiny_runs: Path) -> None:
    project = str(Path(__file__).parents[3])
    for path in exported_pair.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [word for word in (project, str(tiny_runs), "site-packages") if word.encode() in data], path
    document = json.loads((exported_pair / "export.json").read_text())
    assert not {"train", "run", "eval"} & document.keys()
    assert {"root", "augment", "splits"} & document["data"].keys() == set()


def test_scores_stand_with_their_intervals_in_description_and_card(tiny_runs: Path, exported_pair: Path) -> None:
    scores = json.loads((tiny_runs / "both" / "seed0" / "metrics.json").read_text())["test"]
    assert json.loads((exported_pair / "export.json").read_text())["scores"] == scores
    low, high = scores["top1_ci"]
    card = (exported_pair / "README.md").read_text()
    assert f"{scores['top1']:.3f} [{low:.3f}, {high:.3f}]" in card


def test_the_description_says_to_others_what_each_view_is(exported_pair: Path) -> None:
    views = json.loads((exported_pair / "export.json").read_text())["views"]
    assert list(views) == ["roi", "extra_roi"]
    # As timm publishes them for these two models.
    assert views["roi"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert views["extra_roi"]["std"] == pytest.approx([0.5, 0.5, 0.5])
    assert {(view["size"], view["bars"], view["channels"]) for view in views.values()} == {(32, 0, "RGB")}


def test_an_exported_folder_is_exported_again_to_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    export_command(["--run", str(plain), "--out", str(tmp_path / "again")])
    first, again = (json.loads((folder / "export.json").read_text()) for folder in (plain, tmp_path / "again"))
    assert again.pop("origin")["origin"] == first.pop("origin")
    assert {**again, "name": first["name"]} == first
    assert sha256(tmp_path / "again" / "model.safetensors") == sha256(plain / "model.safetensors")


def test_an_earlier_export_is_replaced_when_asked(plain: Path, tiny_runs: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "out")
    (tmp_path / "out" / "model.onnx").write_bytes(b"of the earlier one")
    export_command(["--run", str(tiny_runs / "roi"), "--out", str(tmp_path / "out"), "--overwrite"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "export.json", "model.safetensors"}
    assert read_export(tmp_path / "out").kind.name == "off-the-shelf"


DAMAGE: dict[str, Change] = {
    "another version": lambda d: d.update(format=2),
    "no version": lambda d: d.pop("format"),
    "an unknown kind": lambda d: d.update(kind="ResNet"),
    "another kind": lambda d: d.update(kind="off-the-shelf"),
    "no name": lambda d: d.pop("name"),
    "a name of two lines": lambda d: d.update(name="a\nb"),
    "a number for a name": lambda d: d.update(name=7),
    "a model of text": lambda d: d.update(model="vit"),
    "an unknown key of the model": lambda d: d["model"].update(code="import os"),
    "a backbone from the hub": lambda d: d["model"]["roi_backbone"].update(name="hf-hub:someone/model"),
    "a backbone from a folder": lambda d: d["model"]["roi_backbone"].update(name="local-dir:/etc"),
    "a head of other width": lambda d: d["model"].update(hidden_width=641),
    "a head that fills the memory": lambda d: d["model"].update(hidden_width=10**13),
    "a dropout beyond 1": lambda d: d["model"].update(dropout=2.0),
    "a data root": lambda d: d["data"].update(root="/etc"),
    "no bars": lambda d: d["data"].pop("bars"),
    "pictures of a kilometre": lambda d: d["data"].update(image_size=10**9),
    "one class": lambda d: d.update(classes=d["classes"][:1]),
    "a class less": lambda d: d.update(classes=d["classes"][:2]),
    "classes as text": lambda d: d.update(classes=["tomato", "spinach", "blueberry"]),
    "a class of no text": lambda d: d["classes"][0].update(name=None),
    "a class twice": lambda d: d["classes"][0].update(d["classes"][1]),
    "a folder outside": lambda d: d["classes"][0].update(folder="../tomato"),
    "a class that paints the terminal": lambda d: d["classes"][0].update(name="\x1b[31mtomato"),
    "an unknown ambiguous class": lambda d: d.update(ambiguous=["mango"]),
    "ambiguous text": lambda d: d.update(ambiguous="tomato"),
    "a negative size": lambda d: d.update(size=-1),
    "a size of text": lambda d: d.update(size="32"),
    "a true size": lambda d: d.update(size=True),
    "a huge size": lambda d: d.update(size=10**30),
    "no temperature": lambda d: d.update(temperature=None),
    "a temperature of 0": lambda d: d.update(temperature=0),
    "a temperature that is no number": lambda d: d.update(temperature=math.nan),
    "an infinite temperature": lambda d: d.update(temperature=math.inf),
    "a huge temperature": lambda d: d.update(temperature=10**400),
    "a calibration of numbers": lambda d: d.update(calibration=[1, 2]),
    "a note that is no text": lambda d: d.update(notes=[{}]),
    "weights elsewhere": lambda d: d["weights"].update(file="../model.safetensors"),
    "weights at the root": lambda d: d["weights"].update(file="/etc/passwd"),
    "weights of a pickle": lambda d: d["weights"].update(file="model.pth"),
    "weights of another size": lambda d: d["weights"].update(bytes=3),
    "weights of another hash": lambda d: d["weights"].update(sha256="0" * 64),
    "no hash": lambda d: d["weights"].pop("sha256"),
    "weights as text": lambda d: d.update(weights="model.safetensors"),
}


@pytest.fixture
def spoilt(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "spoilt"))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_predictor(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in DAMAGE.items()])
def test_a_damaged_or_hostile_description_is_refused_in_one_line(spoilt: Path, change: Change) -> None:
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    refused(spoilt)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "[" * 100_000, '{"format": 1}', "7"])
def test_a_description_that_is_no_description_is_refused(spoilt: Path, text: str) -> None:
    (spoilt / "export.json").write_text(text)
    assert "export.json" in refused(spoilt)


def test_one_changed_bit_of_the_weights_is_found(spoilt: Path) -> None:
    path = spoilt / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refused(spoilt)
    path.unlink()
    assert "model.safetensors" in refused(spoilt)


def test_weights_of_another_network_are_refused_whatever_their_hash(spoilt: Path) -> None:
    path = spoilt / "model.safetensors"
    tensors = load_file(path)
    save_file({key: tensor for key, tensor in tensors.items() if "conv_stem" not in key}, path)
    document = json.loads((spoilt / "export.json").read_text())
    document["weights"].update(bytes=path.stat().st_size, sha256=sha256(path))
    (spoilt / "export.json").write_text(json.dumps(document))
    assert "conv_stem" in refused(spoilt)


def test_a_description_does_not_make_us_read_other_files(spoilt: Path, tmp_path: Path) -> None:
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    for view in ("roi", "extra_roi"):
        document["model"][f"{view}_backbone"] |= {"weights": str(tmp_path / "none.pth"), "pretrained": True}
    path.write_text(json.dumps(document))
    load_predictor(spoilt, device="cpu")  # reads its own weights, which are there
