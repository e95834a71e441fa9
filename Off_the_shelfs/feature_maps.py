"""Where a backbone still knows where things are: its last map of features, found by running it once."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from utils.errors import ConfigError

Layout = Literal["channels first", "channels last", "tokens"]

_CONTAINERS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class SpatialLayer:
    """A module whose output is a map of features.

    Attributes:
        name: dotted name of the module inside the timm model.
        module: the module.
        layout: of its output: B×D×h×w, B×h×w×D, or B×(prefix + h·w)×D with row-major patches.
        prefix_tokens: tokens before the patches (class, distillation, registers); 0 for the other layouts.
        height, width: of the grid, in cells.
        channels: D.
    """

    name: str
    module: nn.Module
    layout: Layout
    prefix_tokens: int
    height: int
    width: int
    channels: int

    def to_map(self, output: Tensor) -> Tensor:
        """Return the module's output, or its gradient, as B×D×h×w."""
        if self.layout == "channels first":
            return output
        if self.layout == "tokens":
            output = output[:, self.prefix_tokens :].reshape(len(output), self.height, self.width, -1)
        return output.permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a module during the trace, in the order of completion."""

    name: str
    module: nn.Module
    inputs: Tensor | None
    output: Tensor


def find_spatial_layer(
    model: nn.Module, height: int, width: int, *, least_cells: int = 1, within: nn.Module | None = None
) -> SpatialLayer:
    """Find the last map of features that a model pools, without knowing its family.

    The model is run once on random pictures. Candidates are modules whose output has the shape of a map: stages and
    layers of the trunk and, where pictures are tokens, the parts of a block that hold as many channels as the
    features, but nothing within an attention. Of these the last is taken that still passes a gradient from its cells
    to the features. Where a class token is pooled that is the normalisation before the last block's attention, since
    cells receive no gradient after it.

    Args:
        model: a timm model without or with its classifier.
        height: of its pictures, in pixels.
        width: of its pictures, in pixels.
        least_cells: smallest wanted number of cells on the shorter side of the grid; more cells come from an earlier
            layer.
        within: a module that runs parts of ``model`` and makes the features of what they give; its last map that
            counts may then be any of the model's. Null where the model itself makes the features.

    Raises:
        ConfigError: no such layer.
    """
    calls, features = _trace(model, height, width, within or model)
    candidates: list[tuple[SpatialLayer, Tensor]] = []
    shapes = _Shapes(model, calls, height, width)
    if within is not None:
        shapes.features = 0
    for call in _before_pooling(calls, shapes):
        layer = shapes.layer(call)
        if layer is not None and shapes.wanted(layer, least_cells):
            candidates.append((layer, call.output))
    for layer, reached in zip(
        reversed([layer for layer, _ in candidates]),
        reversed(_reached(features, candidates)),
        strict=True,
    ):
        if reached:
            return layer
    wanted = f" of at least {least_cells}×{least_cells} cells" if least_cells > 1 else ""
    raise ConfigError(
        f"no layer of {type(model).__name__} gives a map of features{wanted} for pictures of {width}×{height} px that "
        f"its output depends on, so there is nothing to draw a map from; "
        + ("ask for fewer cells" if candidates or least_cells > 1 else "choose a model with convolutions or patches")
    )


def _trace(model: nn.Module, height: int, width: int, whole: nn.Module) -> tuple[list[_Call], Tensor]:
    """Run the whole on two random pictures; return the model's calls of modules and the output, with their graph."""
    calls: list[_Call] = []

    def listen(name: str) -> Any:  # noqa: ANN401  # torch's type of a hook
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor):
                first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
                calls.append(_Call(name, module, first, output))

        return hook

    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(0)  # its own: nothing else's random state moves
    pictures = torch.randn(2, 3, height, width, generator=generator).to(weight)
    handles = [module.register_forward_hook(listen(name)) for name, module in model.named_modules() if name]
    try:
        with _evaluating(whole), torch.enable_grad():
            output = whole(pictures.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    return calls, output


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _reached(features: Tensor, candidates: Sequence[tuple[SpatialLayer, Tensor]]) -> list[bool]:
    """Say of each candidate whether any of its cells, prefix tokens apart, has a gradient."""
    outputs = [output for _, output in candidates]
    if not outputs:
        return []
    # Random directions, since sums can be constant: a layer norm's output sums to its bias.
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features)
    with torch.enable_grad():
        gradients = torch.autograd.grad((features * weights).sum(), outputs, allow_unused=True)
    return [
        gradient is not None and bool(layer.to_map(gradient).count_nonzero())
        for (layer, _), gradient in zip(candidates, gradients, strict=True)
    ]


