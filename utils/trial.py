"""A training step tried out before the first one, of which nothing stays."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from utils.batch import Batch, ViewSpec
from utils.engine import Training


def try_step(training: Training, batch: Batch) -> float:
    """Take the forward and backward pass of a batch in train mode, without the optimiser.

    Buffers such as BatchNorm's statistics, gradients, modes and torch's random state are then what they were, also
    after an error. No other process is waited for.

    Args:
        training: what is tried.
        batch: of this process, on its device; such as a ``random_batch``.

    Returns:
        The seconds that it took, the device's work included.

    Raises:
        Exception: whatever the pass raises, such as an error that memory ran out.
    """
    accelerator, device = training.accelerator, training.accelerator.device
    # Not the wrapper of several processes: where one runs out of memory, the others would wait for its gradients.
    model: nn.Module = accelerator.unwrap_model(training.model)
    with _put_back(model, device), _uncompiled():
        model.train()
        _part_from_other_processes(model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        taken = _take_what_comes_later(trained, device)
        _synchronise(device)
        started = time.perf_counter()
        with accelerator.autocast():
            output = model(training.prepare(batch))
        torch.autograd.backward(training.losses(output, batch.label, training.criterion).mean())
        _synchronise(device)
        seconds = time.perf_counter() - started
        del taken
        return seconds


def random_batch(pairs: int, specs: Mapping[str, ViewSpec], n_classes: int, device: torch.device) -> Batch:
    """Return a batch of noise on the device, the same each time; rows count from 0."""
    generator = torch.Generator(device).manual_seed(0)

    def noise(side: int) -> Tensor:
        return torch.randint(0, 256, (pairs, 3, side, side), generator=generator, device=device, dtype=torch.uint8)

    return Batch(
        views={name: noise(spec.size) for name, spec in specs.items()},
        label=torch.randint(0, n_classes, (pairs,), generator=generator, device=device),
        index=torch.arange(pairs, device=device),
        content_box={name: torch.zeros(pairs, 4, dtype=torch.int16, device=device) for name in specs},
        flip={name: torch.zeros(pairs, dtype=torch.bool, device=device) for name in specs},
    )


def _take_what_comes_later(trained: list[nn.Parameter], device: torch.device) -> Tensor | None:
    """Take the memory that a step finds taken in the midst of a run; it lasts as long as what is returned.

    Gradients of an earlier micro-batch lie there. The optimiser makes its state in its first step, Adam two numbers
    for each weight: what fits only without them would fail in the second step. Averaged weights exist already.
    """
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    if device.type != "cuda":
        return None
    return torch.empty(2 * sum(parameter.nbytes for parameter in trained), dtype=torch.uint8, device=device)


def _part_from_other_processes(model: nn.Module) -> None:
    """Let synchronised BatchNorm use its running statistics: in train mode it would wait for the other processes."""
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()


def _uncompiled() -> AbstractContextManager[object]:
    """Run compiled modules as they were written, which takes at least as much memory.

    Compiling for each size would take minutes, and leave graphs for any size behind, which a continued run, that does
    not try again, would not have.
    """
    if "torch._dynamo" not in sys.modules:  # then nothing is compiled, and the compiler need not be loaded
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def _put_back(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put modes, gradients, buffers and torch's random state back to what they are now."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    apple = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        if apple is not None:
            torch.mps.set_rng_state(apple)
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
