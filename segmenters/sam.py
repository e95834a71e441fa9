"""Segment Anything (Kirillov et al. 2023) through ``segment-anything``: one embedding per photo, prompts in batches."""

from pathlib import Path
from typing import Literal

from segmenters.segmenter import Segmenter
from utils.errors import ConfigError
from utils.sections import Device, Precision


def open_sam(
    checkpoint: Path | None,
    model: Literal["vit_b", "vit_l", "vit_h"] | None,
    *,
    prompts_at_once: int,
    embeddings: Path | None,
    device: Device,
    precision: Precision,
) -> Segmenter:
    """Load SAM from a local checkpoint."""
    raise ConfigError("segmenter.name sam cannot be used yet; use grabcut")
