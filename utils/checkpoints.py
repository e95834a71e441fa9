"""Checkpoints: folders that are whole or known to be damaged; no file of theirs can run code."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from utils.errors import DataError, RunError, os_error_text
from utils.files import link_or_copy, sha256, sync_folder, write_bytes, write_text
from utils.json_file import read_json_object
from utils.packing import pack, unpack

WEIGHTS_FILE = "model.safetensors"
AVERAGE_FILE = "average.safetensors"
BEST_FILE = "best.safetensors"
STATE_FILE = "state.pt"
MANIFEST_FILE = "checkpoint.json"
FOLDERS = "checkpoint_"
LAST = f"{FOLDERS}last"
PREVIOUS = f"{FOLDERS}previous"
BEST = f"{FOLDERS}best"
_OWN = re.compile(rf"{LAST}(\.new)?|{PREVIOUS}(\.old)?|{FOLDERS}epoch_\d{{4,}}")


def weight_bytes(state_dict: Mapping[str, Tensor], path: Path) -> bytes:
    """Return weights as the bytes of a safetensors file; a ``RunError`` names ``path`` where some are not finite."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise RunError(
            f"{len(broken)} weights are not finite ({', '.join(broken[:3])}), so {path} was not written; lower the "
            f"learning rates or set train.clip_norm"
        )
    return serialise(tensors, metadata={"format": "pt"})


