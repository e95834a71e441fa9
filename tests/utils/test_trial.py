"""A step that is tried leaves nothing behind."""

from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from utils.batch import Batch, ViewSpec, prepare_views
from utils.devices import make_accelerator
from utils.engine import Training
from utils.schedule import Schedule
from utils.sections import TrainConfig
from utils.trial import random_batch, try_step

SPECS = {"roi": ViewSpec(8, (0.5,) * 3, (0.25,) * 3), "extra_roi": ViewSpec(4, (0.0,) * 3, (1.0,) * 3)}
N_CLASSES = 5


class Noisy(nn.Module):
    """BatchNorm, dropout and a part that stays in eval mode; runs out of memory above ``most`` pairs."""

    def __init__(self, most: int = 100) -> None:
        super().__init__()
        self.most, self.seen = most, list[tuple[int, bool]]()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.still = nn.BatchNorm2d(3).eval().requires_grad_(requires_grad=False)
        self.head = nn.Linear(4 + 3, N_CLASSES)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        self.seen.append((len(views["roi"]), self.training))
        features = [self.stem(views["roi"]).mean((2, 3)), self.still(views["extra_roi"]).mean((2, 3))]
        if len(views["roi"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        logits: Tensor = self.head(torch.cat(features, 1))
        return logits


def noise(pairs: int, device: str = "cpu") -> Batch:
    return random_batch(pairs, SPECS, N_CLASSES, torch.device(device))


def make_training(accelerator: Accelerator, model: nn.Module) -> Training:
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "peak_lr": 0.1, "role": "head"}], lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    return Training(
        model, optimizer, accelerator, Schedule(10, 0, 0.0, 10, "step"), partial(prepare_views, specs=SPECS)
    )


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator(TrainConfig(device="cpu", precision="fp32"))


def state_of(model: nn.Module) -> dict[str, object]:
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    return {"tensors": tensors, "modes": modes, "random": torch.get_rng_state()}


def assert_same(model: nn.Module, before: dict[str, object]) -> None:
    after = state_of(model)
    assert after["modes"] == before["modes"]
    assert torch.equal(after["random"], before["random"])  # type: ignore[arg-type]
    assert after["tensors"].keys() == before["tensors"].keys()  # type: ignore[attr-defined]
    for name, tensor in before["tensors"].items():  # type: ignore[attr-defined]
        assert torch.equal(after["tensors"][name], tensor), name  # type: ignore[index]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("most", [100, 2])
def test_everything_is_put_back(accelerator: Accelerator, mode: bool, most: int) -> None:
    """Also where memory runs out in the midst of the forward pass, after BatchNorm and dropout have been at work."""
    model = Noisy(most)
    training = make_training(accelerator, model)
    model.train(mode)
    model.still.eval()
    kept = torch.full_like(model.head.weight, 7.0)
    model.head.weight.grad = kept
    identities = [id(buffer) for buffer in model.buffers()]
    before = state_of(model)
    if most < 6:
        with pytest.raises(torch.OutOfMemoryError):
            try_step(training, noise(6))
    else:
        assert try_step(training, noise(6)) > 0
    assert model.seen == [(6, True)]
    assert_same(model, before)
    assert [id(buffer) for buffer in model.buffers()] == identities
    assert model.head.weight.grad is kept
    assert kept.eq(7).all()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == ["head.weight"]


def test_the_step_after_a_trial_is_the_step_without_one(accelerator: Accelerator) -> None:
    weights = []
    for tried in (False, True):
        torch.manual_seed(1)
        model = Noisy()
        training = make_training(accelerator, model)
        if tried:
            try_step(training, noise(4))
        loss = model(training.prepare(noise(3))).square().sum()
        loss.backward()
        training.optimizer.step()
        weights.append(torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()]))
    assert torch.equal(*weights)


def test_gradients_of_an_earlier_micro_batch_take_their_place(accelerator: Accelerator) -> None:
    model = Noisy()
    training = make_training(accelerator, model)
    found: list[bool] = []
    model.register_forward_pre_hook(lambda *_: found.append(model.head.weight.grad is not None))
    try_step(training, noise(2))
    assert found == [True]


def test_synchronised_batchnorm_waits_for_nobody(accelerator: Accelerator) -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(Noisy())  # type: ignore[no-untyped-call]
    norm = model.stem[1]
    modes: list[bool] = []
    norm.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    norm.forward = nn.BatchNorm2d.forward.__get__(norm)  # its own needs a GPU
    training = make_training(accelerator, model)
    try_step(training, noise(2))
    assert modes == [False]
    assert norm.training


def test_random_pairs_fit_the_views() -> None:
    batch = noise(3)
    shapes = {name: tuple(view.shape) for name, view in batch.views.items()}
    assert shapes == {"roi": (3, 3, 8, 8), "extra_roi": (3, 3, 4, 4)}
    assert all(view.dtype == torch.uint8 for view in batch.views.values())
    assert batch.label.max() < N_CLASSES


@pytest.mark.gpu
def test_a_trial_on_the_gpu_makes_room_for_the_optimiser() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    accelerator = make_accelerator(TrainConfig(device="cuda", precision="fp32"))
    model = Noisy().cuda()
    model.more = nn.Linear(4096, 4096, device="cuda")
    training = make_training(accelerator, model)
    try_step(training, noise(2, "cuda"))  # the first one also makes the libraries' work spaces, which stay
    before, random = state_of(model), torch.cuda.get_rng_state()
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    try_step(training, noise(2, "cuda"))
    assert torch.cuda.max_memory_allocated() - start >= 3 * 4096 * 4096 * 4
    assert torch.cuda.memory_allocated() == start
    assert_same(model, before)
    assert torch.equal(torch.cuda.get_rng_state(), random)
