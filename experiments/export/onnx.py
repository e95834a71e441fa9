"""A model as an ONNX file: written for any number of pictures, and compared with PyTorch before it counts."""

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.export.options import ONNX_WEIGHTS_FILE, OnnxInput
from experiments.kinds import Model
from utils.batch import normalise
from utils.errors import ConfigError, RunError
from utils.files import sha256

TOLERANCE = 1e-4
BATCH_SIZES = (1, 2, 5)
OUTPUT = "logits"
# A file of protocol buffers ends at 2 GiB; what surrounds the weights needs far less than the rest.
LARGEST_WITHIN = 2_000_000_000
_OPERATOR = re.compile(r"(?:target=torch\.ops\.|OpOverload\(op=')([a-z_0-9]+\.\w+)")
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch._dynamo")


class _Positional(nn.Module):
    """A model whose views are arguments in order, normalised here where pixels are given."""

    def __init__(self, model: Model, given: OnnxInput) -> None:
        super().__init__()
        self.model = model
        self.given = given
        self.eval()

    def forward(self, *views: Tensor) -> Tensor:
        """Return the logits B×C of each view's pictures B×3×S×S."""
        named = dict(zip(self.model.view_specs, views, strict=True))
        if self.given == "uint8":
            named = {name: self._normalised(name, pixels) for name, pixels in named.items()}
        return self.model(named)  # type: ignore[no-any-return]  # nn.Module's call

    def _normalised(self, name: str, pixels: Tensor) -> Tensor:
        spec = self.model.view_specs[name]
        mean, std = (torch.tensor(values).mul(255.0)[:, None, None] for values in (spec.mean, spec.std))
        return (pixels.to(torch.float32) - mean) / std


def write_onnx(
    model: Model, path: Path, *, given: OnnxInput = "float32", opset: int = 18, facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write a model as ONNX and compare the file with it on random pictures.

    Args:
        model: in eval mode, on the CPU, in single precision.
        path: of the file; weights beyond 2 GB go to ``model.onnx.data`` beside it.
        given: what the inputs are, each called by its view: float32 B×3×S×S normalised as the backbone asks for it,
            or uint8 B×3×S×S in 0..255. B is any number from 1.
        opset: version of ONNX's operators.
        facts: JSON values kept in the file's metadata.

    Returns:
        What ``export.json`` says of it: file, hash, inputs, output, opset and the largest absolute difference.

    Raises:
        ConfigError: an operator of a backbone has no counterpart in ONNX, or the network cannot be traced.
        RunError: the file's logits differ by more than 1e-4.
    """
    module = _Positional(model, given)
    with _quiet():
        program = _translate(module, given, opset)
        _describe(program.model, facts or {})
        n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        external = n_bytes > LARGEST_WITHIN
        program.save(str(path), external_data=external)
        difference = _compare(module, path, given)
    if not difference <= TOLERANCE:
        raise RunError(
            f"ONNX and PyTorch disagree about {_names(model)}: their logits differ by {difference:.2g} where "
            f"{TOLERANCE:g} is allowed; nothing was written. Try another --opset, or leave --onnx out"
        )
    return {
        "file": path.name,
        "external_weights": ONNX_WEIGHTS_FILE if external else None,
        "sha256": sha256(path),
        "inputs": {name: f"{given} B×3×{spec.size}×{spec.size}" for name, spec in model.view_specs.items()},
        "output": OUTPUT,
        "opset": opset,
        "largest_difference": difference,
        "versions": {name: metadata.version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
    }


def random_views(model: Model, count: int, given: OnnxInput, seed: int = 0) -> list[Tensor]:
    """Return ``count`` random pictures of each view, as the file takes them."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(count, 3, spec.size, spec.size) for spec in model.view_specs.values()]
    pixels = [torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8) for shape in shapes]
    if given == "uint8":
        return pixels
    return [normalise(one, spec).contiguous() for one, spec in zip(pixels, model.view_specs.values(), strict=True)]


