"""Checkpoints: a folder that is whole or absent, weights in safetensors, the rest loadable without code."""

import io
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from utils.errors import DataError, RunError
from utils.files import write_bytes

WEIGHTS_FILE = "model.safetensors"
AVERAGE_FILE = "average.safetensors"
STATE_FILE = "state.pt"


def save_weights(state_dict: dict[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise RunError(
            f"{len(broken)} weights are not finite ({', '.join(broken[:3])}), so {path} was not written; lower the "
            f"learning rates or set train.clip_norm"
        )
    # Bytes first: a full disk then raises OSError here, and not an exception of the library's own.
    write_bytes(path, serialise(tensors, metadata={"format": "pt"}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read safetensors onto the CPU; a ``DataError`` names a missing or damaged file."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; is its folder a run that has written a checkpoint?") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from None


def check_weights(path: Path) -> None:
    """Read the header of a safetensors file; a ``DataError`` names one that is missing, damaged or cut short."""
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; is its folder a run that has written a checkpoint?") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from None


def save_checkpoint(
    folder: Path, weights: dict[str, Tensor], average: dict[str, Tensor] | None, state: dict[str, Any]
) -> None:
    """Replace the checkpoint in ``folder``.

    Args:
        folder: name of the checkpoint.
        weights: state of the model.
        average: state of the averaged model, or null.
        state: numbers, strings, lists, dicts and tensors; everything else that a continued run needs.

    The new checkpoint is complete before the old one goes; ``find_checkpoint`` finds one of the two at any moment.
    """
    fresh, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for leftover in (fresh, old):
        if folder.exists() or leftover is fresh:
            shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        save_weights(weights, fresh / WEIGHTS_FILE)
        if average is not None:
            save_weights(average, fresh / AVERAGE_FILE)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(fresh / STATE_FILE, buffer.getvalue())
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the folder of the newest complete checkpoint, or null."""
    for candidate in (folder, folder.with_name(f"{folder.name}.old")):
        if (candidate / STATE_FILE).is_file():
            return candidate
    return None


def load_state(folder: Path) -> dict[str, Any]:
    """Read the state of a checkpoint onto the CPU, running no code from the file."""
    try:
        state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many kinds; all mean the same to a user
        raise DataError(f"{folder / STATE_FILE} is damaged: {' '.join(str(error).split())[:200]}") from None
    return state


def load_into(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Load weights that must fit exactly; a ``DataError`` lists what differs."""
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if weights[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        text = "; ".join(f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in parts if names)
        raise DataError(f"the weights in {source} do not fit this model: {text}")
    model.load_state_dict(weights)
