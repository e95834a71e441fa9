"""timm models in the role of a module. The one file that calls timm's factory."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, Self, cast

import timm
import torch
from safetensors import SafetensorError
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.func import functional_call

from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.weights import Weights, load_weights, published_file, read_weights
from utils.batch import Interpolation, ViewName, ViewSpec
from utils.errors import ConfigError, nearest

Normalise = Literal["backbone", "none"]


class Backbone(nn.Module):
    """A timm model that turns one view into one feature vector.

    Attributes:
        model: the timm model; its parameters are the only ones here.
        name: timm model name, weight tag included where there is one.
        num_features: length D of the feature vector.
        image_size: side of the square input in pixels.
        frozen: the module takes no gradient and never leaves eval mode, so that BatchNorm statistics, dropout and
            stochastic depth stand still too.
        source: where the weights came from.
        notes: what a user should know about the weights, such as keys that were let pass.
    """

    def __init__(self, model: nn.Module, config: BackboneConfig, image_size: int) -> None:
        super().__init__()
        self.model = model
        self.name = config.name
        self.frozen = config.frozen
        self.image_size = image_size
        self.source = "random"
        self.notes: list[str] = []
        self.num_features = _feature_count(model, config.features)
        if config.frozen:
            model.requires_grad_(requires_grad=False)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features B×D of normalised pictures B×3×S×S."""
        return cast(Tensor, self.model(x))

    def train(self, mode: bool = True) -> Self:
        """Set the mode as ``nn.Module.train`` does; a frozen module stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def view_spec(self, image_size: int | None = None, normalise: Normalise = "backbone") -> ViewSpec:
        """Return what this backbone asks of its view, from timm's own data configuration of the model.

        ``image_size`` is the side in pixels, null for the one that the backbone was built for; ``normalise="none"``
        leaves pixels at 0..1. Raises ConfigError where the backbone cannot take a picture of that size.
        """
        data = _data_config(self.model)
        size = self.image_size if image_size is None else image_size
        if size != self.image_size:
            _check_input(self, size)
        red, green, blue = data["mean"] if normalise == "backbone" else (0.0, 0.0, 0.0)
        red_std, green_std, blue_std = data["std"] if normalise == "backbone" else (1.0, 1.0, 1.0)
        return ViewSpec(
            size=size,
            mean=(float(red), float(green), float(blue)),
            std=(float(red_std), float(green_std), float(blue_std)),
            interpolation=cast(Interpolation, data["interpolation"]),
        )


def build_backbone(
    config: BackboneConfig, *, role: ViewName, image_size: int | None = None, initialise: bool = True
) -> Backbone:
    """Build a backbone with its weights.

    Args:
        config: model name, weights, freezing.
        role: the view that it sees; the module of the same role is taken from a run directory.
        image_size: side of the square input in pixels; null takes the model's own.
        initialise: False leaves random weights, for when a checkpoint is about to be loaded.

    Raises:
        ConfigError: unknown name (nearest names suggested), a size or a rate that the model does not take, weights
            that cannot be had, read or matched.
    """
    _check_config(config)
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}; it must be at least 1 px, or empty for each backbone's own")
    from_hub = initialise and config.pretrained and config.weights is None
    model = _create(config, image_size, from_hub=from_hub)
    classifier = _drop_classifier(model, config) if config.features == "pooled" else {}
    backbone = Backbone(model, config, _native_size(model) if image_size is None else image_size)
    _check_input(backbone, backbone.image_size)
    if from_hub:
        backbone.source = f"timm {config.name}"
    elif initialise and config.weights is not None:
        _load_local(backbone, config, role, classifier)
    return backbone


def _load_local(backbone: Backbone, config: BackboneConfig, role: ViewName, classifier: dict[str, Tensor]) -> None:
    """Load a file or a run directory into a backbone from which ``classifier`` was taken off."""
    weights = read_weights(cast(str, config.weights), role)
    notes = load_weights(
        backbone.model,
        _filtered(weights, backbone, classifier),
        classifier_keys=frozenset(classifier),
        allow_mismatch=config.allow_mismatch,
        title=f"weights '{weights.source}' for {config.name}{weights.hint(config.name)}",
    )
    backbone.source, backbone.notes = weights.source, [*weights.notes, *notes]


def _check_config(config: BackboneConfig) -> None:
    """Refuse names that timm does not know and rates outside their range."""
    for key in ("drop_rate", "drop_path_rate"):
        rate = getattr(config, key)
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"{key} of backbone '{config.name}' is {rate}; it must be at least 0 and below 1")
    architecture, _, tag = config.name.partition(".")
    if "/" in config.name or ":" in config.name or not timm.is_model(architecture):
        names = [*timm.list_models(), *timm.list_pretrained()]
        raise ConfigError(
            f"unknown backbone '{config.name}'{nearest(config.name, names) or '.'} "
            f"Allowed is any of timm's {len(timm.list_models())} model names (timm.list_models())"
        )
    tagged = [name for name in timm.list_pretrained(f"{architecture}*") if name.partition(".")[0] == architecture]
    if tag and config.name not in tagged:
        offered = ", ".join(tagged) or "none"
        raise ConfigError(f"unknown weight tag '{tag}' of backbone '{architecture}'; published weights: {offered}")
    if config.pretrained and config.weights is None and not tagged:
        raise ConfigError(
            f"timm has no published weights of backbone '{architecture}'; "
            "set pretrained: false, or weights: PATH to a local file"
        )


def _create(config: BackboneConfig, image_size: int | None, *, from_hub: bool) -> nn.Module:
    """Create the timm model with its ImageNet classifier, so that published weights are matched key by key."""
    published = timm.get_pretrained_cfg(config.name)
    arguments: dict[str, Any] = {"drop_rate": config.drop_rate, "drop_path_rate": config.drop_path_rate}
    if image_size is not None and published is not None and published.fixed_input_size:
        arguments["img_size"] = image_size
    if from_hub:
        file = published_file(config.name, published.hf_hub_id if published is not None else None)
        arguments["pretrained"] = True
        if file is not None:
            arguments["pretrained_cfg_overlay"] = {"file": str(file), "custom_load": False}
    try:
        return _call_factory(config.name, arguments)
    except (RuntimeError, ValueError, AssertionError, OSError, ZeroDivisionError, SafetensorError) as error:
        raise ConfigError(_creation_problem(config.name, image_size, error, from_hub=from_hub)) from error


def _call_factory(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Call timm, leaving out rates of 0 that the model's constructor does not know."""
    while True:
        try:
            return timm.create_model(name, **arguments)
        except TypeError as error:
            key = next((key for key in ("drop_path_rate", "drop_rate") if f"'{key}'" in str(error)), None)
            if key is None or key not in arguments:
                raise
            if arguments.pop(key):
                raise ConfigError(f"backbone '{name}' does not take {key}; set it to 0") from error


