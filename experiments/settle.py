"""What ``auto`` means: decided once at the start of a run, kept when it is continued, written to ``config.yaml``."""

import dataclasses
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from experiments.kinds import Config
from Off_the_shelfs.compiling import resolve_compile
from Off_the_shelfs.config import BackboneConfig
from utils import clock
from utils.config import load_yaml
from utils.devices import make_accelerator, resolve_device, resolve_precision, resolve_tf32
from utils.optimisers import resolve_fused
from utils.run_directory import CONFIG_FILE

SETTLED = ("device", "precision", "tf32", "fused", "micro_batch")


def start(config: Config) -> tuple[Accelerator, Config]:
    """Return the accelerator and the settled configuration with its run directory; see ``settle``."""
    config = settle(config)
    accelerator = make_accelerator(config.train)
    names = [config.run.dir or f"runs/{clock.now().astimezone():%Y%m%d-%H%M%S}"]
    folder = str(broadcast_object_list(names)[0])  # the same in every process
    return accelerator, dataclasses.replace(config, run=dataclasses.replace(config.run, dir=folder))


def settle(config: Config) -> Config:
    """Return the configuration in which everything that a number depends on is explicit.

    A run that is continued keeps what it was started with; else it goes by the type of the device. What is measured
    stays ``auto`` here: ``train.micro_batch``, and ``data.workers`` and ``data.prefetch``, on which no number depends.

    Raises:
        ConfigError: something is asked for that this machine does not have.
    """
    config = _as_recorded(config)
    train, device = config.train, resolve_device(config.train.device)
    train = dataclasses.replace(
        train,
        device=device,
        precision=resolve_precision(train.precision, device),
        tf32=resolve_tf32(train.tf32, device),
        fused=resolve_fused(train.fused, device, train.optimizer),
    )
    backbones = {
        role: dataclasses.replace(
            backbone, compile=resolve_compile(backbone.compile, device, backbone.name, backbone.features)
        )
        for role, backbone in _backbones(config).items()
    }
    return _replaced(config, train=train, model=backbones)


def _backbones(config: Config) -> dict[str, BackboneConfig]:
    return {role: value for role, value in vars(config.model).items() if isinstance(value, BackboneConfig)}


def _replaced(config: Config, *, model: dict[str, Any], **sections: Any) -> Config:  # noqa: ANN401  # dataclasses
    changed: Any = dataclasses.replace(config.model, **model)
    return dataclasses.replace(config, model=changed, **sections)


def _as_recorded(config: Config) -> Config:
    """Put what an unfinished run was started with in place of every ``auto``."""
    path = Path(config.run.dir or "") / CONFIG_FILE
    if config.run.dir is None or config.run.resume == "never" or not path.is_file():
        return config
    recorded = load_yaml(path)
    earlier = recorded.get("train", {})
    train = {key: earlier[key] for key in SETTLED if key in earlier and getattr(config.train, key) == "auto"}
    backbones = {}
    for role, backbone in _backbones(config).items():
        before = recorded.get("model", {}).get(role, {})
        if backbone.compile == "auto" and "compile" in before:
            backbones[role] = dataclasses.replace(backbone, compile=before["compile"])
    return _replaced(config, train=dataclasses.replace(config.train, **train), model=backbones)
