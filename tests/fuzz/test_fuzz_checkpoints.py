"""Weights, states and recorded scores with any damage: read whole, or one line says that they are damaged."""

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import strategies as st

from Off_the_shelfs.weights import read_weights
from tests.fuzz.conftest import Fuzz, Told
from tests.fuzz.mutations import mutated
from utils.arrays import read_arrays
from utils.checkpoints import STATE_FILE, WEIGHTS_FILE, check_checkpoint, load_state, load_weights
from utils.json_file import read_json_object
from utils.run_directory import RunDirectory

TENSORS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2)}
STATE = {
    "step": 7,
    "rng": torch.zeros(16, dtype=torch.uint8),
    "best": {"score": 0.5, "keys": ["a", "b"]},
    "nothing": None,
}


def saved(content: object, *, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def test_weights_of_runs(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: load_weights(path), path)
        assert found is None or all(isinstance(tensor, torch.Tensor) for tensor in found.values())
        return found is not None

    fuzz("model.safetensors", mutated(st.just(safetensors.torch.save(TENSORS))), check, 120)


def test_states(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    def check(data: bytes) -> bool:
        (tmp_path / STATE_FILE).write_bytes(data)
        found = told(lambda: load_state(tmp_path), tmp_path / STATE_FILE)
        assert found is None or isinstance(found, dict)
        return found is not None

    contents = [saved(content, zipped=zipped) for content in (STATE, [1], 3) for zipped in (True, False)]
    fuzz("state.pt", mutated(st.sampled_from(contents)), check, 80)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w"])
def test_weights_from_files(name: str, fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / name

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = told(lambda: read_weights(str(path), "roi"), path)
        assert found is None or all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values())
        return found is not None

    contents = [safetensors.torch.save(TENSORS)] if name == "w.safetensors" else []
    contents += [saved({"state_dict": TENSORS}, zipped=zipped) for zipped in (True, False)]
    fuzz(f"weights {name}", mutated(st.sampled_from(contents)), check, 50)


@pytest.mark.parametrize("name", ["metrics.json", "env.json", "checkpoint.json"])
def test_records_of_runs(name: str, fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / name

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: read_json_object(path, "record of a run"), path)
        whole = told(lambda: check_checkpoint(tmp_path) or "", tmp_path) if name == "checkpoint.json" else ""
        metrics = told(RunDirectory(tmp_path).read_metrics, path) if name == "metrics.json" else {}
        environment = RunDirectory(tmp_path).read_environment()
        assert isinstance(environment, dict)
        assert whole is not None
        assert metrics is None or isinstance(metrics, dict)
        return found is not None

    documents = [
        {"step": 7, "files": {"a": {"bytes": 3, "sha256": "00" * 32}}},
        {"test": {"accuracy": 0.5, "per_class": [{"class": "crème", "f1": None}]}, "model": "rvernet"},
        {"parts": [{"step": 0, "options": {"run.dir": "x"}}], "weights": {"roi": {"source": "y"}}},
    ]
    fuzz(name, mutated(st.sampled_from([json.dumps(document).encode() for document in documents])), check, 60)


def test_recorded_scores(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "logits.npz"
    np.savez_compressed(path, test=np.zeros((4, 3), np.float32), test_label=np.arange(4))

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: read_arrays(path, ("test", "test_label")), path)
        assert found is None or set(found) == {"test", "test_label"}
        return found is not None

    fuzz("logits.npz", mutated(st.just(path.read_bytes())), check, 80)
