"""Where a backbone's weights came from, down to the file's hash."""

import hashlib
import json
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import timm

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.origin import describe_weights


def build(weights: str | None = None, *, pretrained: bool = False) -> Backbone:
    config = BackboneConfig(name="test_vit", pretrained=pretrained, weights=weights)
    return build_backbone(config, role="roi")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def test_a_local_file_is_named_with_its_hash(file: Path) -> None:
    found = json.loads(json.dumps(describe_weights({"roi": build(str(file))})))["roi"]
    assert found == {
        "name": "test_vit",
        "source": str(file),
        "kind": "file",
        "location": str(file),
        "tag": None,
        "file": str(file),
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "reason": None,
    }


def test_published_weights_are_named_with_their_tag(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    found = describe_weights({"roi": build(pretrained=True)})["roi"]
    assert found["kind"] == "hub"
    assert found["tag"] == "test_vit.r160_in1k"
    assert found["location"] == "timm/test_vit.r160_in1k"
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_run_is_named_with_the_hash_of_its_weights(tiny_runs: Path) -> None:
    run = tiny_runs / "both" / "seed0"
    config = BackboneConfig(name="test_vit", pretrained=False, weights=str(run))
    found = describe_weights({"extra_roi": build_backbone(config, role="extra_roi")})["extra_roi"]
    assert (found["kind"], found["location"]) == ("run", str(run))
    assert found["sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def test_random_weights_and_files_that_are_gone_have_a_reason_and_no_hash(file: Path) -> None:
    gone = build(str(file))
    file.unlink()
    found = describe_weights({"roi": build(), "extra_roi": gone})
    assert [one["sha256"] for one in found.values()] == [None, None]
    assert found["roi"]["reason"] == "no file: random weights"
    assert "No such file" in found["extra_roi"]["reason"]
