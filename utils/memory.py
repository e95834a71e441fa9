"""How much memory there is, and errors that say that it ran out."""

import gc
import os

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

GIB = 2**30
# What accelerate's check lacks: the driver's own words, the libraries' handles, and the allocator on Windows.
_FURTHER_WORDS = (
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    "not enough memory: you tried to allocate",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or the one that it was raised from, says that memory ran out: a GPU's or the machine's.

    cuDNN's "not supported" counts too, as in accelerate: it is what a workspace that cannot be had looks like.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError):
        text = str(error)
        if should_reduce_batch_size(RuntimeError(text)) or any(words in text for words in _FURTHER_WORDS):
            return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def release(device: torch.device) -> None:
    """Give back what nothing refers to any more; a caught error refers to the whole pass that it ended."""
    if device.type == "cpu":
        gc.collect()
    else:
        clear_device_cache(garbage_collection=True)


def machine_memory() -> int | None:
    """Return the bytes of memory of this machine; null where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process can still take on a GPU; null on the CPU."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


def describe_memory(device: torch.device) -> str:
    """Return a device and its memory in words, such as ``cuda:0 (NVIDIA L4, 22.2 GiB, of which 3.1 GiB are free)``."""
    if device.type == "cuda":
        free, total = (size / GIB for size in torch.cuda.mem_get_info(device))
        return f"{device} ({torch.cuda.get_device_name(device)}, {total:.1f} GiB, of which {free:.1f} GiB are free)"
    size = torch.mps.recommended_max_memory() if device.type == "mps" else machine_memory()
    return f"{device} ({size / GIB:.1f} GiB)" if size else str(device)