def _creation_problem(name: str, image_size: int | None, error: Exception, *, from_hub: bool) -> str:
    if from_hub:
        return (
            f"the published weights of backbone '{name}' could not be loaded ({_one_line(error)}); "
            "set weights: PATH to a local file, or pretrained: false"
        )
    if image_size is not None:
        return (
            f"backbone '{name}' cannot be built for pictures of {image_size} px ({_one_line(error)}); change image_size"
        )
    return f"backbone '{name}' cannot be built: {_one_line(error)}"


def _drop_classifier(model: nn.Module, config: BackboneConfig) -> dict[str, Tensor]:
    """Remove the ImageNet classifier in place and return what the state dict lost."""
    before = model.state_dict()
    if getattr(model, "num_classes", 0):
        try:
            cast(Callable[[int], None], model.reset_classifier)(0)
        except (AttributeError, AssertionError, NotImplementedError) as error:
            raise ConfigError(f"backbone '{config.name}' has no pooled features; set features: logits") from error
    after = model.state_dict()
    return {key: tensor for key, tensor in before.items() if key not in after}


def _feature_count(model: nn.Module, features: Literal["pooled", "logits"]) -> int:
    classes = int(getattr(model, "num_classes", 0) or 0)
    if features == "pooled":
        return int(getattr(model, "head_hidden_size", 0) or getattr(model, "num_features", 0))
    if not classes:
        name = type(model).__name__
        raise ConfigError(f"features: logits asks for an ImageNet classifier, and this {name} has none; use pooled")
    return classes


