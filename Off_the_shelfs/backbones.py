"""timm models in the role of a module. The one file that calls timm's factory."""

import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Self, cast

import timm
from safetensors import SafetensorError
from torch import Tensor, nn

from Off_the_shelfs.checkpointing import CountedOnce, check_grad_checkpointing, set_grad_checkpointing
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.feature_maps import SpatialLayer, find_spatial_layer
from Off_the_shelfs.findings import Finding
from Off_the_shelfs.origin import Origin, local_origin, published_origin
from Off_the_shelfs.own_maps import NamedMap
from Off_the_shelfs.pictures import check_input, data_config, native_size, one_line
from Off_the_shelfs.weights import Weights, load_weights, published_file, read_weights
from utils.batch import Interpolation, ViewName, ViewSpec
from utils.compilation import compile_errors
from utils.engine import Criterion
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
        source: where the weights came from, in words.
        origin: the same with the file that they were read from.
        notes: what a user should know about the weights, such as keys that were let pass.
        wants_compile: whether ``ViewClassifier.compile_backbones`` compiles it.
    """

    def __init__(self, model: nn.Module, config: BackboneConfig, image_size: int) -> None:
        super().__init__()
        self.model = model
        self.name = config.name
        self.frozen = config.frozen
        self.image_size = image_size
        self.source, self.origin = "random", Origin("random")
        self.notes: list[str] = []
        self.wants_compile = config.compile is True
        self._saves_memory = config.grad_checkpointing
        self._counted_once: CountedOnce | None = None
        self.num_features = _feature_count(model, "logits" if config.features == "logits" else "pooled")
        if config.frozen:
            model.requires_grad_(requires_grad=False)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features B×D of normalised pictures B×3×S×S."""
        with compile_errors(self), self._passing():
            return cast(Tensor, self.model(x))

    @property
    def still(self) -> bool:
        """Whether its features of a picture stay the same throughout training."""
        return self.frozen

    @property
    def own_parts(self) -> list[nn.Module]:
        """Parts beside the timm model, which train at the head's rate."""
        return []

    has_own_losses = False

    def find(self, x: Tensor) -> Finding:
        """Return the features of pictures B×3×S×S with all that ``own_losses`` and ``own_measures`` need."""
        return Finding(self(x))

    def own_losses(self, finding: Any, label: Tensor, criterion: Criterion) -> Tensor:  # noqa: ANN401  # a subclass's own
        """Return the losses B that the backbone adds to the model's; ``criterion`` takes logits N×C and labels N."""
        raise NotImplementedError

    def own_measures(
        self,
        finding: Any,  # noqa: ANN401, ARG002  # as above
        logits: Tensor,  # noqa: ARG002  # subclasses need it
        label: Tensor,  # noqa: ARG002  # as well
    ) -> dict[str, Tensor]:
        """Return what the backbone says of B pairs beside the model's logits B×C, B numbers by name; here nothing."""
        return {}

    map_methods: tuple[str, ...] = ()  # of OWN_METHODS

    def own_maps(self, method: str, pictures: Tensor, target: Tensor) -> list[NamedMap]:
        """Return maps of pictures B×3×S×S by one of ``map_methods``; ``target`` is the class B that they speak of."""
        raise NotImplementedError

    def spatial_layer(self, least_cells: int = 1) -> SpatialLayer:
        """Find the last map that the features depend on; arguments and errors are those of ``find_spatial_layer``."""
        return find_spatial_layer(self.model, self.image_size, self.image_size, least_cells=least_cells)

    def _passing(self) -> AbstractContextManager[None]:
        if not (self._saves_memory and self.training):
            return nullcontext()
        if self._counted_once is None:  # not before, since BatchNorm layers may be exchanged on the way to the device
            self._counted_once = CountedOnce(self.model)
        return self._counted_once.first_pass()

    def train(self, mode: bool = True) -> Self:
        """Set the mode as ``nn.Module.train`` does; a frozen module stays in eval mode.

        Activations are dropped and computed again in training alone: hooks of an explanation would be called twice.
        """
        super().train(mode and not self.frozen)
        if self._saves_memory:
            set_grad_checkpointing(self.model, wanted=self.training)
        return self

    def view_spec(self, image_size: int | None = None, normalise: Normalise = "backbone") -> ViewSpec:
        """Return what this backbone asks of its view, from timm's own data configuration of the model.

        ``image_size`` is the side in pixels, null for the one that the backbone was built for; ``normalise="none"``
        leaves pixels at 0..1. Raises ConfigError where the backbone cannot take a picture of that size.
        """
        data = data_config(self.model)
        size = self.image_size if image_size is None else image_size
        if size != self.image_size:
            check_input(self.model, self.name, self.num_features, size)
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
        ConfigError: unknown name (nearest names suggested), a size, a rate or checkpointing that the model does not
            take, weights that cannot be had, read or matched.
    """
    _check_config(config)
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}; it must be at least 1 px, or empty for each backbone's own")
    from_hub = initialise and config.pretrained and config.weights is None
    model = _create(config, image_size, from_hub=from_hub)
    classifier = _drop_classifier(model, config) if config.features != "logits" else {}
    if config.grad_checkpointing:
        check_grad_checkpointing(model, config.name)
    backbone = Backbone(model, config, native_size(model) if image_size is None else image_size)
    check_input(model, config.name, backbone.num_features, backbone.image_size)
    if from_hub:
        backbone.source, backbone.origin = f"timm {config.name}", published_origin(config.name)
    elif initialise and config.weights is not None:
        _load_local(backbone, config, role, classifier)
    return backbone


def _load_local(backbone: Backbone, config: BackboneConfig, role: ViewName, classifier: dict[str, Tensor]) -> None:
    """Load a file or a run directory into a backbone from which ``classifier`` was taken off."""
    weights = read_weights(cast(str, config.weights), role)
    notes = load_weights(
        backbone.model,
        converted(weights, backbone, classifier),
        classifier_keys=frozenset(classifier),
        allow_mismatch=config.allow_mismatch,
        title=f"weights '{weights.source}' for {config.name}{weights.hint(config.name)}",
    )
    backbone.source, backbone.origin = weights.source, local_origin(cast(str, config.weights))
    backbone.notes = [*weights.notes, *notes]


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
            f"the published weights of backbone '{name}' could not be loaded ({one_line(error)}); "
            "set weights: PATH to a local file, or pretrained: false"
        )
    if image_size is not None:
        return (
            f"backbone '{name}' cannot be built for pictures of {image_size} px ({one_line(error)}); change image_size"
        )
    return f"backbone '{name}' cannot be built: {one_line(error)}"


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


def converted(weights: Weights, backbone: Backbone, classifier: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights after the model family's own conversion: renamed keys, resized position embeddings, layouts."""
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
            f"({type(error).__name__}: {one_line(error)})"
        ) from error
