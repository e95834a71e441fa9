import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments.export import network
from experiments.export.command import export_command
from experiments.export.folder import read_export
from experiments.prediction.description import describe
from experiments.prediction.predictor import load_predictor
from experiments.runs import load_index, read_runs
from utils.checkpoints import load_into
from utils.errors import DataError, UserError
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
    origin, first_origin = again.pop("origin"), first.pop("origin")
    assert {**origin, "exported": first_origin["exported"]} == first_origin
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
    "a backbone of another network": lambda d: d["model"]["roi_backbone"].update(name="test_resnet"),
    "a backbone of 100,000 letters": lambda d: d["model"]["roi_backbone"].update(name="v" * 100_000),
    "a key of 100,000 letters": lambda d: d["model"].update({"v" * 100_000: 1}),
    "an infinity where nobody looks": lambda d: d["origin"].update(seed=math.inf),
    "a head of other width": lambda d: d["model"].update(hidden_width=641),
    "a head that fills the memory": lambda d: d["model"].update(hidden_width=10**13),
    "a dropout beyond 1": lambda d: d["model"].update(dropout=2.0),
    "a data root": lambda d: d["data"].update(root="/etc"),
    "no bars": lambda d: d["data"].pop("bars"),
    "pictures of a kilometre": lambda d: d["data"].update(image_size=10**9),
    "pictures of ten metres": lambda d: d["data"].update(image_size=10**5),
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


def test_a_network_beyond_its_weights_is_refused_before_it_takes_memory(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def spy(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
        built.extend(tensor.device.type for tensor in model.state_dict().values())
        load_into(model, weights, source)

    monkeypatch.setattr(network, "load_into", spy)
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    document["model"]["extra_roi_backbone"]["name"] = "vit_tiny_patch16_224"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="do not fit this model"):
        describe(spoilt)  # reads, and never builds for use
    assert set(built) == {"meta"}


def test_classes_keep_the_folders_that_were_written(spoilt: Path) -> None:
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    document["classes"][1]["folder"] = "greens"
    path.write_text(json.dumps(document))
    assert describe(spoilt).class_map.folders == ("tomato", "greens", "blueberry")
    export_command(["--run", str(spoilt), "--out", str(spoilt.parent / "again")])
    assert json.loads((spoilt.parent / "again" / "export.json").read_text())["classes"] == document["classes"]


PAST: dict[str, Change] = {
    "an interval of one number": lambda d: d["scores"].update(top1_ci=[0.1]),
    "an interval of text": lambda d: d["scores"].update(top1_ci="wide"),
    "a score of three numbers": lambda d: d["scores"].update(top1=[1, 2, 3]),
    "a true score": lambda d: d["scores"].update(top1=True),
    "a score that is no number": lambda d: d["scores"].update(top1=math.nan),
    "a score whose name no file holds": lambda d: d["scores"].update({"\ud800": 0.5}),
    "scores as a list": lambda d: d.update(scores=[0.5]),
    "no origin": lambda d: d.pop("origin"),
    "an origin of layers": lambda d: d["origin"].update(seed={"a": {"b": 1}}),
    "a fingerprint of layers": lambda d: d["origin"].update(fingerprint={"test": {"b": 1}}),
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in PAST.items()])
def test_an_export_with_a_damaged_past_is_not_exported_again(spoilt: Path, change: Change) -> None:
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"export\.json is damaged"):
        export_command(["--run", str(spoilt), "--out", str(spoilt.parent / "again")])
    assert not (spoilt.parent / "again").exists()


def test_of_an_origin_only_what_an_export_writes_goes_on(spoilt: Path) -> None:
    path = spoilt / "export.json"
    document = json.loads(path.read_text())
    expected = {key: document["origin"][key] for key in ("run", "seed", "selection", "fingerprint")}
    document["origin"]["a"] = {"b": ["/home/somebody"]}
    document["scores"] = None
    path.write_text(json.dumps(document))
    export_command(["--run", str(spoilt), "--out", str(spoilt.parent / "again")])
    again = json.loads((spoilt.parent / "again" / "export.json").read_text())
    assert expected.items() <= again["origin"].items()
    assert "a" not in again["origin"]
    assert again["scores"] is None
