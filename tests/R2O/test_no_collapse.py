"""Fifty steps on drawn shapes: the vectors stay spread out and photos keep several regions."""

import math

import pytest
import torch
from torch import Tensor, nn

from R2O.config import ClustersConfig, PretrainConfig, R2OConfig, R2OModelConfig
from R2O.lars import make_pretrain_optimizer
from R2O.model import R2OModel
from R2O.schedules import PretrainSchedule
from tests.R2O.conftest import SIZE, SmallTrunk
from utils.photo_sections import PhotoDataConfig

PHOTOS, STEPS = 8, 50
CONFIG = R2OConfig(
    data=PhotoDataConfig(image_size=SIZE),
    model=R2OModelConfig(
        projector_width=64,
        predictor_width=64,
        embedding=16,
    ),
    train=PretrainConfig(
        epochs=5,
        batch_size=PHOTOS,
        optimizer="adamw",
        base_lr=0.1,
        warmup_epochs=0.5,
        lr_clusters=None,
        clusters=ClustersConfig(values=[12, 3]),
    ),
)


def discs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photos B×3×S×S of two discs on plain ground, with 16 squares and their parts within the discs as superpixels."""
    y = torch.arange(SIZE)[:, None].expand(SIZE, SIZE)
    x = y.T
    photos, labels = torch.empty(PHOTOS, 3, SIZE, SIZE), torch.empty(PHOTOS, SIZE, SIZE, dtype=torch.int16)
    for row in range(PHOTOS):
        colours = torch.randn(3, 3, generator=generator)
        picture, which = colours[0][:, None, None].expand(3, SIZE, SIZE), torch.zeros(SIZE, SIZE, dtype=torch.int64)
        for disc in (1, 2):
            top, left = (torch.rand(2, generator=generator) * SIZE).tolist()
            inside = (y - top) ** 2 + (x - left) ** 2 < (SIZE / 3) ** 2
            picture = torch.where(inside, colours[disc][:, None, None], picture)
            which = torch.where(inside, disc, which)
        squares = (y // (SIZE // 4)) * 4 + x // (SIZE // 4)
        found = torch.unique(which * 16 + squares, return_inverse=True)[1]
        photos[row], labels[row] = picture, found.view(SIZE, SIZE)
    return photos + 0.2 * torch.randn(photos.shape, generator=generator), labels


def views(photos: Tensor, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Two crops of each photo, mirrored by chance and with other colours, and their record B×2×5."""
    pictures, records = [], torch.empty(PHOTOS, 2, 5)
    for view in (0, 1):
        crops = []
        for row, photo in enumerate(photos):
            side = int(torch.randint(SIZE // 2, SIZE + 1, (), generator=generator))
            top, left = torch.randint(0, SIZE - side + 1, (2,), generator=generator).tolist()
            flip = bool(torch.randint(0, 2, (), generator=generator))
            crop = photo[:, top : top + side, left : left + side]
            crop = nn.functional.interpolate(crop[None], size=SIZE, mode="bilinear")[0]
            crops.append((crop.flip(-1) if flip else crop) + 0.3 * torch.randn(3, 1, 1, generator=generator))
            box = torch.tensor([top, left, top + side, left + side]) / SIZE
            records[row, view] = torch.cat([box, torch.tensor([float(flip)])])
        pictures.append(torch.stack(crops))
    return pictures, records


@pytest.fixture(scope="module")
def learned() -> tuple[R2OModel, list[dict[str, float]]]:
    """A model after all steps, and what each step told."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = R2OModel(SmallTrunk(16, 32), CONFIG).train()  # type: ignore[arg-type]
    optimizer = make_pretrain_optimizer(
        CONFIG.train, model.online.trunk, [model.online.projector, model.predictor], CONFIG.fidelity
    )
    schedule = PretrainSchedule(STEPS // CONFIG.train.epochs, CONFIG.train)
    told = []
    for step in range(STEPS):
        photos, superpixels = discs(generator)
        (first, second), record = views(photos, generator)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * schedule.factor(step)
        model.set_step(schedule.clusters(step), schedule.momentum(step))
        inputs = {"view_1": first, "view_2": second, "photo": photos, "superpixels": superpixels, "record": record}
        answer = model(inputs)
        optimizer.zero_grad()
        torch.autograd.backward(answer.losses.mean())
        optimizer.step()
        means = {name: value.item() / PHOTOS for name, value in answer.tallies.items()}
        told.append(means | {"loss": answer.losses[0].item(), "clusters": float(model.clusters or 0)})
    return model, told


def test_the_vectors_do_not_collapse(learned: tuple[R2OModel, list[dict[str, float]]]) -> None:
    _, told = learned
    assert min(step["spread"] for step in told[-10:]) > 0.5
    assert all(math.isfinite(step["loss"]) and 0 < step["loss"] < 4 for step in told)
    assert sum(step["loss"] for step in told[-10:]) < 0.8 * sum(step["loss"] for step in told[:10])


def test_photos_keep_several_regions(learned: tuple[R2OModel, list[dict[str, float]]]) -> None:
    _, told = learned
    assert told[-1]["clusters"] == 3
    assert all(1 < step["regions"] <= step["clusters"] for step in told)
    assert all(0 < step["valid_regions"] <= step["regions"] for step in told)
    assert not any(step["without_region"] for step in told)


def test_no_channel_dies(learned: tuple[R2OModel, list[dict[str, float]]]) -> None:
    model, _ = learned
    names = [name for name, _ in model.named_buffers() if name.endswith("running_var")]
    assert len(names) == 7
    for name in names:
        assert model.get_buffer(name).min() > 1e-8, name
    assert model.target.state_dict().keys() == model.online.state_dict().keys()
    for tensor in model.parameters():
        assert tensor.isfinite().all()