def save_weights(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, whole or not at all."""
    # Bytes first: a full disk then raises OSError here, and not an exception of the library's own.
    write_bytes(path, weight_bytes(state_dict, path))


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
    run: Path,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    state: dict[str, Any],
    facts: Mapping[str, Any],
    best: Path | None = None,
) -> None:
    """Write the newest checkpoint of a run, ``checkpoint_last``; the one before stays as ``checkpoint_previous``.

    Args:
        run: folder of the run.
        weights: state of the model.
        average: state of the averaged model, or null.
        state: numbers, strings, lists, dicts and tensors; everything else that a continued run needs.
        facts: for readers, in ``checkpoint.json`` beside size and SHA-256 of every file; ``step``, the optimiser steps
            taken, orders checkpoints.
        best: file with the best weights so far, of which the checkpoint then holds a copy.

    At any moment one whole checkpoint is there that is no older than the last; ``find_checkpoint`` finds it.

    Raises:
        RunError: weights are not finite.
        OSError: the disk is full or refuses; the earlier checkpoints are as they were.
    """
    last, previous = run / LAST, run / PREVIOUS
    fresh, old = run / f"{LAST}.new", run / f"{PREVIOUS}.old"
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _fill(fresh, weights, average, state, facts, best)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if previous.exists():
        previous.rename(old)
    if last.exists():
        last.rename(previous)
    fresh.rename(last)
    sync_folder(run)
    shutil.rmtree(old, ignore_errors=True)


def _fill(
    folder: Path,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    state: dict[str, Any],
    facts: Mapping[str, Any],
    best: Path | None,
) -> None:
    folder.mkdir(parents=True)
    files: dict[str, dict[str, Any]] = {}

    def add(name: str, data: bytes) -> None:
        write_bytes(folder / name, data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    add(WEIGHTS_FILE, weight_bytes(weights, folder / WEIGHTS_FILE))
    if average is not None:
        add(AVERAGE_FILE, weight_bytes(average, folder / AVERAGE_FILE))
    if best is not None:
        add(BEST_FILE, best.read_bytes())  # no link: damage to the one must not reach the other
    buffer = io.BytesIO()
    torch.save(pack(state), buffer)
    add(STATE_FILE, buffer.getvalue())
    # It comes last: without it the folder is no checkpoint.
    write_text(folder / MANIFEST_FILE, json.dumps({**facts, "files": files}, indent=2, allow_nan=False) + "\n")
    sync_folder(folder)


@dataclass(frozen=True)
class Found:
    """What a search for a checkpoint came to.

    Attributes:
        folder: the newest whole checkpoint; null where there is none.
        damaged: checkpoints that are newer than that, each with what is wrong with it.
    """

    folder: Path | None
    damaged: dict[Path, str]


def find_checkpoint(run: Path) -> Found:
    """Find the newest whole checkpoint of a run: ``checkpoint_last``, else the one before, else one that was kept.

    Raises:
        DataError: the system cannot read one, of which nothing can be said then.
    """
    folders = [path for path in run.glob(f"{FOLDERS}*") if _OWN.fullmatch(path.name) and path.is_dir()]
    # One without its manifest was being written when its process was killed, or removed.
    folders = [path for path in folders if path.suffix not in (".new", ".old") or (path / MANIFEST_FILE).is_file()]
    damaged: dict[Path, str] = {}
    for folder in sorted(folders, key=lambda path: (_step(path), path.name == LAST), reverse=True):
        problem = check_checkpoint(folder)
        if problem is None:
            return Found(folder, damaged)
        damaged[folder] = problem
    return Found(None, damaged)


def _step(folder: Path) -> float:
    """Return the optimiser steps of a checkpoint; one that does not tell comes first, to be reported."""
    with suppress(DataError, ValueError, TypeError, KeyError):
        return int(_manifest(folder)["step"])
    return float("inf")


def _manifest(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / MANIFEST_FILE)


def check_checkpoint(folder: Path) -> str | None:
    """Compare every file of a checkpoint with what was written; return what is wrong, null where it is whole.

    Raises:
        DataError: the system cannot read a file that is there.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return f"it has no {MANIFEST_FILE}"
    try:
        (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise DataError(f"the checkpoint {folder} cannot be read: {os_error_text(error)}") from None
    try:
        files = dict(_manifest(folder)["files"])
        written = {str(name): (int(file["bytes"]), str(file["sha256"])) for name, file in files.items()}
    except (DataError, ValueError, TypeError, KeyError):
        return f"{MANIFEST_FILE} is damaged"
    if not {WEIGHTS_FILE, STATE_FILE} <= written.keys() <= {WEIGHTS_FILE, AVERAGE_FILE, BEST_FILE, STATE_FILE}:
        return f"{MANIFEST_FILE} is damaged"
    for name, (size, digest) in written.items():
        path = folder / name
        try:
            present = path.stat().st_size
            if present != size:
                return f"{name} has {present:,} of {size:,} bytes"
            if sha256(path) != digest:
                return f"{name} is not what was written"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            raise DataError(f"the checkpoint {folder} cannot be read: {os_error_text(error)}") from None
    return None


def adopt(found: Found, run: Path) -> None:
    """Make the checkpoint that was found ``checkpoint_last``, and remove what is damaged or half-written.

    Call it when the run is sure to go on from there.
    """
    last, previous = run / LAST, run / PREVIOUS
    for folder in found.damaged:
        shutil.rmtree(folder)
    if found.folder is not None and found.folder != last:
        if last.exists() and found.folder == previous:
            shutil.rmtree(last)
        elif last.exists():  # older than the one found, whose renaming was cut short
            shutil.rmtree(previous, ignore_errors=True)
            last.rename(previous)
        if found.folder.name.startswith((LAST, PREVIOUS)):
            found.folder.rename(last)
        else:
            copy_checkpoint(found.folder, last)
        sync_folder(run)
    for leftover in (run / f"{LAST}.new", run / f"{PREVIOUS}.old"):
        shutil.rmtree(leftover, ignore_errors=True)


def copy_checkpoint(folder: Path, copy: Path) -> None:
    """Keep a checkpoint under another name, which takes no room where the file system has links."""
    fresh = copy.with_name(f"{LAST}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
        link_or_copy(path, fresh / path.name)
    shutil.rmtree(copy, ignore_errors=True)
    fresh.rename(copy)


def load_state(folder: Path) -> dict[str, Any]:
    """Read the state of a checkpoint onto the CPU, running no code from the file."""
    path = folder / STATE_FILE
    try:
        return unpack(torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # the unpickler raises many kinds, and its advice is to run the file's code
        raise DataError(f"{path} is damaged, or not the state that a training run writes") from None


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
