"""Which segmenter, with which weights; and the one place that makes it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from segmenters.grabcut import GrabCut
from segmenters.segmenter import Choice, Segmenter
from utils.errors import ConfigError, require
from utils.sections import Device, Precision

SegmenterName = Literal["grabcut", "sam"]
SamModel = Literal["vit_b", "vit_l", "vit_h"]
SEGMENTERS: tuple[SegmenterName, ...] = get_args(SegmenterName)
SAM_MODELS: tuple[SamModel, ...] = get_args(SamModel)
_FOR_SAM = ("checkpoint", "model", "prompts_at_once", "embeddings", "device", "precision")
_FOR_GRABCUT = ("working_side",)


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions:
    """Which segmenter answers prompts.

    Attributes:
        name: ``grabcut`` needs no weights; ``sam`` needs a checkpoint.
        choice: which of several masks of one prompt is taken: the best score, the largest or the smallest.
        working_side: GrabCut: longer side in pixels of the picture that it computes on.
        checkpoint: SAM: local file with its weights.
        model: SAM: size of the checkpoint; null reads it from the file.
        prompts_at_once: SAM: prompts of one photo that are decoded together.
        embeddings: SAM: folder in which photos' embeddings are kept; null keeps them in memory alone.
        device: SAM: ``auto`` takes a GPU where there is one.
        precision: SAM: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
    """

    name: SegmenterName = "grabcut"
    choice: Choice = "score"
    working_side: int = 256
    checkpoint: str | None = None
    model: SamModel | None = None
    prompts_at_once: int = 64
    embeddings: str | None = None
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        require(16 <= self.working_side <= 4096, "segmenter.working_side", self.working_side, "16 to 4096 pixels")
        require(self.prompts_at_once >= 1, "segmenter.prompts_at_once", self.prompts_at_once, "at least 1")
        changed = [name for name in _FOR_SAM if getattr(self, name) != getattr(SegmenterOptions, name)]
        if self.name == "grabcut":
            check_given(self.name, changed)


def check_given(segmenter: SegmenterName, given: Iterable[str]) -> None:
    """Refuse options that a segmenter does not have.

    Args:
        segmenter: its name.
        given: fields of ``SegmenterOptions`` that a user gave.

    Raises:
        ConfigError: with the first of them that does nothing.
    """
    for name in given:
        if segmenter == "grabcut" and name in _FOR_SAM:
            raise ConfigError(f"segmenter.{name} is for SAM; add segmenter.name sam, or leave it out")
        if segmenter == "sam" and name in _FOR_GRABCUT:
            raise ConfigError(f"segmenter.{name} is for GrabCut; leave it out, or take segmenter.name grabcut")


def check_idle(options: SegmenterOptions) -> None:
    """Refuse a ``working_side`` beside SAM, for scripts that ask one segmenter alone; a ``ConfigError`` says so."""
    if options.working_side != SegmenterOptions.working_side:
        check_given(options.name, ["working_side"])


def open_segmenter(options: SegmenterOptions) -> Segmenter:
    """Return the segmenter that options ask for, its weights loaded.

    Raises:
        ConfigError: SAM without a checkpoint, with one of another size, or a device that is not there.
        DataError: a checkpoint that cannot be read.
    """
    if options.name == "grabcut":
        return GrabCut(options.working_side)
    from segmenters.sam import open_sam  # torch takes seconds to import, which GrabCut does not need

    return open_sam(
        None if options.checkpoint is None else Path(options.checkpoint),
        options.model,
        prompts_at_once=options.prompts_at_once,
        embeddings=None if options.embeddings is None else Path(options.embeddings),
        device=options.device,
        precision=options.precision,
    )
