"""One optimiser step, measured: the engine's, a bare loop's and the released code's, on any device."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.kinds import RVERNET
from experiments.setup import unique_modules
from Off_the_shelfs.config import BackboneConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.batch import Batch, image_memory_format
from utils.data_sections import DataConfig
from utils.devices import make_accelerator
from utils.engine import Meter, Training, train_one_epoch
from utils.optimisers import make_optimizer
from utils.schedule import Schedule
from utils.sections import Device, Precision, TrainConfig
from utils.transfer import on_device

CLASSES = 105
RATE = 1e-4
VIEWS = ("roi", "extra_roi")


@dataclass(frozen=True)
class Case:
    """What is trained on what.

    Attributes:
        backbone: timm name of both modules.
        side: of the pictures in pixels.
        pairs: of an optimiser step.
        steps: taken in one timed call.
        device, precision: as in the section ``train``.
        compiled: whether both modules are.
    """

    backbone: str
    side: int
    pairs: int
    steps: int
    device: Device = "cpu"
    precision: Precision = "fp32"
    compiled: bool = False


def random_batch(case: Case, pairs: int | None = None) -> Batch:
    """Return a batch of random pixels in the host's memory, laid out as the loader does; page-locked for a GPU."""
    count, side = pairs or case.pairs, case.side
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(VIEWS), count, side, side, 3), dtype=torch.uint8, generator=generator)
    batch = Batch(
        views={view: pixels[number].permute(0, 3, 1, 2) for number, view in enumerate(VIEWS)},
        label=torch.randint(0, CLASSES, (count,), generator=generator),
        index=torch.arange(count),
        content_box=dict.fromkeys(VIEWS, torch.zeros(count, 4, dtype=torch.int16)),
        flip=dict.fromkeys(VIEWS, torch.rand(count, generator=generator) < 0.5),
    )
    return batch.pin_memory() if case.device == "cuda" else batch


def build(case: Case) -> Training:
    """Build two modules, their head and the optimiser as a run does, weights random."""
    backbone = BackboneConfig(name=case.backbone, pretrained=False, compile=case.compiled)
    model_config = RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone)
    train = TrainConfig(device=case.device, precision=case.precision, backbone_lr=RATE, head_lr=RATE)
    config = RveRNetConfig(data=DataConfig(image_size=case.side), model=model_config, train=train)
    accelerator = make_accelerator(train)
    torch.manual_seed(0)
    model = RVERNET.build(config, CLASSES, False)
    optimizer = make_optimizer(train, unique_modules(model.backbones.values()), model.head_parts)
    model.to(accelerator.device).to(memory_format=image_memory_format(accelerator.device))
    model.compile_backbones()
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    schedule = Schedule(10**6, 0, 1.0, case.steps, "step")
    return Training(prepared, prepared_optimizer, accelerator, schedule, model.prepare, model.losses)


def engine(case: Case, *, resident: bool, parts: int = 1) -> Callable[[], None]:
    """Return a call that takes the case's steps with the engine.

    Args:
        case: what is trained on what.
        resident: the batch lies on the device beforehand; else it is copied there at each step, as in a run.
        parts: micro-batches of a step.
    """
    training = build(case)
    device = training.accelerator.device
    pairs = case.pairs // parts
    batch = random_batch(case, pairs)
    moved = batch.to(device) if resident else batch
    plan = [[pairs] * parts] * case.steps

    def call() -> None:
        batches: Iterator[Batch] = iter([moved] * (case.steps * parts))
        given = batches if resident else on_device(batches, device)
        train_one_epoch(training, given, plan, 0, Meter(device), lambda _steps, _means: None, lambda: False)
        finish(device)

    return call


def bare_loop(case: Case) -> Callable[[], None]:
    """Return a call that takes the case's steps with nothing but forward, backward and step.

    Pictures are normalised once, beforehand, and lie on the device; nothing is flipped, counted or logged.
    """
    training = build(case)
    accelerator, optimizer = training.accelerator, training.optimizer
    model = accelerator.unwrap_model(training.model)
    batch = random_batch(case).to(accelerator.device)
    views = training.prepare(batch)

    def call() -> None:
        model.train()
        for _ in range(case.steps):
            optimizer.zero_grad()
            with accelerator.autocast():
                logits = model(views)
            torch.autograd.backward(F.cross_entropy(logits.float(), batch.label))
            optimizer.step()
        finish(accelerator.device)

    return call


