"""The engine against a bare forward, backward and step on tensors that are already in memory, on the CPU.

In processor time of one thread: what the engine does beside computing is a few per cent at most, and other work on the
machine would drown it.
"""

import time

import torch

from benchmarks.common import Result, in_turn, publish
from benchmarks.steps import Case, bare_loop, engine, matrix_limit

CONVOLUTIONS = Case("test_efficientnet", side=64, pairs=50, steps=6)
TRANSFORMERS = Case("vit_tiny_patch16_224", side=96, pairs=16, steps=3)
MATRIX = 1024  # large enough for full speed on a CPU


def main(repeats: int = 9) -> None:
    """Print the ratios; the baseline normalises once, beforehand, and neither flips nor counts hits."""
    torch.set_num_threads(1)
    results = []
    for case in (CONVOLUTIONS, TRANSFORMERS):
        times = in_turn(engine(case, resident=True), bare_loop(case), repeats, clock=time.process_time)
        # Convolutions of so few channels are no matrix products worth the name.
        limit = matrix_limit(case, torch.float32, MATRIX) if case is TRANSFORMERS else None
        name = f"{case.steps} training steps, two {case.backbone}, {case.side} px, batch {case.pairs}"
        results.append(Result(name, "engine", "bare loop", *times, target=0.97, limit=limit))
    notes = ["seconds of one core's work"]
    publish("train_step", results, reads="nothing: random pixels in memory", notes=notes)


if __name__ == "__main__":
    main()