def _data_config(model: nn.Module) -> dict[str, Any]:
    resolve = cast(Callable[[nn.Module], dict[str, Any]], timm.data.resolve_model_data_config)
    return resolve(model)


def _native_size(model: nn.Module) -> int:
    return int(_data_config(model)["input_size"][-1])


def _check_input(backbone: Backbone, size: int) -> None:
    """Refuse sides in pixels that the model cannot take, and models that give no feature vector.

    Patches that do not divide the side would silently lose its last rows and columns. Everything else is found by a
    forward pass over shapes alone (meta tensors), in which nothing is computed.
    """
    name, model = backbone.name, backbone.model
    own = f"its own size is {_native_size(model)}"
    embedding = next((part for part in model.modules() if isinstance(part, PatchEmbed)), None)
    patch = int(embedding.patch_size[0]) if embedding is not None else 1
    if size % patch:
        near = " or ".join(str(side) for side in (size // patch * patch, (size // patch + 1) * patch) if side > 0)
        raise ConfigError(
            f"backbone '{name}' cannot take pictures of {size} px: image_size must be a multiple of its patch, "
            f"{patch} px, such as {near}; {own}"
        )
    try:
        shape = _output_shape(model, size)
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        raise ConfigError(
            f"backbone '{name}' cannot take pictures of {size} px ({_one_line(error)}); {own}: "
            "leave image_size empty, or take another one"
        ) from error
    if shape not in (None, (2, backbone.num_features)):
        raise ConfigError(
            f"backbone '{name}' gives features of shape {shape} where one vector of {backbone.num_features} numbers "
            "a picture is needed; choose a classification model"
        )


def _output_shape(model: nn.Module, size: int) -> tuple[int, ...] | None:
    """Return the shape of the output for two pictures, null where the model cannot run on shapes alone."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {key: torch.empty_like(tensor, device="meta") for key, tensor in tensors.items()}
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = functional_call(model, shapes, (torch.empty(2, 3, size, size, device="meta"),))
    except NotImplementedError:
        return None
    except RuntimeError as error:
        # Tensors that are neither parameters nor buffers stay on the CPU, and the two do not mix.
        if "meta" in str(error):
            return None
        raise
    finally:
        model.train(mode)
    return tuple(output.shape) if isinstance(output, Tensor) else ()


def _filtered(weights: Weights, backbone: Backbone, classifier: dict[str, Tensor]) -> dict[str, Tensor]:
    """Apply the model family's own conversion: renamed keys, resized position embeddings, other layouts."""
    own, tensors = backbone.model.state_dict(), weights.tensors
    if own.keys() <= tensors.keys():
        if all(tensors[key].shape == own[key].shape for key in own):
            return tensors
        # Some conversions tell timm's own layout from older ones by the classifier, which pooled runs do not save.
        tensors = {**classifier, **tensors}
    family = sys.modules[timm.models.model_entrypoint(backbone.name.partition(".")[0]).__module__]
    convert = getattr(family, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    # DeiT III checkpoints name their layer scale otherwise; timm converts them only on request.
    options = {"adapt_layer_scale": True} if family.__name__.endswith(".deit") else {}
    arguments = (tensors,) if len(inspect.signature(convert).parameters) == 1 else (tensors, backbone.model)
    try:
        return cast(dict[str, Tensor], convert(*arguments, **options))
    except (LookupError, ValueError, RuntimeError, AttributeError, AssertionError, TypeError) as error:
        raise ConfigError(
            f"weights '{weights.source}' are not in a layout of {backbone.name} "
            f"({type(error).__name__}: {_one_line(error)})"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
