import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from utils.errors import ConfigError

VIT = "test_vit.r160_in1k"
DISTILLED = "deit_tiny_distilled_patch16_224.fb_in1k"


def load(path: Path, name: str = VIT, image_size: int | None = None, allow_mismatch: bool = False) -> Backbone:
    config = BackboneConfig(name=name, weights=str(path), allow_mismatch=allow_mismatch)
    return build_backbone(config, role="roi", image_size=image_size)


def published(name: str = VIT, **options: object) -> dict[str, Tensor]:
    return timm.create_model(name, **options).state_dict()  # type: ignore[arg-type]  # mixed options


def assert_holds(module: Backbone, expected: dict[str, Tensor]) -> None:
    for key, tensor in module.model.state_dict().items():
        assert torch.equal(tensor, expected[key].to(tensor.dtype)), key


Wrap = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: state, id="bare"),
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, id="state_dict"),
        pytest.param(lambda state: {"model": state, "optimizer": {}}, id="model"),
        pytest.param(lambda state: {f"module.{key}": value for key, value in state.items()}, id="module."),
        pytest.param(lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()}, id="compiled"),
        pytest.param(lambda state: {"state_dict": {"x": torch.ones(1)}, "state_dict_ema": state}, id="averaged first"),
    ],
)
def test_a_pth_file_is_unwrapped(tmp_path: Path, wrap: Wrap) -> None:
    state = published()
    torch.save(wrap(state), tmp_path / "w.pth")
    module = load(tmp_path / "w.pth")
    assert_holds(module, state)
    assert module.notes == []
    assert module.source == str(tmp_path / "w.pth")


