"""The GPU of this process, and how it rounds."""

from collections.abc import Mapping

import torch

from utils.errors import ConfigError

_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")  # of torchrun and of srun


def own_device(device: str, count: int, environment: Mapping[str, str]) -> str:
    """Return the device of this process: those that torchrun or srun started on one machine share its GPUs evenly.

    Args:
        device: its type; all but ``cuda`` are returned as they are.
        count: GPUs that this process sees.
        environment: variables, of which ``LOCAL_RANK``, else ``SLURM_LOCALID``, is the number of the process.

    Raises:
        ConfigError: the variable is no number.
    """
    if device != "cuda" or count < 1:
        return device
    name = next((name for name in _LOCAL_RANKS if environment.get(name)), None)
    text = "0" if name is None else environment[name]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name} is '{text[:40]}', not the number of a process; unset it, or let a launcher set it")
    return f"cuda:{int(text[:9]) % count}"


def tf32_use(device: torch.device) -> str:
    """Return what a device may round to TF32 factors in fp32, in words: a setting of the process, which may change."""
    if device.type != "cuda":
        return "none"
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    uses = {"products": products, "convolutions": convolutions}
    return " and ".join(name for name, used in uses.items() if used) or "none"
