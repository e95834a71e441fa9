"""What each module of a model adds to the logit of a class, and maps of where it comes from.

The ``grad-cam`` library takes networks with one picture as input and scales each map by itself, so that two modules
could not be compared. Here every module is run once under the library's recorder, their features meet in the head, one
backward pass serves all modules, and the library's formulas turn activations and gradients into maps, which stay
unscaled. A backbone that serves both roles is recorded once for each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import (
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from torch import Tensor, nn

from Off_the_shelfs.feature_maps import SpatialLayer
from Off_the_shelfs.model import ViewClassifier
from Off_the_shelfs.own_maps import Parts
from utils.errors import ConfigError, RunError, nearest

METHODS: dict[str, Any] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "xgradcam": XGradCAM,
    "gradcamelementwise": GradCAMElementWise,
    "eigencam": EigenCAM,
    "eigengradcam": EigenGradCAM,
}
# A principal component has no sign and no unit that two modules share.
WITHOUT_EVIDENCE = ("eigencam", "eigengradcam")


@dataclass(frozen=True)
class Explanation:
    """Maps of B pairs.

    Attributes:
        logits: float32 B×C.
        target: int64 B, the class that the maps speak of.
        maps: float32 B×h×w by view name: evidence per cell of the layer's grid, negative where a cell speaks against
            the class.
        contributions: float32 B×D by view name: for each feature f_i of the module, D of them, what it adds to the
            target's logit y, f_i · ∂y/∂f_i, in units of the logit. They depend on neither method nor layer.
        parts: on the CPU, by view name, which part was looked at, for views of which only a part is; the map then
            covers that part alone.
    """

    logits: NDArray[np.float32]
    target: NDArray[np.int64]
    maps: dict[str, NDArray[np.float32]]
    contributions: dict[str, NDArray[np.float32]]
    parts: dict[str, Parts] = field(default_factory=dict)

    def places(self, view: str) -> NDArray[np.float32] | None:
        """Return what the map covers, B×4: left, top, width, height as fractions of the view; null for all of it."""
        if view not in self.parts:
            return None
        found: NDArray[np.float32] = self.parts[view].boxes[self.parts[view].chosen].float().numpy()
        return found


def check_method(method: str) -> None:
    """Refuse a method that is none of ``METHODS``; names the nearest."""
    if method not in METHODS:
        raise ConfigError(
            f"--method {method} is not known{nearest(method, METHODS) or '.'} Allowed: {', '.join(METHODS)}"
        )


class Explainer:
    """Explains batches of one model; ``explaining`` makes one.

    What a module adds to the logit y is ``Σ_i f_i ∂y/∂f_i`` over its features f. With a linear head, or one that is
    linear around the pair as behind a ReLU, this is exact: the modules' sums and the head's biases make up the logit.

    Where the features are the mean of the map A, its ``gradcam`` cells add up to the same: the gradient of A_k is
    ``∂y/∂f_k / hw`` everywhere, so ``Σ_cells Σ_k mean(gradient_k) A_k = Σ_k ∂y/∂f_k mean(A_k)`` (Selvaraju et al. 2017,
    section 3). Where a class token, an attention or a norm stands between map and features they do not, and the map
    shows where, not how much.

    Attributes:
        layers: the layer that each module's map is taken from, by view name.
        method: key of ``METHODS``.
    """

    def __init__(
        self, model: ViewClassifier, method: str, columns: Sequence[int] | None = None, least_cells: int = 1
    ) -> None:
        check_method(method)
        self._model = model
        self._columns = None if columns is None else list(columns)
        self.method = method
        self.layers: dict[str, SpatialLayer] = {}
        for view, backbone in model.backbones.items():
            self.layers[view] = backbone.spatial_layer(least_cells)

    def explain(self, views: dict[str, Tensor], target: Tensor | None = None) -> Explanation:
        """Explain a batch.

        Args:
            views: normalised pictures B×3×S×S by view name, on the model's device.
            target: int64 B, the class to explain; None takes the predicted one.

        Raises:
            RunError: logits or maps are not finite.
        """
        with torch.enable_grad():
            features, recorders = {}, {}
            for view in self._model.backbones:
                features[view], recorders[view] = self._record(view, views[view])
                features[view].retain_grad()
            logits = self._model.fuse(features)
            if self._columns is not None:
                logits = logits[:, self._columns]
            chosen = logits.argmax(dim=1) if target is None else target
            torch.autograd.backward(logits.gather(1, chosen[:, None]).sum())
        result = Explanation(
            logits=logits.detach().float().cpu().numpy(),
            target=chosen.cpu().numpy(),
            maps={view: self._map(cam, self.layers[view], views[view]) for view, cam in recorders.items()},
            contributions={view: _contributions(values) for view, values in features.items()},
            parts=parts_of(self._model, views),
        )
        self._refuse_what_is_not_finite(result)
        return result

    def _record(self, view: str, pictures: Tensor) -> tuple[Tensor, Any]:
        """Return the features of one module and the library's object with what its hooks recorded."""
        layer = self.layers[view]
        # A new leaf at the layer: nothing before it is differentiated, and the recorder sees a tensor with a gradient.
        cut = layer.module.register_forward_hook(_as_leaf)
        module = _Module(self._model, view)
        cam = METHODS[self.method](model=module, target_layers=[layer.module], reshape_transform=layer.to_map)
        recorder = cam.activations_and_grads
        try:
            features = recorder(pictures)
        finally:
            # The hooks go at once, since a tied backbone's next call belongs to the other role; those on the recorded
            # tensor stay, and with them the way of its gradient.
            for handle in [cut, *recorder.handles]:
                handle.remove()
        return features, cam

    def _map(self, cam: Any, layer: SpatialLayer, pictures: Tensor) -> NDArray[np.float32]:  # noqa: ANN401  # untyped
        recorder = cam.activations_and_grads
        activations = recorder.activations[0].float().numpy()
        gradients = recorder.gradients[0].float().numpy() if cam.uses_gradients else None
        raw = cam.get_cam_image(pictures, layer.module, [], activations, gradients, False)
        recorder.clear()
        return np.asarray(raw, dtype=np.float32)

    def _refuse_what_is_not_finite(self, result: Explanation) -> None:
        if not np.isfinite(result.logits).all():
            raise RunError("the model's logits are not finite, so there is nothing to explain; train it again")
        for view, values in result.maps.items():
            if not np.isfinite(values).all():
                raise RunError(
                    f"{self.method} gives a map of {view} that is not finite; use another --method, such as gradcam"
                )