def test_a_safetensors_file_in_half_precision(tmp_path: Path) -> None:
    state = {key: tensor.half() for key, tensor in published().items()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    module = load(tmp_path / "w.safetensors")
    assert_holds(module, state)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("kept", [True, False])
def test_only_the_classifier_may_be_absent_or_extra(tmp_path: Path, kept: bool) -> None:
    state = published() if kept else published(num_classes=0)
    assert ("head.weight" in state) is kept
    torch.save(state, tmp_path / "w.pth")
    assert_holds(load(tmp_path / "w.pth"), state)


def test_position_embeddings_are_resized_smoothly(tmp_path: Path) -> None:
    # A ramp from left to right stays one when it is resampled, so means and order are known without a second formula.
    state = published(DISTILLED)
    ramp = torch.arange(14.0).repeat(14, 1).reshape(1, 196, 1).expand(1, 196, 192)
    state["pos_embed"] = torch.cat([torch.full((1, 2, 192), 5.0), ramp], dim=1)
    torch.save({"model": state}, tmp_path / "w.pth")
    resized = load(tmp_path / "w.pth", DISTILLED, image_size=64).model.state_dict()["pos_embed"]
    assert resized.shape == (1, 2 + 16, 192)
    assert torch.equal(resized[:, :2], torch.full((1, 2, 192), 5.0))
    rows = resized[0, 2:, 0].reshape(4, 4)
    assert torch.allclose(rows, rows[:1].expand(4, 4), atol=1e-4)
    assert (rows[0].diff() > 2).all()
    assert float(rows.mean()) == pytest.approx(6.5, abs=1e-3)


def test_an_original_deit_checkpoint(tmp_path: Path) -> None:
    # As published by its authors: {"model": ...} with both classifiers, which pooled features do without.
    state = published(DISTILLED)
    assert {"head.weight", "head_dist.weight", "dist_token"} <= state.keys()
    torch.save({"model": state}, tmp_path / "deit.pth")
    assert_holds(load(tmp_path / "deit.pth", DISTILLED), state)


def test_an_original_deit_iii_checkpoint_names_its_layer_scale_otherwise(tmp_path: Path) -> None:
    name = "deit3_small_patch16_224.fb_in1k"
    state = published(name, depth=1)
    assert "blocks.0.ls1.gamma" in state
    original = {key.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2"): state[key] for key in state}
    original["blocks.0.gamma_1"] = torch.full((384,), 0.125)
    torch.save({"model": original}, tmp_path / "deit3.pth")
    module = load(tmp_path / "deit3.pth", name, allow_mismatch=True)
    assert torch.equal(module.model.state_dict()["blocks.0.ls1.gamma"], torch.full((384,), 0.125))
    assert not any("unexpected" in note for note in module.notes)


def mismatched(tmp_path: Path) -> Path:
    state = published()
    del state["norm.weight"]
    state["blocks.0.extra.bias"] = torch.zeros(3)
    state["patch_embed.proj.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_missing_unexpected_and_misshapen_keys_are_listed_and_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(mismatched(tmp_path))
    message = str(refusal.value)
    assert "do not match: 3 problems" in message
    assert "1 missing: norm.weight" in message
    assert "1 unexpected: blocks.0.extra.bias" in message
    assert "1 wrongly shaped: patch_embed.proj.bias 5 for 64" in message
    assert "allow_mismatch: true" in message


def test_allowed_mismatches_are_reported_and_the_rest_is_loaded(tmp_path: Path) -> None:
    path = mismatched(tmp_path)
    module = load(path, allow_mismatch=True)
    assert [note.partition(": ")[2] for note in module.notes] == [
        "1 missing: norm.weight",
        "1 unexpected: blocks.0.extra.bias",
        "1 wrongly shaped: patch_embed.proj.bias 5 for 64",
    ]
    saved = torch.load(path, weights_only=True)
    assert torch.equal(module.model.state_dict()["pos_embed"], saved["pos_embed"])


def test_long_lists_are_counted_and_cut(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in published().items() if not key.startswith("blocks.")}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"do not match: \d\d missing: (blocks\.\S+, ){4}…"):
        load(tmp_path / "w.pth")


def test_logits_need_the_classifier_of_the_file(tmp_path: Path) -> None:
    torch.save(published(num_classes=0), tmp_path / "w.pth")
    config = BackboneConfig(name=VIT, weights=str(tmp_path / "w.pth"), features="logits")
    with pytest.raises(ConfigError, match=r"2 missing: head\.weight, head\.bias"):
        build_backbone(config, role="roi")


@pytest.mark.parametrize("allow_mismatch", [True, False])
def test_weights_of_another_architecture_are_refused_in_any_case(tmp_path: Path, allow_mismatch: bool) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"none of its 1 tensors fits; layer\.weight"):
        load(tmp_path / "w.pth", allow_mismatch=allow_mismatch)


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": published(), "trap": Trap(tmp_path / "mark")}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"would run code when they are read \(\w+\.mkdir\), which is refused"):
        load(tmp_path / "w.pth")
    assert not (tmp_path / "mark").exists()
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with pytest.raises(ConfigError, match=r"plain\.pth"):
        load(tmp_path / "plain.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02}q\x00", b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"w\.{suffix}"):
        load(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(published(), path)
    else:
        safetensors.torch.save_file(published(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="cannot be read, the file is damaged or of another kind"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "name": "x"}, "hold no state dict but a dictionary with epoch, name"),
        ([1, 2], "hold no state dict but list"),
        ({}, "hold no state dict"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "w.pth")


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.pth' do not exist; give a \.safetensors file"):
        load(tmp_path / "absent.pth")
    (tmp_path / "w.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="NumPy archive; convert"):
        load(tmp_path / "w.npz")


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows loading on a computer without a GPU")
def test_tensors_saved_on_a_gpu_load_without_one(tmp_path: Path) -> None:
    state = published()
    torch.save(state, tmp_path / "cpu.pth")
    with zipfile.ZipFile(tmp_path / "cpu.pth") as source, zipfile.ZipFile(tmp_path / "gpu.pth", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"X\x03\x00\x00\x00cpu" in data
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            target.writestr(name, data)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "gpu.pth", weights_only=True)
    assert_holds(load(tmp_path / "gpu.pth"), state)
