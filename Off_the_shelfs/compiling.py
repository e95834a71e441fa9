"""Which backbones are compiled where nobody says: a measured choice by type of device and family of model."""

from typing import Literal

import timm

# By type of device and timm's module of the family; what is not listed has not been measured. On a CPU the compiled
# step gained a fifth at best and mostly next to nothing, and compiling took minutes: thousands of steps until that
# pays. The figures are in docs/results.md, "Speed: torch.compile".
MEASURED: dict[tuple[str, str], bool] = {
    ("cpu", "deit"): False,
    ("cpu", "efficientnet"): False,
    ("cpu", "mlp_mixer"): False,
    ("cpu", "resnet"): False,
    ("cpu", "vision_transformer"): False,
}


def resolve_compile(setting: bool | Literal["auto"], device_type: str, name: str, features: str = "pooled") -> bool:
    """Return whether a backbone is compiled; ``auto`` depends on the type of device and the model's family alone.

    The plug-in module (``features`` is ``pim``) takes maps from inside the model, which ``auto`` leaves uncompiled.
    Unknown names are left for ``build_backbone`` to refuse.
    """
    if setting != "auto":
        return setting
    return features != "pim" and MEASURED.get((device_type, family_of(name)), False)


def family_of(name: str) -> str:
    """Return timm's module of a model name, such as ``vision_transformer``; empty for an unknown name."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        return ""
    return str(timm.models.model_entrypoint(architecture).__module__).rpartition(".")[2]