def parts_of(model: ViewClassifier, views: dict[str, Tensor]) -> dict[str, Parts]:
    """Return by view name, on the CPU, which part of normalised pictures is looked at, where it is not the whole."""
    if not model.chooses_part:
        return {}
    with torch.no_grad():
        found = {view: model.parts(view, pictures) for view, pictures in views.items()}
    return {
        view: Parts(
            boxes=parts.boxes.cpu(),
            probability=parts.probability.float().cpu(),
            chosen=parts.chosen.cpu(),
            small=None if parts.small is None else parts.small.float().cpu(),
        )
        for view, parts in found.items()
    }


@contextmanager
def explaining(
    model: ViewClassifier, method: str = "gradcam", *, columns: Sequence[int] | None = None, least_cells: int = 1
) -> Iterator[Explainer]:
    """Make an explainer; the model is in eval mode and its weights take no gradient until the block ends.

    Args:
        model: on its device.
        method: key of ``METHODS``.
        columns: the outputs that count, C of them in the order of the classes; None takes all.
        least_cells: smallest wanted number of cells on a map's shorter side; 1 takes the last map before pooling.

    Raises:
        ConfigError: unknown method, or a module without such a layer.
    """
    modes = [(module, module.training) for module in model.modules()]
    wishes = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        explainer = Explainer(model, method, columns, least_cells)
        model.eval()
        model.requires_grad_(requires_grad=False)
        yield explainer
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, wish in wishes:
            weight.requires_grad_(wish)


class _Module(nn.Module):
    """The features of one view as a module, which the library asks for."""

    def __init__(self, model: ViewClassifier, view: str) -> None:
        super().__init__()
        self.model, self.view = model, view

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model.view_features(self.view, pictures)


def _contributions(features: Tensor) -> NDArray[np.float32]:
    """Return features times their gradient, B×D."""
    gradient = torch.zeros_like(features) if features.grad is None else features.grad
    product: NDArray[np.float32] = (features.detach().float() * gradient.float()).cpu().numpy()
    return product


def _as_leaf(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.detach().requires_grad_()
