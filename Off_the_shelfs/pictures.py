"""What pictures a timm model takes, and whether a size is one of them."""

from collections.abc import Callable
from typing import Any, cast

import timm
import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.func import functional_call

from utils.errors import ConfigError

_SHAPES: dict[tuple[str, int, str], tuple[int, ...] | None] = {}


def data_config(model: nn.Module) -> dict[str, Any]:
    """Return what timm knows of the pictures that a model was trained on: size, mean, deviation, interpolation."""
    resolve = cast(Callable[[nn.Module], dict[str, Any]], timm.data.resolve_model_data_config)
    return resolve(model)


def native_size(model: nn.Module) -> int:
    """Return the side in pixels of the pictures that a model was made for."""
    return int(data_config(model)["input_size"][-1])


def check_input(model: nn.Module, name: str, num_features: int, size: int) -> None:
    """Refuse sides in pixels that a model cannot take, and models that do not give ``num_features`` a picture.

    Patches that do not divide the side would silently lose its last rows and columns. Everything else is found by a
    forward pass over shapes alone (meta tensors), in which nothing is computed.

    Raises:
        ConfigError: names the backbone, what does not fit and its own size.
    """
    own = f"its own size is {native_size(model)}"
    embedding = next((part for part in model.modules() if isinstance(part, PatchEmbed)), None)
    patch = int(embedding.patch_size[0]) if embedding is not None else 1
    if size % patch:
        near = " or ".join(str(side) for side in (size // patch * patch, (size // patch + 1) * patch) if side > 0)
        raise ConfigError(
            f"backbone '{name}' cannot take pictures of {size} px: image_size must be a multiple of its patch, "
            f"{patch} px, such as {near}; {own}"
        )
    try:
        shape = _known_shape(model, name, size)
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        raise ConfigError(
            f"backbone '{name}' cannot take pictures of {size} px ({one_line(error)}); {own}: "
            "leave image_size empty, or take another one"
        ) from error
    if shape not in (None, (2, num_features)):
        raise ConfigError(
            f"backbone '{name}' gives features of shape {shape} where one vector of {num_features} numbers "
            "a picture is needed; choose a classification model"
        )


def _known_shape(model: nn.Module, name: str, size: int) -> tuple[int, ...] | None:
    """Return ``_output_shape``, found once for runs that build the same network again: both views, seeds, a grid."""
    key = name, size, repr(model)
    if key not in _SHAPES:
        _SHAPES[key] = _output_shape(model, size)
    return _SHAPES[key]


def _output_shape(model: nn.Module, size: int) -> tuple[int, ...] | None:
    """Return the shape of the output for two pictures, null where the model cannot run on shapes alone."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {key: torch.empty_like(tensor, device="meta") for key, tensor in tensors.items()}
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            # Of layers that are there under two names torch would put back the wrong tensors.
            pictures = torch.empty(2, 3, size, size, device="meta")
            output = functional_call(model, shapes, (pictures,), tie_weights=False)
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


def one_line(error: Exception) -> str:
    """Return an exception's message, or its type where it has none, for the inside of a message of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__
