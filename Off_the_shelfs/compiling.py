"""Which backbones are compiled where nobody says: a measured choice by type of device and family of model."""

from typing import Literal

import timm

# (type of device, timm's module of the family). What is not listed has not been measured to gain, and stays as it is.
_FASTER_COMPILED: frozenset[tuple[str, str]] = frozenset()


def resolve_compile(setting: bool | Literal["auto"], device_type: str, name: str) -> bool:
    """Return whether a backbone is compiled; ``auto`` depends on the type of device and the model's family alone.

    Unknown names are left for ``build_backbone`` to refuse.
    """
    if setting != "auto":
        return setting
    return (device_type, family_of(name)) in _FASTER_COMPILED


def family_of(name: str) -> str:
    """Return timm's module of a model name, such as ``vision_transformer``; empty for an unknown name."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        return ""
    return str(timm.models.model_entrypoint(architecture).__module__).rpartition(".")[2]
