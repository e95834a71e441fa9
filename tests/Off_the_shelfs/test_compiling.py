"""Compiled backbones: the choice, the numbers, and what is said where it fails."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.exc import InductorError, InvalidCxxCompiler

import utils.compilation
from Off_the_shelfs import compiling
from Off_the_shelfs.compiling import family_of, resolve_compile
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import RveRNet, build_rvernet
from utils.compilation import compile_errors, compile_in_place
from utils.data_sections import DataConfig
from utils.errors import ConfigError


def build(roi: bool, extra_roi: bool) -> RveRNet:
    torch.manual_seed(0)
    config = RveRNetModelConfig(
        roi_backbone=BackboneConfig(name="test_vit", pretrained=False, compile=roi),
        extra_roi_backbone=BackboneConfig(name="test_resnet", pretrained=False, compile=extra_roi),
    )
    model = build_rvernet(config, DataConfig(image_size=32), n_classes=3)
    # Tracing goes by the number of layers; one block has every kind.
    model.roi_backbone.model.blocks = cast(nn.Sequential, model.roi_backbone.model.blocks)[:1]
    model.extra_roi_backbone.model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 96))
    return model


def pictures() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {view: torch.rand(4, 3, 32, 32, generator=generator) for view in ("roi", "extra_roi")}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was compiled for one test is not met by another."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_auto_follows_the_table_and_a_word_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MEASURED", {("cuda", "vision_transformer"): True})
    names = ("vit_base_patch16_224.augreg_in1k", "deit_base_distilled_patch16_224", "no_such_model")
    assert [resolve_compile("auto", "cuda", name) for name in names] == [True, False, False]
    assert not resolve_compile("auto", "cuda", names[0], "pim")  # which refuses to be compiled
    assert not resolve_compile("auto", "cpu", names[0])
    assert resolve_compile(True, "cpu", names[1])
    assert not resolve_compile(False, "cuda", names[0])


def test_families_are_timms_modules() -> None:
    names = ["mobilenetv2_100.ra_in1k", "mixer_b16_224.goog_in21k_ft_in1k", "deit3_small_patch16_224", "resnet18", "?"]
    assert [family_of(name) for name in names] == ["efficientnet", "mlp_mixer", "deit", "resnet", ""]


def test_a_compiled_network_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for any backend; what the traced operations are turned into is left to torch."""
    seen: list[int] = []

    def counting(graph: torch.fx.GraphModule, _inputs: Any) -> Any:  # noqa: ANN401
        seen.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(utils.compilation, "BACKEND", counting)
    plain, compiled = build(False, False), build(True, False)
    keys = list(compiled.state_dict())
    compiled.compile_backbones()
    assert list(compiled.state_dict()) == keys == list(plain.state_dict())
    found = [model(pictures()) for model in (plain, compiled)]
    assert len(seen) == 2  # a trial of the compiler, and one whole graph of the backbone that asked for it
    assert seen[1] > 20
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)
    for logits in found:
        torch.autograd.backward(logits.square().mean())
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-4)


def refusing(*_: Any) -> Any:  # noqa: ANN401
    """Fail as torch's own backend does where it meets no compiler."""
    raise InductorError(InvalidCxxCompiler(), None)


def test_a_missing_compiler_is_found_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils.compilation, "BACKEND", refusing)
    with pytest.raises(ConfigError, match=r"^model\.extra_roi_backbone\.compile: .*No working"):
        build(False, True).compile_backbones()


def test_failure_names_the_option_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils.compilation, "BACKEND", refusing_models)
    model = build(False, True)
    model.compile_backbones()
    message = r"^model\.extra_roi_backbone\.compile: the module could not be compiled \(.*No working C\+\+ compiler.*\); set it to false$"  # noqa: E501
    with pytest.raises(ConfigError, match=message) as raised:
        model(pictures())
    assert "\n" not in str(raised.value)


def refusing_models(graph: torch.fx.GraphModule, _inputs: Any) -> Any:  # noqa: ANN401
    """Take the trial's one function."""
    return graph.forward if len(graph.graph.nodes) < 5 else refusing()


def test_failure_in_the_backward_pass_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=refusing)
    monkeypatch.setattr(utils.compilation, "BACKEND", backend)
    model = nn.Sequential(nn.Linear(3, 3))
    compile_in_place(model[0], "model.backbone.compile")
    with pytest.raises(ConfigError, match=r"^model\.backbone\.compile: .*No working"), compile_errors(model):
        torch.autograd.backward(model(torch.ones(2, 3)).sum())


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils.compilation, "BACKEND", "eager")
    model = nn.Sequential(nn.Linear(3, 3))
    compile_in_place(model[0], "model.backbone.compile")
    with pytest.raises(ZeroDivisionError), compile_errors(model):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="not compiled"), compile_errors(nn.Linear(1, 1)):
        raise torch._dynamo.exc.InternalTorchDynamoError("not compiled")