def _translate(module: _Positional, given: OnnxInput, opset: int) -> Any:  # noqa: ANN401  # torch names no public type
    model, exported = module.model, None
    views = tuple(random_views(model, 2, given))
    batch = torch.export.Dim("batch", min=1)
    try:
        exported = torch.export.export(module, views, dynamic_shapes=(tuple({0: batch} for _ in views),), strict=False)
        program = torch.onnx.export(
            exported,
            input_names=list(model.view_specs),
            output_names=[OUTPUT],
            dynamic_shapes=(tuple({0: "batch"} for _ in views),),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    except Exception as error:  # the exporter raises many kinds; all mean the same to a user
        raise ConfigError(_problem(model, exported, error, opset)) from error
    assert program is not None
    written = program.model.opset_imports[""]
    if written != opset:
        raise ConfigError(
            f"--opset {opset} is not to be had: the installed exporter writes {_names(model)} in opset {written}; "
            f"set --opset {written}"
        )
    return program


def _problem(model: Model, exported: torch.export.ExportedProgram | None, error: Exception, opset: int) -> str:
    """Say in one line which operator of which backbone has no counterpart."""
    chain, cause = [], cast(BaseException | None, error)
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    found = next((match for one in chain if (match := _OPERATOR.search(str(one)))), None)
    advice = "leave --onnx out, or train with another backbone"
    if found is None or exported is None:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return f"{_names(model)} cannot be traced for ONNX ({reason}); {advice}"
    operator = found[1].replace(".", "::", 1)
    return (
        f"{_names(model, _view_of(exported, found[1]))} cannot be written as ONNX: its operator {operator} has no "
        f"counterpart in opset {opset}; try another --opset, {advice}"
    )


def _view_of(exported: torch.export.ExportedProgram, operator: str) -> str | None:
    """Return the module in which an operator is called, null where that cannot be said."""
    stem, last = operator.partition(".")[2].strip("_"), None
    for node in exported.graph.nodes:
        for place, _ in node.meta.get("nn_module_stack", {}).values():
            last = place.split(".")[1] if place.count(".") else last
        if node.op == "call_function" and stem in str(node.target):
            return last
    return None


def _names(model: Model, module: str | None = None) -> str:
    """Return the backbone of a module, or all of them, for the start of a message."""
    backbones = {f"{view}_backbone": backbone for view, backbone in model.backbones.items()}
    if module in backbones:
        return f"backbone '{backbones[module].name}' ({module})"
    names = dict.fromkeys(backbone.name for backbone in backbones.values())
    return f"backbone{'s' if len(names) > 1 else ''} " + " and ".join(f"'{name}'" for name in names)


def _describe(graph_model: Any, facts: Mapping[str, Any]) -> None:  # noqa: ANN401  # onnx_ir's, which has no stubs
    """Name batch and output, add facts, and take out the exporter's notes, which name files of this machine."""
    for node in graph_model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*graph_model.graph.inputs, *graph_model.graph.outputs, *graph_model.graph.initializers.values()):
        value.metadata_props.clear()
    for function in graph_model.functions.values():
        function.metadata_props.clear()
    graph_model.metadata_props.clear()
    graph_model.graph.metadata_props.clear()
    for key, value in facts.items():
        graph_model.metadata_props[key] = json.dumps(value, ensure_ascii=False)


def _compare(module: _Positional, path: Path, given: OnnxInput) -> float:
    """Check the file and return the largest difference of its logits from the model's, NaN where one is NaN."""
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return float(np.max([_difference(module, session, count, given) for count in BATCH_SIZES]))  # keeps NaN
    except Exception as error:  # checker and runtime raise kinds of their own
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"the ONNX file of {_names(module.model)} does not run ({reason}); leave --onnx out") from error


def _difference(module: _Positional, session: Any, count: int, given: OnnxInput) -> float:  # noqa: ANN401  # no stubs
    views = random_views(module.model, count, given, seed=count)
    specs = module.model.view_specs
    prepared = (
        [normalise(one, spec) for one, spec in zip(views, specs.values(), strict=True)] if given == "uint8" else views
    )
    with torch.inference_mode():
        ours = module.model(dict(zip(specs, prepared, strict=True))).numpy()
    inputs = {name: one.numpy() for name, one in zip(specs, views, strict=True)}
    theirs: NDArray[np.float32] = session.run([OUTPUT], inputs)[0]
    return float(np.abs(theirs - ours).max()) if np.isfinite(theirs).all() else float("inf")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, advice and warnings from the user, for whom nothing follows from them."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
