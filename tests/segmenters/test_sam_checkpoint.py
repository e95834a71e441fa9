"""Checkpoints of SAM: the published sizes come out as the package builds them, and other files are refused."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from segment_anything import sam_model_registry
from torch import nn

from segmenters.prompts import Prompt
from segmenters.sam import SamSegmenter
from segmenters.sam_checkpoint import build, load_checkpoint, read_shape
from segmenters.segmenter import Photo
from utils.errors import ConfigError, DataError

FILES = ("vit_b: sam_vit_b_01ec64.pth", "vit_l: sam_vit_l_0b3195.pth", "vit_h: sam_vit_h_4b8939.pth")
BOX = Prompt(box=(10, 10, 40, 40))


def plain_settings(network: nn.Module) -> dict[str, Any]:
    """Every number, name and switch of every module, by place."""
    return {
        f"{name}.{key}": tuple(value) if isinstance(value, list) else value
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | list)
    }


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_published_sizes_are_built_as_the_package_builds_them(name: str) -> None:
    with torch.device("meta"):
        expected = sam_model_registry[name]()
    shape = read_shape(expected.state_dict())
    built = build(shape)
    assert shape.name == name
    assert [type(module) for module in built.modules()] == [type(module) for module in expected.modules()]
    assert plain_settings(built) == plain_settings(expected)
    sizes = [{key: tensor.shape for key, tensor in one.state_dict().items()} for one in (built, expected)]
    assert sizes[0] == sizes[1]
    assert built.get_buffer("pixel_mean").flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert built.get_buffer("pixel_std").flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


def test_small_network_is_built_as_it_was(small_sam: Path, small_sam_network: nn.Module) -> None:
    checkpoint = load_checkpoint(small_sam, None)
    assert plain_settings(checkpoint.network) == plain_settings(small_sam_network)
    for name, tensor in small_sam_network.state_dict().items():
        assert torch.equal(checkpoint.network.state_dict()[name], tensor), name
    assert not any(weight.requires_grad for weight in checkpoint.network.parameters())


def on_a_gpu(weights: dict[str, Any], path: Path, patch: pytest.MonkeyPatch) -> None:
    """Save as a machine with a GPU does: each storage says that it lay on one."""
    patch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
    torch.save(weights, path)
    patch.undo()


@pytest.mark.parametrize("kind", ["safetensors", "wrapped", "half", "cuda"])
def test_other_forms_of_the_same_weights_give_the_same_mask(
    kind: str, small: Callable[..., SamSegmenter], small_sam_network: nn.Module, photo: Photo, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weights, path = small_sam_network.state_dict(), tmp_path / "sam.pth"
    if kind == "safetensors":
        path = tmp_path / "sam.safetensors"
        safetensors.torch.save_file(weights, path)
    elif kind == "wrapped":
        torch.save({"model": weights, "epoch": 3}, path)
    elif kind == "half":
        torch.save({name: tensor.half() for name, tensor in weights.items()}, path)
    else:
        on_a_gpu(weights, path, monkeypatch)
    (expected,), (found,) = (small(*file).segment(photo, [BOX])[0] for file in ((), (path,)))
    assert np.count_nonzero(found.mask != expected.mask) <= (100 if kind == "half" else 0)


def test_another_size_is_refused_with_the_file_for_each(small_sam: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_checkpoint(small_sam, "vit_l")
    message = str(refused.value)
    start = f"segmenter.model is vit_l, but '{small_sam}' holds vit_32x3 (an encoder of 3 blocks, 32 wide); "
    assert message.startswith(f"{start}leave segmenter.model out, or give sam_vit_l_0b3195.pth; ")
    assert_tells_where(message)


def assert_tells_where(message: str) -> None:
    assert "\n" not in message
    assert message.endswith(
        f"; the files are {', '.join(FILES)}, from 'Model Checkpoints' on "
        "https://github.com/facebookresearch/segment-anything#model-checkpoints"
    )


def test_no_checkpoint_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^segmenter\.name sam needs segmenter\.checkpoint") as refused:
        load_checkpoint(None, None)
    assert_tells_where(str(refused.value))


class Harmful:
    """Runs a command when it is read by a careless reader."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def _saved(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, dict[str, Any]], Any]:
    def write(path: Path, weights: dict[str, Any]) -> None:
        change(weights)
        torch.save(weights, path)

    return write


