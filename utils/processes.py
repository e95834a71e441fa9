"""Several processes that compute one run: what they share, and what they must agree on."""

import hashlib
import json
import os
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from timm import layers
from torch import nn

from utils.errors import ConfigError, UserError, problem_list

Value = TypeVar("Value")
_SHOWN = 8  # differences listed


def processes_started() -> int:
    """Return how many processes a launcher started for this run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def refuse_several(program: str) -> None:
    """Raise a ``ConfigError`` where a launcher started a program that runs in one process."""
    processes = processes_started()
    if processes > 1:
        error = ConfigError(
            f"{program} runs in one process, but {processes} were started; start it without torchrun or accelerate "
            f"launch"
        )
        error.in_every_process = True
        raise error


def from_main(accelerator: Accelerator, compute: Callable[[], Value]) -> Value:
    """Return in every process what the main one computes, and computes alone.

    Every process calls this at the same place, and goes on when it is done. The ``UserError`` with which it fails is
    raised in all of them.
    """
    if accelerator.num_processes == 1:
        return compute()
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = compute()
        except UserError as error:
            answer[1] = (type(error), str(error))
    value, failure = broadcast_object_list(answer)
    if failure is not None:
        told: UserError = failure[0](failure[1])
        told.in_every_process = True
        raise told
    return cast(Value, value)


def refuse_disagreement(
    accelerator: Accelerator, facts: Mapping[str, str | Mapping[str, Any]], *, may_differ: Collection[str] = ()
) -> None:
    """Raise the same ``ConfigError`` in every process where they were started with other options or on other data.

    Args:
        accelerator: has met the other processes; every process calls this at the same place.
        facts: by name, what must be the same everywhere: a hash or other text, or a mapping (such as a configuration
            as a dict), of which the keys that differ are named.
        may_differ: dotted keys of the mappings that are not compared.
    """
    if accelerator.num_processes == 1:
        return
    mine = {name: _flat(fact, may_differ) for name, fact in facts.items()}
    digest = hashlib.sha256(json.dumps(mine, sort_keys=True).encode("utf-8")).hexdigest()
    if len(set(gather_object([digest]))) == 1:
        return
    everyone: list[tuple[str, dict[str, dict[str, str]]]] = gather_object([(socket.gethostname(), mine)])
    names = [f"process {rank} ({host})" for rank, (host, _) in enumerate(everyone)]
    problems = [
        problem
        for fact in dict.fromkeys(fact for _, facts_there in everyone for fact in facts_there)
        for problem in _differences(fact, names, [facts_there.get(fact, {}) for _, facts_there in everyone])
    ]
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"and {len(problems) - _SHOWN} more"]
    error = ConfigError(
        problem_list(
            "the processes of this run disagree; start all of them with the same command, files and data", problems
        )
    )
    error.in_every_process = True
    raise error


def _flat(fact: str | Mapping[str, Any], may_differ: Collection[str], prefix: str = "") -> dict[str, str]:
    """Return texts by dotted key; a plain text has the key ``""``."""
    if isinstance(fact, str):
        return {"": fact}
    flat: dict[str, str] = {}
    for key, value in fact.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, may_differ, f"{dotted}.")
        elif dotted not in may_differ:
            flat[dotted] = str(value)
    return flat


def _differences(fact: str, names: list[str], values: list[dict[str, str]]) -> list[str]:
    """Return one line for each key in which a process differs from the first, with the first such process."""
    lines = []
    for key in dict.fromkeys(key for known in values for key in known):
        others = [rank for rank, known in enumerate(values) if known.get(key) != values[0].get(key)]
        if not others:
            continue
        rank = others[0]
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        if key:
            first, other = (values[place].get(key, "absent") for place in (0, rank))
            lines.append(f"{key} is {first} in {names[0]} and {other} in {names[rank]}{more}")
        else:
            lines.append(f"{names[rank]}{more} differs from {names[0]} in the {fact}")
    return lines


def convert_sync_batchnorm(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Return the model with BatchNorm layers that take their statistics over the pairs of all processes.

    Weights and the keys of the state dict stay. Call it before the optimiser is made. With one process nothing
    changes.

    Raises:
        ConfigError: the processes compute without GPUs.
    """
    if accelerator.device.type != "cuda":
        raise ConfigError(
            f"train.sync_batchnorm needs GPUs, but this run computes on the {accelerator.device.type}; leave it false, "
            f"or use --train.device cuda"
        )
    if accelerator.num_processes == 1:
        return model
    converted: nn.Module = layers.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # untyped in timm
    return converted
