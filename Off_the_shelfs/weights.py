"""Weights from files: local checkpoints, our own run directories, and published files in the hub's cache."""

import argparse
import codecs
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import safetensors
import safetensors.torch
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import Tensor, nn

from utils.batch import ViewName
from utils.errors import ConfigError, problem_list
from utils.json_file import read_json_object
from utils.yaml_file import load_yaml

RUN_WEIGHTS = "model.safetensors"
RUN_CONFIG = "config.yaml"
EXPORT_CONFIG = "export.json"
LAST_CHECKPOINT = "checkpoint_last"
TIMM_CONFIG = "config.json"
HUB_TIMEOUT_S = 5.0
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("_orig_mod.", "module.")
# Training checkpoints often carry their parsed command line, and learning rates that NumPy worked out: plain data.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
_PLAIN: list[Any] = [argparse.Namespace, np.dtype, codecs.encode, *_NUMBERS]
_PLAIN += [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # older and newer NumPy


@dataclass(frozen=True)
class Weights:
    """Tensors of one backbone by key, on the CPU, and where they came from.

    ``trained_as`` is the timm name of the model in the folder that they were taken from, if they were; ``plug_in``
    holds what a run's plug-in module has beside it.
    """

    tensors: dict[str, Tensor]
    source: str
    notes: list[str] = field(default_factory=list)
    trained_as: str | None = None
    plug_in: dict[str, Tensor] = field(default_factory=dict)

    def hint(self, name: str) -> str:
        """Return a remark for messages where the run's module is another model than ``name``."""
        other = self.trained_as is not None and self.trained_as.partition(".")[0] != name.partition(".")[0]
        return f", which are those of a {self.trained_as}," if other else ""


class MismatchError(ConfigError):
    """Weights of which some fit and some do not; ``found`` is the message without its advice."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found + advice)
        self.found = found


def read_weights(location: str, role: ViewName) -> Weights:
    """Read a .safetensors file, a .pth state dict, a folder of timm's, or the module for ``role`` of a run of ours.

    A run's exported folder serves as well as its own, and a run of pre-training serves every role. Nothing in a file is
    executed. Wrappers of training checkpoints (``state_dict``, ``model``, averaged weights first) and the prefixes of
    wrapped modules (``module.``) are taken off.

    Raises:
        ConfigError: no such path, not a state dict, a damaged file, a pickle that holds code, a run directory
            without a module for the role.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        of_timm = (path / TIMM_CONFIG).is_file() and not (path / RUN_CONFIG).is_file()
        return _read_timm_folder(path) if of_timm else _read_run(path, role)
    if not path.is_file():
        raise ConfigError(
            f"weights '{location}' do not exist; give a .safetensors file, a .pth state dict or a run directory"
        )
    return Weights(_state_dict(_read_file(path), path), str(path))


def load_weights(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    classifier_keys: frozenset[str],
    allow_mismatch: bool,
    title: str,
) -> list[str]:
    """Load a state dict and account for every key.

    ``classifier_keys`` are those of a classifier that was taken off the model; they may be present or absent.

    Returns notes on what did not match, empty where everything did.

    Raises:
        MismatchError: missing, unexpected or wrongly shaped keys, unless ``allow_mismatch``.
        ConfigError: no key in common.
    """
    own = model.state_dict()
    misshapen = [key for key, tensor in tensors.items() if key in own and tensor.shape != own[key].shape]
    fitting = {key: tensor for key, tensor in tensors.items() if key not in misshapen}
    if not set(fitting) & set(own):
        of_a_run = any("backbone.model." in key for key in tensors)
        advice = "give the run's folder instead of a file in it" if of_a_run else "give weights of this model"
        if any("online_network." in key for key in tensors):
            advice = "take the network out of this R2O checkpoint with convert_R2O.py --layout timm"
        raise ConfigError(f"{title}: none of its {len(tensors)} tensors fits; {_first(list(tensors))}; {advice}")
    missing, unexpected = model.load_state_dict(fitting, strict=False)
    found = {
        "missing": [key for key in missing if key not in misshapen],
        "unexpected": [key for key in unexpected if key not in classifier_keys],
        "wrongly shaped": [f"{key} {_shape(tensors[key])} for {_shape(own[key])}" for key in misshapen],
    }
    lists = [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in found.items() if keys]
    if lists and not allow_mismatch:
        separator = "; " if len(lists) == 1 else "\n  "
        advice = "give weights of this model, or set allow_mismatch: true beside them to load what fits"
        raise MismatchError(problem_list(f"{title} do not match", lists) + separator, advice)
    return [f"{title}: {line}" for line in lists]


def published_file(name: str, hub_id: str | None) -> Path | None:
    """Return the local copy of a model's published weights, downloading it where the cache has none.

    Null where the weights are not on the hub and timm fetches them by itself. The hub's client repeats a failing
    connection for most of a minute; one quick request beforehand spares that wait.
    """
    if hub_id is None:
        return None
    for file_name in _HUB_FILES:
        cached = huggingface_hub.try_to_load_from_cache(hub_id, file_name)
        if isinstance(cached, str):
            return Path(cached)
    reason = "none of the expected files is there"
    for file_name in _HUB_FILES:
        try:
            # Any answer will do: the download itself deals with statuses, redirects and tokens.
            huggingface_hub.get_session().head(huggingface_hub.hf_hub_url(hub_id, file_name), timeout=HUB_TIMEOUT_S)
            return Path(huggingface_hub.hf_hub_download(hub_id, file_name, etag_timeout=HUB_TIMEOUT_S))
        except LocalEntryNotFoundError as error:
            reason = str(error)
            break
        except EntryNotFoundError:
            continue
        # The client's transport library, and so its exceptions, differ between versions.
        except Exception as error:
            reason = str(error) or type(error).__name__
            break
    raise ConfigError(
        f"the weights of '{name}' could not be downloaded from {hub_id} ({' '.join(reason.split())[:200]}); connect "
        f"to the network, or fetch model.safetensors from https://huggingface.co/{hub_id} elsewhere and set "
        "weights: PATH to it (--model.backbone.weights PATH; with two modules --model.roi_backbone.weights PATH and "
        "--model.extra_roi_backbone.weights PATH), or train from scratch with pretrained: false"
    )


def _read_timm_folder(directory: Path) -> Weights:
    """Read the weights of a folder that timm's ``local-dir:`` takes: ``config.json`` and ``model.safetensors``."""
    architecture = read_json_object(directory / TIMM_CONFIG, "configuration", ConfigError).get("architecture")
    file = directory / RUN_WEIGHTS
    if not isinstance(architecture, str) or not file.is_file():
        lacks = f"{TIMM_CONFIG} names no architecture" if file.is_file() else f"{RUN_WEIGHTS} not found in it"
        raise ConfigError(f"weights '{directory}' are no folder of a timm model: {lacks}; name the file of the weights")
    return Weights(_state_dict(_read_file(file), file), str(directory), trained_as=architecture)


def _read_run(directory: Path, role: ViewName) -> Weights:
    """Take the module for a role out of a run directory, or of the folder to which a run was exported."""
    file, record = directory / RUN_WEIGHTS, directory / RUN_CONFIG
    if not record.is_file() and (directory / EXPORT_CONFIG).is_file():
        record = directory / EXPORT_CONFIG
    absent = [path.name for path in (file, record) if not path.is_file()]
    if absent == [RUN_WEIGHTS] and record.name == RUN_CONFIG:
        raise ConfigError(_unfinished(directory, record))
    if absent:
        raise ConfigError(
            f"weights '{directory}' are no finished run directory: {' and '.join(absent)} not found in it; "
            "give a run directory, or a file with weights"
        )
    tensors, settings = _state_dict(_read_file(file), file), _run_settings(record)
    model = settings["model"]
    if isinstance(model.get("backbone"), str):  # a run of pre-training, whose file holds a backbone and nothing else
        return Weights(tensors, str(directory), trained_as=model["backbone"])
    module = f"{role}_backbone"
    if role == "extra_roi" and model.get("tied") is True:
        module = "roi_backbone"
    notes = []
    if not any(key.startswith(f"{module}.model.") for key in tensors) and "backbone" in model:
        module = "backbone"
        notes = [f"weights of '{directory}', a run on the view {settings['view']}, taken for {role}"]
    prefix = f"{module}.model."
    taken = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    if not taken:
        offered = sorted({key.partition(".")[0] for key in tensors if ".model." in key})
        raise ConfigError(
            f"weights '{directory}' hold no module for {role}; its modules are {', '.join(offered) or 'none'}"
        )
    trained_as = model.get(module, {}).get("name")
    beside = f"{module}.plug_in."
    plug_in = {key.removeprefix(beside): tensor for key, tensor in tensors.items() if key.startswith(beside)}
    return Weights(taken, str(directory), notes, trained_as, plug_in)


def _unfinished(directory: Path, record: Path) -> str:
    """Return what to do about a run without weights; of the checkpoints only those of pre-training can be taken."""
    found = f"weights '{directory}' are those of a run that is unfinished; finish it with --run.resume auto"
    checkpoint = directory / LAST_CHECKPOINT / RUN_WEIGHTS
    if checkpoint.is_file() and isinstance(_run_settings(record)["model"].get("backbone"), str):
        found += f", or take the network out of its last checkpoint with convert_R2O.py --source {checkpoint}"
    return found


def _run_settings(record: Path) -> dict[str, Any]:
    """Return the model section of a run's configuration, and its view where it has one."""
    try:
        of_export = record.name == EXPORT_CONFIG
        settings = read_json_object(record, "description", ConfigError) if of_export else load_yaml(record)
        model = settings["model"]
        modules = [value for key, value in model.items() if key.endswith("backbone")]
        kind = str if "fidelity" in settings else dict  # pre-training, which has that section, names its backbone alone
        if not modules or not all(isinstance(module, kind) for module in modules):
            raise KeyError("model.backbone")
        return {"model": model, "view": settings.get("data", {}).get("view")}
    except ConfigError as error:
        raise ConfigError(f"'{record}' is not the configuration of a run of ours: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(f"'{record}' is not the configuration of a run of ours: it lacks a model section") from None


def _read_file(path: Path) -> object:
    if path.suffix in {".npz", ".npy"}:
        raise ConfigError(f"weights '{path}' are a NumPy archive; convert them to .safetensors first")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path, device="cpu")
        with torch.serialization.safe_globals(_PLAIN):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise ConfigError(_pickle_problem(path)) from error
    except ConfigError:
        raise
    except Exception as error:  # the unpickler raises many kinds on damaged files; all mean the same to a user
        raise ConfigError(
            f"weights '{path}' cannot be read, the file is damaged or of another kind "
            f"({' '.join(str(error).split())[:160] or type(error).__name__}); fetch it again"
        ) from error


def _pickle_problem(path: Path) -> str:
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # as above
        foreign = []
    if not foreign:
        return f"weights '{path}' are neither a .safetensors file nor a .pth state dict, or the file is damaged"
    return (
        f"weights '{path}' would run code when they are read ({', '.join(sorted(foreign)[:3])}), which is refused; "
        "load them where you trust them and save the bare state dict: torch.save(model.state_dict(), PATH)"
    )


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """Find the tensors by key in what a file holds."""
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        what = f"a dictionary with {_first([str(key) for key in content])}" if isinstance(content, dict) else ""
        raise ConfigError(
            f"weights '{path}' hold no state dict but {what or type(content).__name__}; "
            "save the bare state dict: torch.save(model.state_dict(), PATH)"
        )
    return {_bare(str(key)): tensor for key, tensor in content.items()}


def _bare(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.partition(".")[2]
    return key


def _first(keys: list[str], count: int = 4) -> str:
    return ", ".join(keys[:count]) + (", …" if len(keys) > count else "")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(length) for length in tensor.shape) or "scalar"
