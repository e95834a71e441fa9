"""The interface of every segmenter, and the rule that chooses among its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from segmenters.prompts import Prompt
from utils.errors import DataError

Photo = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Choice = Literal["score", "largest", "smallest"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One answer to a prompt.

    Attributes:
        mask: bool H×W in the photo's own pixels, true in the object.
        score: the segmenter's own estimate of how good the mask is, higher is better; SAM's is an
            estimated IoU, about 0..1.
    """

    mask: Mask
    score: float

    @property
    def area(self) -> int:
        """Pixels of the object."""
        return int(np.count_nonzero(self.mask))


class Segmenter(Protocol):
    """Finds the objects that prompts describe. Its answers depend on its arguments and settings alone."""

    @property
    def source(self) -> str:
        """The segmenter in a manifest's ``mask_source``: its name, and what identifies its weights, if any."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides its masks, ready for JSON or YAML: name, checkpoint's SHA-256, sizes, versions."""
        ...

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        """Return the candidates of each prompt, at least one, in the order of the prompts.

        Args:
            photo: uint8 H×W×3, RGB, upright.
            prompts: objects of this photo; they were checked against its size.

        Raises:
            DataError: the photo cannot be segmented, such as one of 1×1 pixels.
        """
        ...

    def everything(self, photo: Photo) -> list[Candidate]:
        """Return masks of all that can be told apart in a photo, best score first; none where nothing can."""
        ...


def choose(candidates: Sequence[Candidate], rule: Choice) -> Candidate:
    """Choose one of a prompt's candidates: the best score (the first of equals), the largest or the smallest area.

    Empty masks are taken only where there is no other.
    """
    filled = [candidate for candidate in candidates if candidate.area] or list(candidates)
    if rule == "score":
        return max(filled, key=lambda candidate: candidate.score)
    return (max if rule == "largest" else min)(filled, key=lambda candidate: candidate.area)


def union(masks: Sequence[Mask]) -> Mask:
    """Return the pixels that any of some masks (at least one, of one size) covers."""
    covered: Mask = np.logical_or.reduce(masks)
    return covered


def iou(one: Mask, other: Mask) -> float:
    """Return intersection over union of two masks, 0..1; 1 where both are empty."""
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 1.0


def check_mask(mask: Mask, where: str) -> None:
    """Refuse a mask that leaves one of the two cut-outs without a pixel; the message starts with ``where``."""
    if not mask.any():
        raise DataError(f"{where}: the mask is empty, so there is no region of interest; prompt again, or add a point")
    if mask.all():
        raise DataError(
            f"{where}: the mask covers the whole photo, so nothing surrounds it; prompt again, or add a point outside"
        )