def _before_pooling(calls: list[_Call], shapes: "_Shapes") -> list[_Call]:
    """Leave out what follows the global pooling, whose maps of a single cell would look like feature maps."""
    spatial = [call for call in calls if shapes.layer(call) is not None]
    if not spatial or shapes.cells(spatial[-1].output) > 1:
        return spatial
    for place in range(len(calls) - 1, -1, -1):
        if _pools_globally(calls[place], calls[place:], shapes):
            pool = calls[place].name
            return [call for call in spatial if call in calls[:place] and not call.name.startswith(f"{pool}.")]
    return spatial


def _pools_globally(call: _Call, later: list[_Call], shapes: "_Shapes") -> bool:
    """Say whether a module without weights turns the pooled map into one cell, and is no part of a layer's own."""
    if call.inputs is None or any(True for _ in call.module.parameters()):
        return False
    if shapes.cells(call.inputs) <= 1 or shapes.cells(call.output) > 1:
        return False
    around = [other for other in later if call.name.startswith(f"{other.name}.")]
    return call.inputs.shape[1] == shapes.features and not any(shapes.cells(other.output) for other in around)


class _Shapes:
    """Reads shapes as maps of features, for pictures of one size."""

    def __init__(self, model: nn.Module, calls: list[_Call], height: int, width: int) -> None:
        self.called = Counter(call.name for call in calls)
        self.aspect = height / width
        self.features = int(getattr(model, "num_features", 0) or 0)
        self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        self.prefixes = dict.fromkeys([int(getattr(model, "num_prefix_tokens", 0) or 0), 0])
        self.modules = dict(model.named_modules())

    def cells(self, output: Tensor | None) -> int:
        """Return the number of cells of a map, 0 for what is none."""
        found = None if output is None else self._read(output)
        return 0 if found is None else found[2] * found[3]

    def layer(self, call: _Call) -> SpatialLayer | None:
        """Return a call's module as a layer, None where its output or its place rules it out."""
        found = self._read(call.output)
        if found is None or len(call.output) != 2 or self.called[call.name] > 1:
            return None
        layout, prefix, height, width, channels = found
        if not self._in_the_trunk(call, layout, channels):
            return None
        return SpatialLayer(call.name, call.module, layout, prefix, height, width, channels)

    def wanted(self, layer: SpatialLayer, least_cells: int) -> bool:
        """Say whether a layer is fine enough and, where it is to be the last, what the features are pooled from."""
        last = least_cells > 1 or self.features in (0, layer.channels)
        return last and min(layer.height, layer.width) >= least_cells

    def _read(self, output: Tensor) -> tuple[Layout, int, int, int, int] | None:
        shape = tuple(output.shape)
        if len(shape) == 4:
            first, last = self._is_grid(shape[2], shape[3]), self._is_grid(shape[1], shape[2])
            if last and (self.channels_last or not first):
                return "channels last", 0, shape[1], shape[2], shape[3]
            return ("channels first", 0, shape[2], shape[3], shape[1]) if first else None
        if len(shape) == 3:
            for prefix in self.prefixes:
                rows = self._rows(shape[1] - prefix)
                if rows and shape[1] - prefix > 1:
                    return "tokens", prefix, rows, (shape[1] - prefix) // rows, shape[2]
        return None

    def _is_grid(self, height: int, width: int) -> bool:
        """Say whether a grid has the pictures' aspect ratio, one cell more or less."""
        return abs(height - self.aspect * width) < max(1.0, self.aspect)

    def _rows(self, cells: int) -> int:
        """Return the height of a grid of so many cells in the pictures' aspect ratio, 0 where there is none."""
        if cells < 1:
            return 0
        ideal = math.sqrt(cells * self.aspect)
        fitting = [rows for rows in (math.floor(ideal), math.ceil(ideal)) if rows and cells % rows == 0]
        return next((rows for rows in fitting if self._is_grid(rows, cells // rows)), 0)

    def _in_the_trunk(self, call: _Call, layout: Layout, channels: int) -> bool:
        """Say whether everything passes here: a stage, a layer beside the stages, or the tokens within a block."""
        if "Pool" in type(call.module).__name__ and not any(True for _ in call.module.parameters()):
            return False
        parts = call.name.split(".")
        ancestors = [self.modules[".".join(parts[:depth])] for depth in range(1, len(parts))]
        if all(isinstance(ancestor, _CONTAINERS) for ancestor in ancestors):
            return True
        kinds = [type(ancestor).__name__.lower() for ancestor in ancestors]
        attention = any("attention" in kind or "attn" in kind for kind in kinds)
        return layout == "tokens" and channels == self.features and not attention
