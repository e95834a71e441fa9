"""Which shard a process takes, and how many cores."""

import pytest

import preprocess_foodseg103
from datasets import shards
from datasets.shards import Shard, choose_shard
from utils.errors import ConfigError


def array(task: int, first: int, last: int, count: int, step: int = 1) -> dict[str, str]:
    names = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


def torchrun(rank: int, world: int, local: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local), "LOCAL_RANK": "0"}


def srun(rank: int, tasks: int, **more: str) -> dict[str, str]:
    return {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_NTASKS": str(tasks), **more}


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "available_cores", lambda: 16)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (torchrun(0, 1, 1), None),
        (torchrun(2, 8, 4), (3, 8, 4)),
        (torchrun(7, 32, 32), (8, 32, 1)),
        (array(0, 0, 7, 8), (1, 8, 16)),
        (array(8, 1, 8, 8), (8, 8, 16)),
        (array(12, 0, 14, 8, 2), (7, 8, 16)),  # --array=0-14:2
        (array(12, 0, 15, 8, 2), (7, 8, 16)),  # --array=0-15:2
        (array(5, 5, 5, 1), None),  # one task of an array, submitted again
        (array(1, 0, 3, 4) | {"SLURM_CPUS_ON_NODE": "6"}, (2, 4, 6)),
        (srun(1, 4, SLURM_CPUS_ON_NODE="16", SLURM_NTASKS_PER_NODE="4"), (2, 4, 4)),
        (srun(1, 8, SLURM_CPUS_ON_NODE="16", SLURM_STEP_TASKS_PER_NODE="3(x2),2"), (2, 8, 5)),
        (srun(1, 4, SLURM_CPUS_ON_NODE="64", SLURM_NTASKS_PER_NODE="4"), (2, 4, 16)),  # bound to 16 of 64 cores
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # a batch script before it calls srun
        (array(1, 0, 1, 2) | srun(2, 3), (6, 6, 5)),
    ],
)
def test_what_launchers_say(environment: dict[str, str], expected: tuple[int, int, int] | None) -> None:
    shard = choose_shard(None, environment)
    assert expected == (None if shard is None else (shard.number, shard.count, shard.cores))


def test_what_is_written_goes_before_what_launchers_say() -> None:
    assert choose_shard("2/3", torchrun(0, 8, 8)) == Shard(2, 3)
    assert choose_shard("1/1", torchrun(0, 8, 8)) is None
    assert choose_shard("auto", torchrun(0, 8, 4)) == Shard(1, 8, "RANK and WORLD_SIZE", 4, together=True)
    assert choose_shard("auto", torchrun(0, 8, 8)) == choose_shard(None, torchrun(0, 8, 8))


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "3", "1/0", "-1/4", "1/4/2", "", "2.0/4", "²/4"])
def test_a_shard_that_cannot_be_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard .*: give --shard K/N with K from 1 to N, such as --shard 1/4") as e:
        preprocess_foodseg103.main(["--src", "a", "--dst", "b", f"--shard={text}"])
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"^--shard auto: no variables of torchrun .* are set; give --shard K/N"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, r"^the variable RANK is 'x', not a number from 0; give --shard K/N"),
        (torchrun(8, 8, 8), r"^RANK and WORLD_SIZE say process 8 of 8, counted from 0; give --shard K/N"),
        (array(3, 1, 7, 3), r"^the SLURM array has 3 tasks from 1 to 7, which do not follow each other in even steps"),
    ],
)
def test_what_launchers_cannot_mean(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        choose_shard("auto", environment)
    assert len(str(caught.value).splitlines()) == 1


def test_shards_part_a_list() -> None:
    items = list(range(11))
    parts = [Shard(number, 4).part(items) for number in range(1, 5)]
    assert parts[0] == [0, 4, 8]
    assert sorted(item for part in parts for item in part) == items


def test_checking_has_no_shards() -> None:
    with pytest.raises(ConfigError, match=r"^--check looks at all photos in one process; leave --shard out$"):
        preprocess_foodseg103.main(["--src", "a", "--check", "--shard", "1/2"])
