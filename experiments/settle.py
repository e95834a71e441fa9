"""What ``auto`` means: decided once at the start of a run, kept when it is continued, written to ``config.yaml``."""

import dataclasses
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from experiments.task import ConfigT, Configuration
from Off_the_shelfs.compiling import resolve_compile
from Off_the_shelfs.config import BackboneConfig
from utils import clock
from utils.config import load_yaml
from utils.devices import make_accelerator, resolve_device, resolve_precision, resolve_tf32
from utils.optimisers import resolve_fused
from utils.processes import processes_started
from utils.run_directory import CONFIG_FILE

SETTLED = ("device", "precision", "tf32", "fused", "micro_batch", "sync_batchnorm")


def start(config: ConfigT) -> tuple[Accelerator, ConfigT]:
    """Return the accelerator and the settled configuration with its run directory; see ``settle``."""
    config = settle(config)
    accelerator = make_accelerator(config.train)
    names = [config.run.dir or f"runs/{clock.now().astimezone():%Y%m%d-%H%M%S}"]
    folder = str(broadcast_object_list(names)[0])  # the same in every process
    return accelerator, _replaced(config, run={"dir": folder})


def settle(config: ConfigT) -> ConfigT:
    """Return the configuration in which everything that a number depends on is explicit.

    A run that is continued keeps what it was started with; else it goes by the type of the device. What is measured
    stays ``auto`` here: ``train.micro_batch``, and ``data.workers`` and ``data.prefetch``, on which no number depends.

    Raises:
        ConfigError: something is asked for that this machine does not have.
    """
    config = _as_recorded(config)
    train: Any = config.train
    device = resolve_device(train.device)
    settled: dict[str, Any] = {
        "device": device,
        "precision": resolve_precision(train.precision, device),
        "tf32": resolve_tf32(train.tf32, device),
    }
    if hasattr(train, "fused"):
        settled["fused"] = resolve_fused(train.fused, device, train.optimizer)
    if train.sync_batchnorm == "auto":
        settled["sync_batchnorm"] = device == "cuda" and processes_started() > 1
    backbones = {
        role: dataclasses.replace(
            backbone, compile=resolve_compile(backbone.compile, device, backbone.name, backbone.features)
        )
        for role, backbone in _backbones(config).items()
    }
    return _replaced(config, train=settled, model=backbones)


def _backbones(config: Configuration) -> dict[str, BackboneConfig]:
    model = vars(config).get("model")
    return {role: value for role, value in vars(model).items() if isinstance(value, BackboneConfig)}


def _replaced(config: ConfigT, **sections: dict[str, Any]) -> ConfigT:
    """Return a configuration with other values of some keys of its sections."""
    whole: Any = config
    changed = {name: dataclasses.replace(getattr(whole, name), **values) for name, values in sections.items()}
    replaced: ConfigT = dataclasses.replace(whole, **changed)
    return replaced


def _as_recorded(config: ConfigT) -> ConfigT:
    """Put what an unfinished run was started with in place of every ``auto``."""
    path = Path(config.run.dir or "") / CONFIG_FILE
    if config.run.dir is None or config.run.resume == "never" or not path.is_file():
        return config
    recorded = load_yaml(path)
    earlier = recorded.get("train", {})
    train = {key: earlier[key] for key in SETTLED if key in earlier and getattr(config.train, key, None) == "auto"}
    backbones: dict[str, Any] = {}
    for role, backbone in _backbones(config).items():
        before = recorded.get("model", {}).get(role, {})
        if backbone.compile == "auto" and "compile" in before:
            backbones[role] = dataclasses.replace(backbone, compile=before["compile"])
    return _replaced(config, train=train, model=backbones)
