"""Parts of an archive for several processes: which photos are whose, and what a launcher says about it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from datasets.workers import available_cores
from utils.errors import ConfigError

Item = TypeVar("Item")
AUTO = "auto"
_EXAMPLE = "give --shard K/N with K from 1 to N, such as --shard 1/4"


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of an archive.

    Attributes:
        number: 1..count.
        count: of parts; at least 2.
        source: where the two numbers come from, in words.
        cores: processor cores of this process's own; None takes all that it may use.
        together: whether one launcher has started all shards and ends them as soon as one of them fails.
    """

    number: int
    count: int
    source: str = "--shard"
    cores: int | None = None
    together: bool = False

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """The shard in file names: ``3-of-8``."""
        return f"{self.number}-of-{self.count}"

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every ``count``-th item: neighbours, which are often alike in size, go to different shards."""
        return items[self.number - 1 :: self.count]


def choose_shard(text: str | None, environment: Mapping[str, str]) -> Shard | None:
    """Return the shard of this process, or None where it works alone.

    Args:
        text: ``K/N``, ``auto``, or None, which is ``auto`` where a launcher has set its variables and else nothing.
        environment: of the process.

    Raises:
        ConfigError: for a text that is neither, for ``auto`` without a launcher, for variables that cannot be.
    """
    if text is not None and text != AUTO:
        return _written(text)
    launched = _array(environment), _torchrun(environment) or _srun(environment)
    found = [shard for shard in launched if shard is not None]
    if not found and text == AUTO:
        raise ConfigError(
            f"--shard auto: no variables of torchrun (RANK, WORLD_SIZE), of a SLURM array (SLURM_ARRAY_TASK_ID, "
            f"SLURM_ARRAY_TASK_COUNT) or of srun (SLURM_PROCID, SLURM_STEP_NUM_TASKS) are set; {_EXAMPLE}"
        )
    found = [shard for shard in found if shard.count > 1]
    if len(found) < 2:
        return found[0] if found else None
    array, tasks = found  # a job of an array that starts several processes
    number = (array.number - 1) * tasks.count + tasks.number
    source = f"{array.source} and {tasks.source}"
    return Shard(number, array.count * tasks.count, source, tasks.cores)


def _written(text: str) -> Shard | None:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: {_EXAMPLE}, or auto")
    shard = Shard(int(match[1]), int(match[2]))
    return shard if shard.count > 1 else None


def _torchrun(environment: Mapping[str, str]) -> Shard | None:
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        return None
    rank, count = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    neighbours = _number(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else 1
    cores = max(1, available_cores() // max(1, neighbours))
    return _launched(rank, count, "RANK and WORLD_SIZE", cores, together=True)


def _array(environment: Mapping[str, str]) -> Shard | None:
    names = ("ID", "COUNT", "MIN", "MAX", "STEP")
    values = {name: f"SLURM_ARRAY_TASK_{name}" for name in names}
    if not {values["ID"], values["COUNT"]} <= environment.keys():
        return None
    task, count, first, last, step = (
        _number(environment, values[name]) if values[name] in environment else None for name in names
    )
    assert task is not None
    assert count is not None
    first, step = first or 0, step or 1
    even = last is None or (last - first) // step + 1 == count
    if not even or (task - first) % step:
        raise ConfigError(
            f"the SLURM array has {count} tasks from {first} to {last}, which do not follow each other in even steps "
            f"(SLURM_ARRAY_TASK_*); {_EXAMPLE}"
        )
    return _launched((task - first) // step, count, values["ID"], _slurm_cores(environment, 1), together=False)


def _srun(environment: Mapping[str, str]) -> Shard | None:
    # A batch script has SLURM_PROCID=0 and SLURM_NTASKS too, but is one process; only srun sets the step's tasks.
    if not {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= environment.keys():
        return None
    rank, count = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_STEP_NUM_TASKS")
    per_node = environment.get("SLURM_NTASKS_PER_NODE") or environment.get("SLURM_STEP_TASKS_PER_NODE") or str(count)
    numbers = [int(number) for number in re.findall(r"(?:^|,)(\d+)", per_node)]  # "4(x2),3": 4 on two nodes, 3 on one
    cores = _slurm_cores(environment, max(numbers, default=count))
    return _launched(rank, count, "SLURM_PROCID and SLURM_STEP_NUM_TASKS", cores, together=True)


def _slurm_cores(environment: Mapping[str, str], tasks: int) -> int:
    """Return this process's share of the job's cores on its machine; a process that is bound has its own already."""
    cores, text = available_cores(), environment.get("SLURM_CPUS_ON_NODE", "")
    of_job = int(text) if text.isdecimal() and int(text) > 0 else cores
    return cores if cores < of_job and tasks > 1 else max(1, min(cores, of_job) // tasks)


def _launched(rank: int, count: int, source: str, cores: int, *, together: bool) -> Shard:
    if not 0 <= rank < count:
        raise ConfigError(f"{source} say process {rank} of {count}, counted from 0; {_EXAMPLE}")
    return Shard(rank + 1, count, source, cores, together)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isdecimal():
        raise ConfigError(f"the variable {name} is '{text}', not a number from 0; {_EXAMPLE}")
    return int(text)
