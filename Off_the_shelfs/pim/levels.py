"""The maps of features that a timm model gives on its way, of whatever family it is."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from Off_the_shelfs.checkpointing import set_grad_checkpointing
from Off_the_shelfs.pictures import one_line
from Off_the_shelfs.pim.config import PimConfig
from utils.errors import ConfigError
from utils.memory import is_out_of_memory

DEFAULT_LEVELS = 4
_FAILURES = (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError)  # of pictures of another size
_NO_MAPS = "choose a backbone with convolutions or patches; a classifier can use features: pooled too"


@dataclass(frozen=True)
class Level:
    """The shape of one map: channels, and rows and columns of its grid."""

    channels: int
    height: int
    width: int

    @property
    def positions(self) -> int:
        """Number of cells of the grid."""
        return self.height * self.width


@dataclass(frozen=True)
class Taps:
    """Where maps are taken from a timm model.

    Attributes:
        indices: numbers of the maps, shallow to deep.
        merging_stages: with merged patches, the number of the stage whose merging gives each map; -1 for the last
            stage's output. Empty where each map is the output of a stage or block.
        levels: shapes of these outputs in the whole model; empty with merged patches.
    """

    indices: tuple[int, ...]
    merging_stages: tuple[int, ...] = ()
    levels: tuple[Level, ...] = ()

    def maps(self, model: nn.Module, pictures: Tensor) -> list[Tensor]:
        """Return the maps of pictures B×3×H×W, shallow to deep, each B×C×h×w without class or register tokens."""
        if not self.merging_stages:
            return _intermediates(model, pictures, list(self.indices))
        mergers = _mergers(model)
        wanted = [mergers[stage - 1] for stage in self.merging_stages if stage > 0]
        with _listening(wanted) as found:
            last = _intermediates(model, pictures, [len(mergers)])
        merged = [found[merger].permute(0, 3, 1, 2) for merger in wanted]
        return merged + last if self.merging_stages[-1] < 0 else merged


def find_taps(model: nn.Module, name: str, config: PimConfig, size: int) -> Taps:
    """Return where the wanted maps are taken for pictures of ``size`` px.

    Raises:
        ConfigError: the model gives no maps, none of these numbers, or merges no patches between its stages.
    """
    shapes = level_shapes(model, name, None, size)
    offered = len(shapes)
    if config.taps == "merged" and (not offered or len(_mergers(model)) != offered - 1):
        raise ConfigError(
            f"pim.taps: merged takes maps where patches are merged between stages, which backbone '{name}' does not "
            f"do (Swin does); use taps: stages"
        )
    indices = _chosen(config.levels, offered, name)
    if config.taps == "stages":
        return Taps(indices, levels=tuple(shapes[index] for index in indices))
    return Taps(indices, tuple(index + 1 if index + 1 < offered else -1 for index in indices))


def _chosen(levels: list[int] | None, offered: int, name: str) -> tuple[int, ...]:
    if levels is None:
        return tuple(range(max(0, offered - DEFAULT_LEVELS), offered))
    indices = tuple(level + offered if level < 0 else level for level in levels)
    inside = all(0 <= index < offered for index in indices)
    if not inside or list(indices) != sorted(set(indices)):
        raise ConfigError(
            f"pim.levels is {levels}, but backbone '{name}' has {offered} maps: numbers are 0 to {offered - 1}, or "
            f"{-offered} to -1 from the end, from shallow to deep and each once"
        )
    return indices


def prune(model: nn.Module, name: str, taps: Taps, size: int) -> list[Level]:
    """Take out of a model, in place, what no map depends on; what cannot be taken out gets no gradient.

    The model can still be called as a whole; its output is then no vector. Returns the shapes of the maps.
    """
    wanted = [_mergers_until(taps, len(_mergers(model)))] if taps.merging_stages else list(taps.indices)
    whole = _structure(model)
    try:
        cast(Callable[..., Any], model.prune_intermediate_layers)(wanted, prune_norm=True, prune_head=True)
        reached, levels = look(model, name, taps, size)
        unchanged = not taps.levels or levels == list(taps.levels)
    except (ConfigError, NotImplementedError, AttributeError, ValueError, AssertionError):
        unchanged = False
    if not unchanged:  # some families number what is left anew
        _restore(whole)
        reached, levels = look(model, name, taps, size)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name not in reached:
            parameter.requires_grad = False
    return levels


_Structure = list[tuple[nn.Module, dict[str, nn.Module | None], dict[str, Any]]]


def _structure(model: nn.Module) -> _Structure:
    """Return each module with its children and its plain attributes, for ``_restore``."""
    return [
        (part, dict(part._modules), {key: value for key, value in vars(part).items() if not isinstance(value, dict)})
        for part in model.modules()
    ]


def _restore(structure: _Structure) -> None:
    for part, children, attributes in structure:
        part._modules.clear()
        part._modules.update(children)
        vars(part).update(attributes)


def look(model: nn.Module, name: str, taps: Taps, size: int) -> tuple[set[str], list[Level]]:
    """Return the names of the parameters that the maps depend on, and the shapes of the maps."""
    found = _run(model, name, taps, size, lambda given, maps: (_reached(given, maps), _levels(name, maps)))
    return cast(tuple[set[str], list[Level]], found)


def _mergers_until(taps: Taps, last_stage: int) -> int:
    """Return the deepest stage that runs: the last one, or the one that merges the last map's patches."""
    return last_stage if taps.merging_stages[-1] < 0 else taps.merging_stages[-1]


