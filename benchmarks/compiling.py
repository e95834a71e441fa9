"""Backbones with and without ``torch.compile``: what a step gains, and what compiling costs first.

``python -m benchmarks.compiling cpu`` or ``cuda``. On a CPU small members of each family are taken, and it takes most
of an hour; on a GPU ``python -m benchmarks.gpu`` does it too.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from benchmarks.common import Recorded, Result, Row, in_turn, publish
from benchmarks.steps import Case, engine, matrix_limit
from Off_the_shelfs.compiling import family_of
from utils.devices import available_devices
from utils.errors import ConfigError, run_script

_CACHE = "TORCHINDUCTOR_CACHE_DIR"

# One of each family: those of the paper and a residual network on GPUs, smaller ones on CPUs.
ON_A_GPU = (
    Case("deit_base_distilled_patch16_224", 224, 50, 10, "cuda", "bf16"),
    Case("vit_base_patch16_224", 224, 50, 10, "cuda", "bf16"),
    Case("mixer_b16_224", 224, 50, 10, "cuda", "bf16"),
    Case("mobilenetv2_100", 224, 50, 10, "cuda", "bf16"),
    Case("resnet50", 224, 50, 10, "cuda", "bf16"),
)
ON_A_CPU = (
    Case("deit_tiny_distilled_patch16_224", 224, 4, 1),
    Case("vit_tiny_patch16_224", 224, 4, 1),
    Case("mixer_s32_224", 224, 4, 1),
    Case("mobilenetv2_050", 96, 8, 1),
    Case("resnet18", 96, 8, 1),
)


def compiled_against_eager(cases: Sequence[Case], repeats: int) -> list[Row]:
    """Return two rows for each case: the step's gain, and the seconds until the first compiled step was done."""
    rows: list[Row] = []
    for case in cases:
        eager = engine(case, resident=True)
        with _nothing_compiled_before():
            started = time.perf_counter()
            compiled = engine(replace(case, compiled=True), resident=True)
            compiled()
            seconds = time.perf_counter() - started
            clock = time.perf_counter if case.device == "cuda" else time.process_time
            times = in_turn(compiled, eager, repeats, clock=clock)
        name = f"{case.steps} training steps, two {case.backbone}, {case.side} px, batch {case.pairs}"
        rows.append(Result(name, "compiled", "as it is", *times, limit=_limit(case)))
        rows.append(Recorded("until the first of them is done", seconds, "s", note="built and compiled"))
    return rows


def _limit(case: Case) -> tuple[str, float] | None:
    """Return the time of the matrix products, for families that consist of little else."""
    if family_of(case.backbone) not in ("deit", "vision_transformer", "mlp_mixer"):
        return None
    return matrix_limit(case, *((torch.float32, 1024) if case.device == "cpu" else (torch.bfloat16, 8192)))


@contextmanager
def _nothing_compiled_before() -> Iterator[None]:
    """Let the compiler start afresh, with an empty cache on the disk, too."""
    torch.compiler.reset()
    before = os.environ.get(_CACHE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_CACHE] = folder
        try:
            yield
        finally:
            del os.environ[_CACHE]
            if before is not None:
                os.environ[_CACHE] = before


def main(arguments: list[str]) -> None:
    """Measure the families on the device that is named.

    Raises:
        ConfigError: no such device here.
    """
    device = arguments[0] if arguments else available_devices()[0]
    if device not in ("cpu", "cuda") or device not in available_devices():
        raise ConfigError(
            f"benchmarks.compiling takes cpu or cuda, here {', '.join(available_devices())}; not {device}"
        )
    notes = []
    if device == "cpu":
        torch.set_num_threads(1)
        notes.append("steps in seconds of one core's work, until the first is done in seconds of the clock")
    rows = compiled_against_eager(ON_A_CPU if device == "cpu" else ON_A_GPU, repeats=5)
    publish(f"compiling_{device}", rows, reads="nothing: random pixels", notes=notes)


if __name__ == "__main__":
    run_script(main)