def _not_finite(weights: dict[str, Any]) -> None:
    weights["mask_decoder.iou_token.weight"] = weights["mask_decoder.iou_token.weight"] * float("nan")


def _other_heads(weights: dict[str, Any]) -> None:
    name = "image_encoder.blocks.1.attn.rel_pos_h"
    weights[name] = weights[name][:, :8]


def _cut(path: Path, weights: dict[str, Any]) -> None:
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:-2000])


def _flat(weights: dict[str, Any]) -> None:
    weights["image_encoder.pos_embed"] = torch.zeros(5)


def _packed(path: Path, weights: dict[str, Any]) -> None:
    """Save weights and 20 MB of zeros, which take 20 kB."""
    torch.save(weights | {"zeros": torch.zeros(5_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def _endless(weights: dict[str, Any]) -> None:
    weights["extra"] = torch.zeros(1).expand(10**6, 10**6)


def _repeated(weights: dict[str, Any]) -> None:
    """One number for each weight, repeated: a network of 30 MB in a small file."""
    for name, tensor in weights.items():
        weights[name] = torch.zeros(1).expand(tensor.shape)


def _whole_numbers(weights: dict[str, Any]) -> None:
    name = "mask_decoder.iou_token.weight"
    weights[name] = weights[name].int()


def _other_shape(weights: dict[str, Any]) -> None:
    weights["mask_decoder.iou_token.weight"] = torch.zeros(2, 32)


WRONG: dict[str, tuple[Callable[[Path, dict[str, Any]], Any], str]] = {
    "missing": (lambda _path, _weights: None, "does not exist"),
    "folder": (lambda path, _: path.mkdir(), "is no file"),
    "text": (lambda path, _: path.write_text("<html>"), "it is no file of weights alone, or it is damaged"),
    "code": (lambda path, _: torch.save({"a": Harmful()}, path), "it is no file of weights alone"),
    "cut short": (_cut, "it is damaged or of another kind"),
    "list": (lambda path, _: torch.save([1, 2], path), "it holds no weights by name"),
    "other network": (lambda path, _: torch.save({"head.bias": torch.ones(2)}, path), "it holds head;"),
    "not finite": (_saved(_not_finite), r"has 1 weights that are not finite \(mask_decoder.iou_token.weight\)"),
    "packed": (_packed, r"it is packed: its [\d,]+ bytes hold 2\d,\d{3},\d{3};"),
    "endless": (_saved(_endless), r"do not fit together: it has 'extra', which a SAM lacks \(1 such names\)"),
    "repeated": (_saved(_repeated), r"its weights take [\d,]+ bytes, but the file has"),
    "whole numbers": (_saved(_whole_numbers), "mask_decoder.iou_token.weight is no plain tensor"),
    "other shape": (_saved(_other_shape), r"iou_token.weight is \[2, 32\] where \[1, 32\] fits"),
    "weight missing": (_saved(lambda all_: all_.pop("image_encoder.neck.2.weight")), "do not fit together: .*neck.2"),
    "size missing": (_saved(lambda all_: all_.pop("image_encoder.pos_embed")), "it lacks image_encoder.pos_embed;"),
    "two head widths": (_saved(_other_heads), r"heads \[8, 16\] wide"),
    "flat positions": (_saved(_flat), "its weights have other shapes than a SAM's"),
}


@pytest.mark.parametrize(("write", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_sam_is_refused_in_one_line(
    write: Callable[[Path, dict[str, Any]], Any], reason: str, small_sam_network: nn.Module, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(Path("sam.pth"), dict(small_sam_network.state_dict()))
    with pytest.raises(DataError, match=reason) as refused:
        load_checkpoint(Path("sam.pth"), None)
    assert str(refused.value).startswith("segmenter.checkpoint 'sam.pth' ")
    assert_tells_where(str(refused.value))
    assert not Path("harm").exists()