def level_shapes(model: nn.Module, name: str, taps: Taps | None, size: int) -> list[Level]:
    """Return the shapes of the maps for pictures of ``size`` px; of all that a model has where ``taps`` is null.

    Raises:
        ConfigError: the model gives no maps, or cannot take such pictures.
    """
    return cast(list[Level], _run(model, name, taps, size, lambda _, maps: _levels(name, maps)))


def _levels(name: str, maps: list[Tensor]) -> list[Level]:
    odd = next((tuple(found.shape) for found in maps if found.dim() != 4), None)
    if odd is not None:
        raise ConfigError(f"backbone '{name}' gives no maps of features but shapes {odd}; {_NO_MAPS}")
    return [Level(*found.shape[1:]) for found in maps]


def check_saves_memory(model: nn.Module, name: str) -> None:
    """Refuse gradient checkpointing where timm does it in the pooled features' pass alone."""
    parts = [part for part in model.modules() if part is not model]
    inside = any(getattr(part, "grad_checkpointing", False) for part in parts)
    if not inside and "grad_checkpointing" not in inspect.getsource(cast(Any, model.forward_intermediates)):
        raise ConfigError(
            f"backbone '{name}' cannot compute the activations of its maps again (timm has no gradient checkpointing "
            f"for them); set grad_checkpointing: false, and lower train.micro_batch where memory is short"
        )


class _Maps(nn.Module):
    """The maps as the output of a module, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module, taps: Taps | None) -> None:
        super().__init__()
        self.model, self.taps = model, taps

    def forward(self, pictures: Tensor) -> list[Tensor]:
        if self.taps is None:
            return _intermediates(self.model, pictures, None)
        return self.taps.maps(self.model, pictures)


def _run(
    model: nn.Module,
    name: str,
    taps: Taps | None,
    size: int,
    use: Callable[[dict[str, Tensor], list[Tensor]], Any],
) -> Any:  # noqa: ANN401  # what ``use`` makes of it
    """Hand the model's parameters and its maps of two pictures to ``use``; nothing is computed where shapes suffice."""
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(f"backbone '{name}' gives no maps of features; {_NO_MAPS}")
    maps, mode = _Maps(model, taps), model.training
    checkpoints = [part for part in model.modules() if getattr(part, "grad_checkpointing", False)]
    if checkpoints:
        set_grad_checkpointing(model, wanted=False)
    shapes = {key: torch.empty_like(tensor, device="meta") for key, tensor in model.named_buffers()}
    for key, tensor in model.named_parameters():
        shapes[key] = torch.empty_like(tensor, device="meta").requires_grad_()
    named = {f"model.{key}": tensor for key, tensor in shapes.items()}
    model.eval()
    try:
        with torch.enable_grad():
            try:
                pictures = torch.empty(2, 3, size, size, device="meta")
                # Of layers that are there under two names torch would put back the wrong tensors.
                return use(shapes, functional_call(maps, named, (pictures,), tie_weights=False))
            except (NotImplementedError, RuntimeError) as error:
                # Some operations need numbers, and some models hold tensors that are neither parameters nor buffers.
                if not isinstance(error, NotImplementedError) and "meta" not in str(error):
                    raise
                pictures = torch.zeros(2, 3, size, size, device=next(model.parameters()).device)
                return use(dict(model.named_parameters()), maps(pictures))
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"backbone '{name}' gives no maps of features of pictures of {size} px ({one_line(error)}); {_NO_MAPS}"
        ) from error
    finally:
        model.train(mode)
        if checkpoints:
            set_grad_checkpointing(model, wanted=True)


def _reached(parameters: dict[str, Tensor], maps: list[Tensor]) -> set[str]:
    """Return the names of those tensors that the maps depend on."""
    asked = {key: tensor for key, tensor in parameters.items() if tensor.requires_grad}
    if not any(found.requires_grad for found in maps):
        return set(asked)
    total = torch.stack([found.sum() for found in maps]).sum()
    gradients = torch.autograd.grad(total, list(asked.values()), allow_unused=True)
    return {key for key, gradient in zip(asked, gradients, strict=True) if gradient is not None}


def _intermediates(model: nn.Module, pictures: Tensor, indices: list[int] | None) -> list[Tensor]:
    forward = cast(Callable[..., list[Tensor]], model.forward_intermediates)
    return forward(pictures, indices=indices, stop_early=True, output_fmt="NCHW", intermediates_only=True)


def _mergers(model: nn.Module) -> list[nn.Module]:
    """Return what merges patches at the start of each of a Swin's stages but the first."""
    stages = getattr(model, "layers", None) or getattr(model, "stages", None)
    found = [getattr(stage, "downsample", None) for stage in list(stages or [])[1:]]
    family = "timm.models.swin_transformer"  # and its second version
    known = [part for part in found if isinstance(part, nn.Module) and type(part).__module__.startswith(family)]
    return known if len(known) == len(found) else []


@contextmanager
def _listening(modules: list[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Collect the outputs of modules."""
    found: dict[nn.Module, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda part, _inputs, output: found.__setitem__(part, output))
        for module in modules
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
