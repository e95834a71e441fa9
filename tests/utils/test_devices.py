"""What a device is asked to do, and what is refused."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import timm.optim
import torch
from torch import nn
from torch.nn import functional

from utils.devices import (
    make_accelerator,
    resolve_device,
    resolve_precision,
    resolve_tf32,
    without_deterministic_algorithm,
)
from utils.errors import ConfigError
from utils.optimisers import FUSED, make_optimizer, resolve_fused
from utils.sections import TrainConfig


@pytest.fixture
def rounding() -> Iterator[None]:
    """Put torch's settings for the whole process back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A GPU that has what the dictionary says."""
    able = {"bf16": True, "tf32": True}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able["bf16"])
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: able["tf32"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Quadro P400")
    return able


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_absent_gpu_names_what_is_there() -> None:
    with pytest.raises(
        ConfigError, match=r"^train\.device is cuda, but this machine has cpu; use --train\.device cpu "
    ):
        resolve_device("cuda")


def test_precision_by_device(gpu: dict[str, bool]) -> None:
    assert (resolve_precision("auto", "cuda"), resolve_precision("auto", "cpu")) == ("bf16", "fp32")
    assert resolve_precision("bf16", "cpu") == "bf16"
    gpu["bf16"] = False
    assert resolve_precision("auto", "cuda") == "fp32"
    with pytest.raises(ConfigError, match=r"^train\.precision is bf16, which Quadro P400 lacks; use fp16 or fp32$"):
        resolve_precision("bf16", "cuda")


def test_tf32_by_device(gpu: dict[str, bool]) -> None:
    assert (resolve_tf32("auto", "cuda"), resolve_tf32("auto", "cpu"), resolve_tf32("auto", "mps")) == (
        True,
        False,
        False,
    )
    assert not resolve_tf32(False, "cuda")
    with pytest.raises(ConfigError, match=r"^train\.tf32 is true, which the device cpu lacks; use auto or false$"):
        resolve_tf32(True, "cpu")
    gpu["tf32"] = False
    assert not resolve_tf32("auto", "cuda")
    with pytest.raises(ConfigError, match="which Quadro P400 lacks"):
        resolve_tf32(True, "cuda")


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_is_switched_on_and_off(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.devices.resolve_tf32", lambda *_: wanted)
    torch.set_float32_matmul_precision("highest" if wanted else "high")
    torch.backends.cudnn.allow_tf32 = not wanted
    make_accelerator(TrainConfig(device="cpu"))
    assert torch.get_float32_matmul_precision() == ("high" if wanted else "highest")
    assert torch.backends.cudnn.allow_tf32 is wanted
    assert not torch.backends.cudnn.benchmark


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_rounds_products_on_the_gpu(wanted: bool) -> None:
    """1 + 2⁻¹² needs 12 bits of mantissa; TF32 keeps 10."""
    make_accelerator(TrainConfig(device="cuda", tf32=wanted))
    factor = torch.full((256, 256), 1 + 2.0**-12, device="cuda")
    rounded = bool((factor @ torch.eye(256, device="cuda") != factor).any())
    assert rounded is wanted


def test_fused_where_the_device_is_a_gpu_and_torch_has_it() -> None:
    assert [resolve_fused("auto", device, "adamw") for device in ("cuda", "cpu", "mps")] == [True, False, False]
    assert not resolve_fused("auto", "cuda", "lamb")
    assert resolve_fused(True, "cpu", "sgd")
    assert not resolve_fused(False, "cuda", "adam")
    with pytest.raises(ConfigError, match=r"^train\.fused is true, which the optimiser 'lamb' does not have; .* sgd$"):
        resolve_fused(True, "cuda", "lamb")
    with pytest.raises(ConfigError, match="'adamm' is not a timm optimiser"):
        resolve_fused(True, "cuda", "adamm")


def parameters_after(steps: int, name: str, fused: bool) -> list[Any]:
    torch.manual_seed(0)
    trunk, head = nn.Linear(5, 4), nn.Linear(4, 2)
    train = TrainConfig(device="cpu", optimizer=name, fused=fused, weight_decay=0.1, head_lr=0.01, backbone_lr=0.01)
    optimizer = make_optimizer(train, [trunk], head)
    assert all(bool(group.get("fused")) is fused for group in optimizer.param_groups)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(head(trunk(torch.ones(3, 5)).relu()).square().sum())
        optimizer.step()
    return [parameter.detach() for module in (trunk, head) for parameter in module.parameters()]


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_step_is_the_same_step(name: str) -> None:
    assert name in timm.optim.list_optimizers()
    torch.testing.assert_close(parameters_after(4, name, True), parameters_after(4, name, False), rtol=1e-5, atol=1e-6)


def unpooled() -> torch.Tensor:
    """An operation that torch has in no deterministic form."""
    values, places = functional.max_pool2d(torch.ones(1, 1, 4, 4), 2, return_indices=True)
    return functional.max_unpool2d(values, places, [2, 2])


def test_deterministic_algorithms_are_asked_for_and_given_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_accelerator(TrainConfig(device="cpu", deterministic=True))
    try:
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        message = r"^train\.deterministic is true, but torch has no deterministic max_unpooling2d\w* on this device"
        with pytest.raises(ConfigError, match=message), without_deterministic_algorithm():
            unpooled()
    finally:
        make_accelerator(TrainConfig(device="cpu"))
    with without_deterministic_algorithm():
        assert unpooled().shape == (1, 1, 4, 4)
