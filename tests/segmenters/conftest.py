"""A photo of two things, and SAM opened on the small checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from segmenters.sam import SamSegmenter
from segmenters.sam_checkpoint import load_checkpoint
from segmenters.segmenter import Photo
from utils.sections import Precision

OpenSam = Callable[..., SamSegmenter]
Passes = Callable[[SamSegmenter], AbstractContextManager[dict[str, int]]]


@pytest.fixture(scope="session")
def photo() -> Photo:
    """60×90 pixels: a red square and a blue one on noise."""
    pixels = np.random.default_rng(0).integers(90, 160, (60, 90, 3)).astype(np.uint8)
    pixels[10:40, 10:40] = (200, 40, 40)
    pixels[20:50, 55:80] = (50, 60, 190)
    return pixels


@pytest.fixture(scope="session")
def small(small_sam: Path) -> OpenSam:
    """Put the small SAM, or another, to work on the CPU; the small one's network is read once."""
    read = load_checkpoint(small_sam, None)

    def opened(
        path: Path = small_sam,
        *,
        prompts_at_once: int = 64,
        embeddings: Path | None = None,
        precision: Precision = "fp32",
    ) -> SamSegmenter:
        checkpoint = read if path == small_sam else load_checkpoint(path, None)
        return SamSegmenter(checkpoint, "cpu", precision, prompts_at_once, embeddings)

    return opened


@pytest.fixture(scope="session")
def passes() -> Passes:
    """Count forward passes of a segmenter's encoder and decoder."""

    @contextmanager
    def counted(segmenter: SamSegmenter) -> Iterator[dict[str, int]]:
        network, counts = segmenter._network, {"encoder": 0, "decoder": 0}

        def count(name: str) -> Callable[..., None]:
            def hook(*_: object) -> None:
                counts[name] += 1

            return hook

        hooks = [
            network.image_encoder.register_forward_hook(count("encoder")),
            network.mask_decoder.transformer.register_forward_hook(count("decoder")),
        ]
        yield counts
        for hook in hooks:
            hook.remove()

    return counted
