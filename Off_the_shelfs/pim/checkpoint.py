"""Weights of the plug-in module from files: checkpoints in the layout of the authors' code, and runs of this project.

Theirs hold ``model``, ``optimizer`` and ``epoch``; the keys of ``model`` begin with ``backbone.``, ``fpn.``,
``fpn_classifier_layer<i>.`` and ``combiner.`` (github chou141253/FGVC-PIM). Optimiser and epoch are left alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, converted
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.origin import local_origin
from Off_the_shelfs.weights import Weights, load_weights, read_weights
from utils.batch import ViewName
from utils.errors import ConfigError

if TYPE_CHECKING:
    from Off_the_shelfs.pim.module import PimBackbone

_TRUNK, _HEAD = "backbone.", "combiner.classifier."
_CLASSIFIER_PARTS = {"0": "hidden", "1": "norm", "3": "output"}
_COMBINER_PARTS = {
    "param_pool0": "pool_ranks",
    "adj1": "adjacency",
    "alpha1": "alpha",
    "conv_q1": "query",
    "conv_k1": "key",
    "conv1": "mix",
    "batch_norm1": "norm",
    "param_pool1": "pool_joints",
}
# What is counted, where it is told, and what decides it; # counts levels.
_SIZES = (
    ("channels of width", "combiner.mix.weight", 0, "pim.width"),
    ("channels of the maps", "pyramid.projections.#.0.weight", 1, "pim.taps, pim.levels or the backbone"),
    ("kept positions", "combiner.pool_ranks.weight", 1, "pim.counts"),
    ("joints", "combiner.pool_ranks.weight", 0, "pim.positions_per_joint"),
    ("channels of the query", "combiner.query.weight", 0, "pim.query_channels"),
    ("positions after the dense map", "pyramid.lifts.#.weight", 0, "data.image_size or pim.taps"),
    ("classes", "classifiers.#.output.bias", 0, "the data"),
)
_HEAD_LEFT = "the combiner's classifier is not taken, since the model has a head of its own"
_HEAD_AFRESH = "the combiner's classifier starts afresh"


@dataclass(frozen=True)
class PimWeights:
    """Weights of a timm model and of a plug-in module on it.

    Attributes:
        trunk: of the timm model.
        plug_in: by the names of ``PlugIn``.
        head: ``weight`` K×F and ``bias`` K of the combiner's classifier, where the file has them.
        pruned: whether the timm model lacks what no map depends on, as in our own runs.
    """

    trunk: Weights
    plug_in: dict[str, Tensor]
    head: dict[str, Tensor] = field(default_factory=dict)
    pruned: bool = False

    @property
    def title(self) -> str:
        """What messages call them."""
        return f"weights '{self.trunk.source}'"

    def load_trunk(self, trunk: Backbone, config: BackboneConfig) -> None:
        """Load the timm model, whole or pruned as the weights are.

        Raises:
            ConfigError: keys that do not match, unless ``allow_mismatch``.
        """
        names = cast(Any, trunk.model).pretrained_cfg.get("classifier") or ()
        layers = [names] if isinstance(names, str) else list(cast(Sequence[str], names))
        unused = {f"{layer}.{kind}": torch.empty(0) for layer in layers for kind in ("weight", "bias")}
        notes = load_weights(
            trunk.model,
            converted(self.trunk, trunk, {} if self.pruned else unused),
            classifier_keys=frozenset(unused),
            allow_mismatch=config.allow_mismatch,
            title=f"{self.title} for {config.name}{self.trunk.hint(config.name)}",
        )
        trunk.source, trunk.origin = self.trunk.source, local_origin(cast(str, config.weights))
        trunk.notes = [*self.trunk.notes, *notes]
        if not self.pruned and _has_class_token(trunk.model):
            trunk.notes.append(
                f"{self.title}: the module that they are of counts the class token of {config.name} among the places, "
                f"this one does not, so it answers otherwise until it is trained"
            )

    def load_plug_in(self, backbone: "PimBackbone", config: BackboneConfig) -> None:
        """Load everything beside the timm model; the combiner's classifier waits in ``head_weights`` for ``fill_head``.

        With ``allow_mismatch`` whatever has another shape starts afresh, and the notes say so.

        Raises:
            ConfigError: weights of another module, with what differs.
        """
        if self.pruned:
            self.load_trunk(backbone, config)
        tensors = _reshaped(self.plug_in, backbone.plug_in)
        differences = _differences(tensors, backbone, config)
        if differences and not config.allow_mismatch:
            found = "; ".join(f"{fact}, so change {remedy}" for fact, remedy in differences)
            raise ConfigError(
                f"{self.title} are of another plug-in module than this one on {config.name}: {found}; or set "
                f"allow_mismatch: true to start afresh what does not fit"
            )
        notes = load_weights(
            backbone.plug_in,
            tensors,
            classifier_keys=frozenset(),
            allow_mismatch=config.allow_mismatch,
            title=f"{self.title} for the plug-in module on {config.name}",
        )
        backbone.notes = [*backbone.notes, *(f"{self.title}: {fact}" for fact, _ in differences), *notes]
        if self.head:
            fits = len(self.head["bias"]) == len(backbone.plug_in.state_dict()["classifiers.0.output.bias"])
            backbone.head_weights = self.head if fits else {}
            backbone.notes.append(f"{self.title}: {_HEAD_LEFT if fits else _HEAD_AFRESH}")


def _has_class_token(model: nn.Module) -> bool:
    return bool(getattr(model, "num_prefix_tokens", 0)) or getattr(model, "cls_token", None) is not None


def fill_head(backbone: "PimBackbone", head: nn.Module) -> None:
    """Load the combiner's classifier, where weights with one were read, into the last layer of a model's head."""
    if not backbone.head_weights:
        return
    cast(nn.Sequential, head)[-1].load_state_dict(backbone.head_weights)
    backbone.head_weights = {}
    backbone.notes = [note for note in backbone.notes if not note.endswith(_HEAD_LEFT)]


def read_pim_weights(config: BackboneConfig, role: ViewName) -> PimWeights | None:
    """Read ``config.weights``; null where they are those of a timm model alone.

    Raises:
        ConfigError: as ``read_weights`` does.
    """
    weights = read_weights(cast(str, config.weights), role)
    if weights.plug_in:
        return PimWeights(weights, weights.plug_in, pruned=True)
    tensors = weights.tensors
    if not any(key.startswith(("fpn.", "fpn_classifier_", "combiner.")) for key in tensors):
        return None
    trunk = {key.removeprefix(_TRUNK): tensor for key, tensor in tensors.items() if key.startswith(_TRUNK)}
    head = {key.removeprefix(_HEAD): tensor for key, tensor in tensors.items() if key.startswith(_HEAD)}
    rest = {translated(key): tensor for key, tensor in tensors.items() if not key.startswith((_TRUNK, _HEAD))}
    if not trunk or set(head) not in ({"weight", "bias"}, set()):
        lacks = "tensors of a backbone" if not trunk else "weight and bias of combiner.classifier"
        raise ConfigError(
            f"weights '{weights.source}' look like those of the published plug-in module, but hold no {lacks}; give "
            f"its whole checkpoint, best.pt or last.pt"
        )
    return PimWeights(replace(weights, tensors=trunk), rest, head)


def translated(key: str) -> str:
    """Return our name of a published weight outside the backbone; an unknown one is returned as it is."""
    if match := re.fullmatch(r"fpn\.Proj_layer(\d+)\.([02])\.(\w+)", key):
        return f"pyramid.projections.{int(match[1]) - 1}.{match[2]}.{match[3]}"
    if match := re.fullmatch(r"fpn\.Up_layer(\d+)\.(\w+)", key):
        return f"pyramid.lifts.{int(match[1]) - 2}.{match[2]}"
    if match := re.fullmatch(r"fpn_classifier_layer(\d+)\.([013])\.(\w+)", key):
        return f"classifiers.{int(match[1]) - 1}.{_CLASSIFIER_PARTS[match[2]]}.{match[3]}"
    part, _, rest = key.removeprefix("combiner.").partition(".")
    if key.startswith("combiner.") and part in _COMBINER_PARTS:
        return ".".join(["combiner", _COMBINER_PARTS[part], *([rest] if rest else [])])
    return key


def _reshaped(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Give convolutions over single cells the shape of the same linear map, and numbers that of lists of one."""
    own = module.state_dict()

    def fitted(key: str, tensor: Tensor) -> Tensor:
        if key not in own or tensor.shape == own[key].shape:
            return tensor
        bare = tensor.flatten(1) if tensor.dim() > 2 and tensor[0, 0].numel() == 1 else tensor
        return tensor.reshape(own[key].shape) if tensor.numel() == own[key].numel() == 1 else bare

    return {key: fitted(key, tensor) for key, tensor in tensors.items()}


def _differences(
    tensors: Mapping[str, Tensor], backbone: "PimBackbone", config: BackboneConfig
) -> list[tuple[str, str]]:
    """Say in words how the weights' module differs from ours, the most telling first, each with what decides it."""
    own, pim = backbone.plug_in.state_dict(), config.pim
    levels, own_levels = (len({key.split(".")[2] for key in each if "projections." in key}) for each in (tensors, own))
    if levels != own_levels:
        return [(f"{levels} levels there, {own_levels} here", "pim.levels")]
    found = []
    for what, key, axis, remedy in _SIZES:
        names = list(dict.fromkeys(key.replace("#", str(number)) for number in range(own_levels)))
        theirs, ours = ([each[name].shape[axis] for name in names if name in each] for each in (tensors, own))
        if theirs and ours and theirs != ours:
            found.append((f"{_short(theirs)} {what} there, {_short(ours)} here", remedy))
    lifted = [{key for key in each if key.startswith("pyramid.lifts.")} for each in (tensors, own)]
    if lifted[0] != lifted[1]:
        there = "dense" if lifted[0] else "interpolate"
        if there != pim.upsample:
            found.append((f"upsample {there} there, {pim.upsample} here", "pim.upsample"))
    return found


def _short(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))