class _TwoModules(nn.Module):
    """The released network: two modules and the head, in torch's own layout."""

    def __init__(self, backbone: str, side: int) -> None:
        super().__init__()
        options = _size_options(backbone, side)
        self.modules_by_view = nn.ModuleList([timm.create_model(backbone, num_classes=0, **options) for _ in VIEWS])
        width = sum(int(cast(Any, module).num_features) for module in self.modules_by_view)
        self.head = nn.Sequential(nn.Linear(width, 640), nn.ReLU(), nn.Linear(640, CLASSES))

    def forward(self, views: list[Tensor]) -> Tensor:
        features = [module(view) for module, view in zip(self.modules_by_view, views, strict=True)]
        logits: Tensor = self.head(torch.cat(features, dim=1))
        return logits


def _size_options(backbone: str, side: int) -> dict[str, Any]:
    published = timm.get_pretrained_cfg(backbone)
    return {"img_size": side} if published is not None and published.fixed_input_size else {}


def released_loop(case: Case, parts: int = 1) -> Callable[[], None]:
    """Return a call that takes the case's steps as the released code does.

    Full precision with torch's own settings, plain Adam, float pictures copied from the host's ordinary memory at each
    step, and the loss read after it. ``parts`` splits a step where it does not fit, which the released code cannot.
    """
    device = torch.device(case.device)
    torch.manual_seed(0)
    model = _TwoModules(case.backbone, case.side).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    pairs = case.pairs // parts
    pictures = [torch.rand(pairs, 3, case.side, case.side) for _ in VIEWS]
    label = torch.randint(0, CLASSES, (pairs,))

    def call() -> None:
        model.train()
        with torchs_own_rounding():
            for _ in range(case.steps):
                optimizer.zero_grad()
                for _ in range(parts):
                    views, wanted = [view.to(device) for view in pictures], label.to(device)
                    loss = F.cross_entropy(model(views), wanted) / parts
                    torch.autograd.backward(loss)
                optimizer.step()
                loss.item()
            finish(device)

    return call


@contextmanager
def torchs_own_rounding() -> Iterator[None]:
    """Set what torch lets fp32 products do by default, and put back what was set before."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def fitting(make: Callable[[int], Callable[[], None]], pairs: int) -> tuple[Callable[[], None], int]:
    """Return the call with the fewest equal parts of a step that fit into the device's memory, and their number."""
    parts = 1
    while True:
        try:
            call: Callable[[], None] | None = make(parts)
            assert call is not None
            call()
            return call, parts
        except torch.OutOfMemoryError:
            if pairs % (2 * parts):
                raise
        # Outside the handler, whose traceback holds on to what did not fit.
        call = None
        torch.cuda.empty_cache()
        parts *= 2


def finish(device: torch.device) -> None:
    """Wait until the device has done everything that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@cache
def step_flops(backbone: str, side: int) -> int:
    """Count the operations of a forward and a backward pass of one picture through a backbone.

    A multiplication and an addition are two. For models without grouped convolutions, of whose backward pass torch's
    counter knows nothing.
    """
    with torch.device("meta"):
        model = timm.create_model(backbone, num_classes=0, **_size_options(backbone, side))
        pictures = torch.empty(2, 3, side, side)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(cast(Tensor, model(pictures)).sum())
    return int(counter.get_total_flops()) // len(pictures)


@cache
def matrix_rate(device_type: str, dtype: torch.dtype, side: int, repeats: int = 10) -> float:
    """Return the operations a second of the quickest of some products of two square matrices."""
    device = torch.device(device_type)
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    # On a CPU of one thread, so that others' work does not count.
    clock = time.perf_counter if device_type == "cuda" else time.process_time
    best = float("inf")
    for _ in range(repeats + 3):
        finish(device)
        started = clock()
        torch.mm(left, right)
        finish(device)
        best = min(best, clock() - started)
    return 2 * side**3 / best


def matrix_limit(case: Case, dtype: torch.dtype, side: int) -> tuple[str, float]:
    """Return the seconds that the case's steps would take at the rate of plain matrix products, and what that is."""
    rate = matrix_rate(case.device, dtype, side)
    flops = len(VIEWS) * case.pairs * case.steps * step_flops(case.backbone, case.side)
    name = str(dtype).removeprefix("torch.")
    return f"{name} matrix products of {side}³ ({rate / 1e12:.3g} TFLOP/s)", flops / rate
