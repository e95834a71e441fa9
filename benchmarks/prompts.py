"""Prompts on one photo: SAM's encoder runs once, its decoder once a batch.

The network is vit_b as published but for the side of its pictures, 256 pixels in place of 1024, and with random
weights: the time does not depend on their values. One thread, and seconds of this process alone: others' work does
not lengthen them.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from torch import nn

from benchmarks.common import Recorded, Result, in_turn, publish
from segmenters.prompts import Prompt
from segmenters.sam import SamSegmenter
from segmenters.sam_checkpoint import Checkpoint, build, read_shape
from segmenters.segmenter import Photo

IMAGE_SIZE = 256
BATCH = 16
COUNTS = (1, 16, 64)
REPEATS = 5
HEIGHT, WIDTH = 480, 640
TARGET = 0.9


def random_vit_b() -> Checkpoint:
    """Return vit_b for smaller pictures, with random weights."""
    with torch.device("meta"):
        published = sam_model_registry["vit_b"]()
    shape = replace(read_shape(published.state_dict()), image_size=IMAGE_SIZE)
    network = build(shape)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) * 0.02 for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(weights, assign=True)
    return Checkpoint(Path("random"), "0" * 64, shape, network.requires_grad_(False))


def boxes(count: int) -> list[Prompt]:
    """Return boxes of 60 pixels, spread over the photo."""
    rng = np.random.default_rng(1)
    corners = rng.integers(0, (WIDTH - 60, HEIGHT - 60), (count, 2)).tolist()
    return [Prompt(box=(x, y, x + 60, y + 60)) for x, y in corners]


def photos() -> Callable[[], Photo]:
    """Return a function that gives another photo at each call."""
    rng = np.random.default_rng(0)
    return lambda: rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def apart(network: nn.Module, photo: Photo, count: int) -> tuple[float, float]:
    """Return the seconds of the package's encoder pass and of one decoder pass on a batch, without our code."""
    predictor = SamPredictor(network)
    edges = torch.tensor([prompt.box for prompt in boxes(min(count, BATCH))], dtype=torch.float32)
    started = time.process_time()
    predictor.set_image(photo)
    encoded = time.process_time()
    with torch.inference_mode():
        transformed = predictor.transform.apply_boxes_torch(edges, photo.shape[:2])
        masks, _, _ = predictor.predict_torch(None, None, transformed, multimask_output=False)
        masks.numpy()
    return encoded - started, time.process_time() - encoded


def compare(checkpoint: Checkpoint, count: int) -> Result:
    """Time ``count`` boxes on a photo against one encoder pass and the decoder passes, each measured by itself."""
    segmenter = SamSegmenter(checkpoint, "cpu", "fp32", BATCH, None)
    another, prompts = photos(), boxes(count)
    sums = []

    def measured_apart() -> None:
        encoder, decoder = apart(checkpoint.network, another(), count)
        sums.append(encoder + max(1, count // BATCH) * decoder)

    ours, _ = in_turn(lambda: segmenter.segment(another(), prompts), measured_apart, REPEATS, clock=time.process_time)
    passes = max(1, count // BATCH)
    return Result(
        f"{count} box{'es' * (count > 1)} on a new photo",
        "SamSegmenter.segment",
        f"encoder + {passes} × decoder, apart",
        ours,
        sums[1:],  # the first is the warm-up
        target=TARGET,
    )


def next_click(checkpoint: Checkpoint) -> Result:
    """Time one more box on a photo that was seen, against the decoder pass alone."""
    segmenter = SamSegmenter(checkpoint, "cpu", "fp32", BATCH, None)
    photo, prompts = photos()(), boxes(1)
    predictor: Any = SamPredictor(checkpoint.network)
    predictor.set_image(photo)
    box = np.array(prompts[0].box)
    ours, bare = in_turn(
        lambda: segmenter.segment(photo, prompts),
        lambda: predictor.predict(box=box, multimask_output=False),
        20,
        clock=time.process_time,
    )
    return Result("1 more box on a known photo", "SamSegmenter.segment", "SamPredictor.predict", ours, bare)


def encoder_passes(checkpoint: Checkpoint) -> Recorded:
    """Count the encoder's passes for 64 boxes on a photo, asked twice, the second time by another segmenter."""
    calls: list[int] = []
    hook = checkpoint.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    photo = photos()()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            SamSegmenter(checkpoint, "cpu", "fp32", BATCH, Path(folder)).segment(photo, boxes(64))
    hook.remove()
    return Recorded(
        "encoder passes, 2 × 64 boxes", len(calls), "passes", 1, note="two segmenters that share a folder of embeddings"
    )


def main() -> None:
    """Run the benchmark."""
    torch.set_num_threads(1)
    checkpoint = random_vit_b()
    rows = [compare(checkpoint, count) for count in COUNTS]
    notes = [
        f"vit_b with random weights on {IMAGE_SIZE} px in place of 1024, photos of {WIDTH}×{HEIGHT}, {BATCH} prompts "
        "at once; seconds of the processor, one thread; ratio above 0.9: at most a tenth more than the passes take by "
        "themselves",
    ]
    publish(
        "prompts",
        [*rows, next_click(checkpoint), encoder_passes(checkpoint)],
        reads="no files: random photos on both sides",
        notes=notes,
    )


if __name__ == "__main__":
    main()
