"""Two processes on two GPUs whose BatchNorm layers share their statistics, one of them without a region."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing.spawn as multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from R2O.config import R2OConfig, R2OModelConfig
from R2O.model import R2OModel
from R2O.trunk import build_trunk
from tests.experiments.start_processes import free_port
from utils.photo_sections import PhotoDataConfig

SIZE, PHOTOS = 64, 4


def inputs(rank: int) -> dict[str, Tensor]:
    """Return photos whose views lie apart in the second process, so that no region is in both."""
    draw = torch.Generator().manual_seed(rank)
    pictures = {name: torch.randn(PHOTOS, 3, SIZE, SIZE, generator=draw) for name in ("view_1", "view_2", "photo")}
    quarters = torch.arange(SIZE) // (SIZE // 2)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])
    apart = torch.tensor([[0.0, 0.0, 0.4, 0.4, 0.0], [0.6, 0.6, 1.0, 1.0, 0.0]])
    record = (apart if rank else whole.expand(2, 5)).expand(PHOTOS, 2, 5)
    superpixels = (2 * quarters[:, None] + quarters).expand(PHOTOS, SIZE, SIZE)
    return {name: value.cuda() for name, value in {**pictures, "superpixels": superpixels, "record": record}.items()}


def take_a_step(rank: int, port: str, folder: Path) -> None:
    """Take one step as one of two processes and keep the parameters."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", rank=rank, world_size=2)
    torch.manual_seed(0)
    settings = R2OModelConfig(
        backbone="test_efficientnet", cluster_stride=8, projector_width=16, predictor_width=16, embedding=8
    )
    config = R2OConfig(data=PhotoDataConfig(root="photos", image_size=SIZE), model=settings)
    model = R2OModel(build_trunk(settings, SIZE, initialise=True), config)
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(model).cuda()  # type: ignore[no-untyped-call]
    wrapped = DistributedDataParallel(shared, device_ids=[rank])
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model.set_step(None, 0.99)
    before = model.online.projector.get_parameter("hidden.weight").detach().clone()
    answer = wrapped(inputs(rank))
    answer.losses.mean().backward()
    optimizer.step()
    torch.save(
        {
            "valid": answer.tallies["valid_regions"].item(),
            "moved": not torch.equal(before, model.online.projector.get_parameter("hidden.weight")),
            "state": {name: value.cpu() for name, value in model.named_parameters()},
        },
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_process_without_a_region_takes_part_in_shared_statistics(tmp_path: Path) -> None:
    work = partial(take_a_step, port=free_port(), folder=tmp_path)
    multiprocessing.spawn(work, nprocs=2)  # type: ignore[no-untyped-call]  # raises where a process fails
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one["valid"] > 0
    assert other["valid"] == 0
    assert one["moved"]
    assert all(torch.equal(one["state"][name], other["state"][name]) for name in one["state"])
