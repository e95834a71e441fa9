"""How many pairs fit into the device's memory at once, found by trying, and what to say where they do not."""

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from accelerate import Accelerator
from torch.nn.modules.batchnorm import _BatchNorm

from datasets.sampling import StepSampler
from experiments.kinds import Model
from utils.batch import ViewSpec
from utils.engine import Training
from utils.errors import ConfigError, RunError
from utils.memory import describe_memory, is_out_of_memory, release
from utils.sections import TrainConfig
from utils.trial import random_batch, try_step

SizeOption = Literal["train.micro_batch", "eval.batch_size"]

_LESS_MEMORY = (
    "use a smaller --data.image_size or backbone, grad_checkpointing true for the backbones, or --train.precision bf16"
)
_ADVICE: dict[SizeOption, str] = {
    "train.micro_batch": (
        "start a new run with --train.micro_batch auto or a smaller number, or with grad_checkpointing true for the "
        "backbones"
    ),
    "eval.batch_size": "start a new run with a smaller --eval.batch_size",
}


def largest_micro_batch(
    training: Training, specs: Mapping[str, ViewSpec], n_classes: int, share: int, *, at_least: int = 1
) -> int:
    """Return the most pairs at once that fit into memory: a process's share of a step, halved until a trial fits.

    Every process tries by itself, and all take the smallest answer. Nothing is decided by time.

    Args:
        training: what is tried; nothing of it is changed.
        specs: of each view.
        n_classes: number of classes.
        share: pairs of a step that one process takes, at most.
        at_least: fewest pairs that the model can train on; see ``fewest_pairs``.

    Raises:
        ConfigError: not even ``at_least`` pairs fit, in this process or another.
    """
    accelerator, fits = training.accelerator, 0
    for pairs in _halvings(share, at_least):
        if _fits(training, pairs, specs, n_classes):
            fits = pairs
            break
        release(accelerator.device)
    everyone = accelerator.gather(torch.tensor([fits], device=accelerator.device)).tolist()
    if not min(everyone):
        raise ConfigError(_too_large(accelerator, everyone, min(share, at_least)))
    return int(min(everyone))


def micro_batch_note(pairs: int, share: int, *, at_least: int = 1, processes: int = 1) -> str:
    """Return what ``largest_micro_batch`` found, in words."""
    where = " in each process" if processes > 1 else ""
    if pairs == share:
        return f"train.micro_batch auto: a step's {_pairs(share)} fit at once{where}"
    refused = min(size for size in _halvings(share, at_least) if size > pairs)
    return (
        f"train.micro_batch auto: {_pairs(pairs)} at once fit{where} ({refused} did not), "
        f"{math.ceil(share / pairs)} micro-batches a step"
    )


def fewest_pairs(model: Model, sampler: StepSampler) -> int:
    """Return the smallest ``train.micro_batch`` with which no BatchNorm that trains gets one pair alone in a batch."""
    if not trains_batchnorm(model):
        return 1
    share, trial = largest_share(sampler), copy.copy(sampler)
    for pairs in range(1, share):
        trial.micro_batch = pairs
        if trial.smallest_part > 1:
            return pairs
    return share


def trains_batchnorm(model: Model) -> bool:
    """Return whether a BatchNorm takes its statistics from batches; in frozen modules they stand still."""
    trained = [part for each in model.backbones.values() for part in (each.own_parts if each.frozen else [each])]
    return any(isinstance(layer, _BatchNorm) for part in trained for layer in part.modules())


def largest_share(sampler: StepSampler) -> int:
    """Return the pairs of a step that one process takes, at most."""
    return math.ceil(sampler.pairs_in_step(0) / sampler.world_size)


def pairs_at_once(train: TrainConfig, processes: int) -> int:
    """Return the pairs that one process trains on at once, at most."""
    share = math.ceil(train.batch_size / processes)
    return min(train.micro_batch_limit or share, share)


@contextmanager
def memory_explained(accelerator: Accelerator, option: SizeOption, pairs: int) -> Iterator[None]:
    """Turn an error that memory ran out into one line that names the pairs at once and what to do.

    It is a ``RunError``, not a user's mistake: the same configuration may fit on another device, or once another
    program has left this one, and the run directory stays to be continued.

    Args:
        accelerator: its device is described.
        option: what sets the number of pairs.
        pairs: how many are on the device at once.

    Raises:
        RunError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(_ran_out(accelerator.device, option, pairs, error)) from None


def _ran_out(device: torch.device, option: SizeOption, pairs: int, error: BaseException) -> str:
    on_host = isinstance(error, MemoryError) or "CPUAllocator" in str(error)
    if on_host and device.type != "cpu":
        machine = describe_memory(torch.device("cpu"))
        return f"memory ran out, not that of {device} but the machine's, {machine}; use fewer --data.workers"
    advice = _LESS_MEMORY if pairs == 1 else _ADVICE[option]
    return (
        f"memory ran out on {describe_memory(device)} with {_pairs(pairs)} at once ({option}); {advice}. If another "
        f"program took the memory, continue with --run.resume auto once it is gone"
    )


def _too_large(accelerator: Accelerator, everyone: list[int], fewest: int) -> str:
    few = "1 pair fits" if fewest == 1 else f"{fewest} pairs at once, the fewest for BatchNorm to train on here, fit"
    if everyone[accelerator.process_index]:
        others = ", ".join(str(rank) for rank, fits in enumerate(everyone) if not fits)
        where = f"of the device of process {others}, unlike this one's, {describe_memory(accelerator.device)}"
    else:
        where = f"of {describe_memory(accelerator.device)}"
    return f"train.micro_batch auto: not even {few} into the memory {where}; {_LESS_MEMORY}"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _halvings(share: int, at_least: int) -> Iterator[int]:
    """Yield the sizes to try: the share, then half of the last one, rounded up, down to ``at_least``."""
    size = share
    while size > at_least:
        yield size
        size = max(at_least, math.ceil(size / 2))
    yield size


def _fits(training: Training, pairs: int, specs: Mapping[str, ViewSpec], n_classes: int) -> bool:
    try:
        try_step(training, random_batch(pairs, specs, n_classes, training.accelerator.device))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
