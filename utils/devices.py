"""Device, precision and processes, decided once at the start of a run."""

import importlib.metadata
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from utils.errors import ConfigError
from utils.processes import processes_started
from utils.sections import Device, Precision


class ComputeSettings(Protocol):
    """What is asked of device and arithmetic; ``utils.sections.TrainConfig`` says what each means."""

    @property
    def device(self) -> Device:
        """Type of the device."""

    @property
    def precision(self) -> Precision:
        """Of forward and backward passes."""

    @property
    def tf32(self) -> bool | Literal["auto"]:
        """Whether GPUs may round the factors of fp32 products."""

    @property
    def deterministic(self) -> bool:
        """Whether only algorithms that repeat may run."""


def available_devices() -> list[Device]:
    """Return the device types of this machine, the fastest first."""
    found: list[Device] = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def resolve_device(setting: Device, section: str = "train.") -> Device:
    """Return the device type to use; a ``ConfigError`` where it is asked for and absent.

    ``section`` is what stands before the option's name on the command line.
    """
    devices = available_devices()
    if setting == "auto":
        return devices[0]
    if setting not in devices:
        raise ConfigError(
            f"{section}device is {setting}, but this machine has {', '.join(devices)}; use --{section}device "
            f"{devices[0]} or auto, and check the driver and the installed torch build ({torch.__version__})"
        )
    return setting


def resolve_precision(setting: Precision, device: str, section: str = "train.") -> Precision:
    """Return ``fp32``, ``bf16`` or ``fp16``; ``auto`` depends on the device alone."""
    has_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
    if setting == "auto":
        return "bf16" if has_bf16 else "fp32"
    if setting == "bf16" and device == "cuda" and not has_bf16:
        raise ConfigError(f"{section}precision is bf16, which {torch.cuda.get_device_name()} lacks; use fp16 or fp32")
    if setting == "fp16" and device == "cpu":
        raise ConfigError(f"{section}precision is fp16, which needs a GPU; use fp32 or bf16 on the CPU")
    return setting


def resolve_tf32(setting: bool | Literal["auto"], device: str, section: str = "train.") -> bool:
    """Return whether fp32 products may be rounded to TF32 factors; ``auto`` where the GPU can."""
    able = device == "cuda" and torch.cuda.is_tf32_supported()
    if setting == "auto":
        return able
    if setting and not able:
        where = torch.cuda.get_device_name() if device == "cuda" else f"the device {device}"
        raise ConfigError(f"{section}tf32 is true, which {where} lacks; use auto or false")
    return setting


def make_accelerator(train: ComputeSettings, section: str = "train.") -> Accelerator:
    """Build the accelerator for a training section; messages put ``section`` before the names of its options.

    How fp32 products are rounded, and whether algorithms must repeat, are settings of the whole process, and made here
    too.

    Raises:
        ConfigError: the device or precision is not there, or several processes meet an installed package named
            ``datasets``, which Accelerate would import in place of this project's folder.
    """
    if processes_started() > 1:
        _refuse_foreign_datasets()
        # Accelerate is to rename an option some day; a stride of 1 or 3 for a side of 1 is the same memory.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    device = resolve_device(train.device, section)
    precision = resolve_precision(train.precision, device, section)
    _round_products(tf32=resolve_tf32(train.tf32, device, section))
    _repeat_bits(deterministic=train.deterministic)
    # Accelerate keeps the first run's settings for the whole process; a second seed starts afresh.
    AcceleratorState._reset_state(reset_partial_state=processes_started() == 1)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        # Processes that are gone are noticed otherwise (utils.watch); the main one may write or resample for long.
        kwargs_handlers=[_between_processes(), InitProcessGroupKwargs(timeout=timedelta(hours=2))],
    )


def _between_processes() -> DistributedDataParallelKwargs:
    """Say how gradients are shared: summed where they lie, without a second copy of them.

    BatchNorm's running statistics are not sent about at each forward pass, as nothing reads them in training; whoever
    scores settles them.
    """
    return DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)


def _round_products(*, tf32: bool) -> None:
    """Set what matrix products and convolutions in fp32 may do on GPUs; torch lets convolutions round by default.

    cuDNN's own search for the quickest algorithm stays off: it goes by timings, and with the algorithm the last bits
    change from run to run.
    """
    # Not torch's fp32_precision: its compiler still reads these, and refuses a mixture of the two.
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def _repeat_bits(*, deterministic: bool) -> None:
    """Allow only algorithms that give the same bits each time, or any; a setting of the whole process."""
    if deterministic:
        # cuBLAS reads it when it is first used: with workspaces of their own its streams add in one order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic


@contextmanager
def without_deterministic_algorithm(section: str = "train.") -> Iterator[None]:
    """Raise a ``ConfigError`` for an operation that ``deterministic`` refuses, in place of torch's error."""
    try:
        yield
    except RuntimeError as error:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if found is None:
            raise
        raise ConfigError(
            f"{section}deterministic is true, but torch has no deterministic {found[1]} on this device, which the "
            f"model needs; set it to false, or use other backbones"
        ) from None


def _refuse_foreign_datasets() -> None:
    try:
        version = importlib.metadata.version("datasets")
    except importlib.metadata.PackageNotFoundError:
        return
    raise ConfigError(
        f"the package 'datasets' {version} is installed in this environment and gets in the way of several "
        f"processes; use the project's own .venv, or pip uninstall datasets"
    )
