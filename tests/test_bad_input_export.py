"""What export.py refuses: one line that says what to do, and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError

from experiments.export.command import export_command
from experiments.prediction.description import describe
from experiments.prediction.predictor import load_predictor
from utils.errors import ConfigError, DataError, ReportedError, RunError


def refusal(kind: type[ReportedError], *arguments: object) -> str:
    with pytest.raises(kind) as caught:
        export_command([str(argument) for argument in arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def run(tiny_runs: Path) -> Path:
    return tiny_runs / "roi"


def test_no_run_no_folder_and_unknown_values(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "--run DIR" in refusal(ConfigError, "--out", out)
    assert "--out FOLDER" in refusal(ConfigError, "--run", run)
    assert "does not exist" in refusal(ConfigError, "--run", tmp_path / "none", "--out", out)
    assert "not the folder of a run" in refusal(ConfigError, "--run", tmp_path, "--out", out)
    assert "holds 2 runs" in refusal(ConfigError, "--run", run.parent / "both", "--out", out)
    assert "opset is 7; it must be 18 to 30" in refusal(ConfigError, "--run", run, "--out", out, "--opset", 7)
    assert "hub" in refusal(ConfigError, "--run", run, "--out", out, "--hub", "torch")
    assert "did you mean '--onnx'?" in refusal(ConfigError, "--run", run, "--out", out, "--onx")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(ConfigError, "--run", run, "--out", tmp_path / "file")
    assert "holds what no export wrote (file)" in refusal(ConfigError, "--run", run, "--out", tmp_path, "--overwrite")
    assert "what no export wrote" in refusal(ConfigError, "--run", run, "--out", run, "--overwrite")
    (tmp_path / "file").rename(tmp_path / "export.json")
    assert "add --overwrite" in refusal(ConfigError, "--run", run, "--out", tmp_path)
    (tmp_path / "thesis.tex").write_text("")
    assert "(thesis.tex)" in refusal(ConfigError, "--run", run, "--out", tmp_path, "--overwrite")


def test_a_users_file_in_a_subfolder_of_an_export(run: Path, tmp_path: Path) -> None:
    (tmp_path / "roi_backbone").mkdir()
    for path in (tmp_path / "export.json", tmp_path / "roi_backbone" / "config.json"):
        path.write_text("")
    assert "add --overwrite" in refusal(ConfigError, "--run", run, "--out", tmp_path)
    notes = tmp_path / "roi_backbone" / "my_notes.txt"
    notes.write_text("months of work")
    assert "(roi_backbone/my_notes.txt)" in refusal(ConfigError, "--run", run, "--out", tmp_path, "--overwrite")
    notes.unlink()
    (tmp_path / "README.md").mkdir()
    assert "(README.md)" in refusal(ConfigError, "--run", run, "--out", tmp_path, "--overwrite")
    assert (tmp_path / "README.md").is_dir()


@pytest.fixture
def sizeless(run: Path, tmp_path: Path) -> Path:
    """A run that does not say to what size its pairs were made, and whose tree is gone."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    metrics = json.loads((copy / "metrics.json").read_text())
    del metrics["pair_side"]
    (copy / "metrics.json").write_text(json.dumps(metrics))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["data"]["root"] = "/home/somebody/pairs"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    return copy


def test_a_size_that_nobody_knows_is_asked_for(run: Path, sizeless: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not describe(sizeless).size_known
    text = refusal(ConfigError, "--run", sizeless, "--out", out)
    assert "/home/somebody/pairs" in text
    assert "--size N" in text
    assert "--size is 64" in refusal(ConfigError, "--run", run, "--out", out, "--size", 64)
    assert "size is -1; it must be 0 to 16384" in refusal(ConfigError, "--run", run, "--out", out, "--size", -1)
    assert not out.exists()
    export_command(["--run", str(sizeless), "--out", str(out), "--size", "64"])
    exported = describe(out)
    assert (exported.size, exported.size_known, exported.notes) == (64, True, [])
    for path in out.iterdir():
        assert b"/home/somebody" not in path.read_bytes(), path


def test_a_guessed_size_is_told_without_a_path(sizeless: Path) -> None:
    (note,) = describe(sizeless).notes
    assert "224 pixels are taken" in note
    assert "/" not in note


def test_an_unfinished_and_a_damaged_run(run: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(run, copy)
    (copy / "model.safetensors").write_bytes(b"\0" * 100)
    assert "damaged" in refusal(DataError, "--run", copy, "--out", out)
    (copy / "metrics.json").unlink()
    assert "unfinished" in refusal(DataError, "--run", copy, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["plates", "a/b/c", "../plates", "a/", "/b", "a b/c", "a/b--c", "a/b..c", "a/.b", ""])
def test_a_repository_that_cannot_be(run: Path, tmp_path: Path, name: str) -> None:
    assert "USER/NAME" in refusal(ConfigError, "--run", run, "--out", tmp_path / "out", f"--push={name}")
    with pytest.raises(ConfigError, match="USER/NAME"):
        load_predictor(f"hf-hub:{name}")
    assert not list(tmp_path.iterdir())


def test_no_token(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    text = refusal(ConfigError, "--run", run, "--out", tmp_path / "out", "--push", "someone/plates")
    assert "HF_TOKEN" in text
    assert not list(tmp_path.iterdir())


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_no_network(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", failing(ConnectionError("no route\nto host")))
    text = refusal(RunError, "--run", run, "--out", tmp_path / "out", "--push", "someone/plates")
    assert "could not upload to someone/plates on the hub (no route to host)" in text
    assert (tmp_path / "out" / "export.json").is_file()  # the message says so
    for error in (ConnectionError("no route"), LocalEntryNotFoundError("nothing in the cache")):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(error))
        with pytest.raises(ConfigError, match="someone/plates on the hub") as caught:
            load_predictor("hf-hub:someone/plates")
        assert "\n" not in str(caught.value)


def test_a_repository_that_no_export_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(DataError, match=r"holds no export\.json"):
        load_predictor("hf-hub:someone/plates")
    with pytest.raises(ConfigError, match="no revision"):
        load_predictor("hf-hub:someone/plates@two words")
