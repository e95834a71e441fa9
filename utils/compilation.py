"""torch.compile on parts of a model, and its failures in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from utils.errors import ConfigError

BACKEND = "inductor"
_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")


def compile_in_place(module: nn.Module, option: str) -> None:
    """Compile a module where it stands: its parameters, their names and its state dict stay as they are.

    It is compiled at the first call; one small function is compiled at once, on the module's device, to see that there
    is a compiler. ``option`` is what switches compiling off, such as ``model.roi_backbone.compile``.

    Raises:
        ConfigError: there is no compiler that works.
    """
    probe = nn.Softplus()
    for part in (probe, module):
        part.compile(backend=BACKEND)
        part.compile_option = option  # type: ignore[assignment]  # a plain attribute beside the parameters
    device = next(module.parameters()).device
    with compile_errors(probe), torch.no_grad():
        probe(torch.zeros(4, device=device))


@contextmanager
def compile_errors(model: nn.Module) -> Iterator[None]:
    """Surround the use of a model that may have compiled parts.

    Raises:
        ConfigError: in place of whatever the compiler raises; names the options of the compiled parts.
    """
    try:
        yield
    except Exception as error:
        options = [str(part.compile_option) for part in model.modules() if hasattr(part, "compile_option")]
        if not options or not _is_the_compilers(error):
            raise
        raise ConfigError(
            f"{' or '.join(options)}: the module could not be compiled ({_reason(error)}); set it to false"
        ) from error


def _is_the_compilers(error: BaseException) -> bool:
    return any(kind.__module__.startswith(_COMPILERS) for kind in type(error).__mro__)


def _reason(error: BaseException) -> str:
    """Return the first telling line of a message that can be pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:200]
