"""The GPU of this process: launched processes of one machine share its GPUs, and others take the first."""

import pytest

from segmenters.sam_device import own_device
from utils.errors import ConfigError


@pytest.mark.parametrize(
    ("count", "environment", "expected"),
    [
        (4, {}, "cuda:0"),
        (4, {"RANK": "6", "LOCAL_RANK": "2"}, "cuda:2"),
        (4, {"SLURM_PROCID": "7", "SLURM_LOCALID": "3"}, "cuda:3"),
        (4, {"LOCAL_RANK": "1", "SLURM_LOCALID": "0"}, "cuda:1"),  # torchrun as one task of SLURM
        (2, {"LOCAL_RANK": "5"}, "cuda:1"),
        (1, {"SLURM_LOCALID": "3"}, "cuda:0"),  # SLURM shows each task its own GPU
        (2, {"LOCAL_RANK": ""}, "cuda:0"),
    ],
)
def test_processes_share_the_gpus(count: int, environment: dict[str, str], expected: str) -> None:
    assert own_device("cuda", count, environment) == expected


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_stay(device: str) -> None:
    assert own_device(device, 0, {"LOCAL_RANK": "1"}) == device


@pytest.mark.parametrize("text", ["-1", "one", "\u0663"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^LOCAL_RANK is '{text}', not the number of a process"):
        own_device("cuda", 2, {"LOCAL_RANK": text})
