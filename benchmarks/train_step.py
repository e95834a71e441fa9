"""The engine against a bare forward, backward and step on tensors that are already in memory, on the CPU."""

import torch

from benchmarks.common import Result, in_turn, publish
from benchmarks.steps import Case, bare_loop, engine, matrix_limit

CONVOLUTIONS = Case("test_efficientnet", side=64, pairs=50, steps=12)
TRANSFORMERS = Case("vit_tiny_patch16_224", side=96, pairs=16, steps=3)
MATRIX = 1024  # large enough for full speed on a CPU


def main(repeats: int = 7) -> None:
    """Print the ratios; the baseline normalises once, beforehand, and neither flips nor counts hits."""
    results = []
    for case in (CONVOLUTIONS, TRANSFORMERS):
        times = in_turn(engine(case, resident=True), bare_loop(case), repeats)
        # Convolutions of so few channels are no matrix products worth the name.
        limit = matrix_limit(case, torch.float32, MATRIX) if case is TRANSFORMERS else None
        name = f"{case.steps} training steps, two {case.backbone}, {case.side} px, batch {case.pairs}"
        results.append(Result(name, "engine", "bare loop", *times, target=0.97, limit=limit))
    publish("train_step", results, reads="nothing: random pixels in memory")


if __name__ == "__main__":
    main()
