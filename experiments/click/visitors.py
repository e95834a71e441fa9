"""What a visitor is told: limits and mistakes in the words of the page, without options of a command line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.cutouts import resize_labels
from datasets.picture_size import PixelLimit
from experiments.click.state import Session
from segmenters.prompts import Prompt
from utils.errors import DataError


@dataclass(frozen=True)
class VisitorLimit(PixelLimit):
    """The largest photo that a visitor may open."""

    def check(self, width: int, height: int, name: str) -> None:
        """Raise a ``DataError`` that starts with ``name`` where a picture is larger."""
        if width * height > self.megapixels * 1e6:
            raise DataError(
                f"{name}: the photo has {width}×{height} pixels; this page takes photos of at most "
                f"{self.megapixels:g} million. Save it smaller and open it again"
            )


class UnansweredError(DataError):
    """Masks were found, but the chosen one cannot be answered; another one can be chosen.

    Attributes:
        session: with what was found.
        mask: bool H×W, the mask that cannot be answered.
        candidates: how many masks were found.
        candidate: which of them this is, smallest first.
    """

    def __init__(
        self, message: str, session: Session, mask: NDArray[np.bool_], candidates: int, candidate: int
    ) -> None:
        super().__init__(message)
        self.session, self.mask = session, mask
        self.candidates, self.candidate = candidates, candidate


def check_clicks(prompt: Prompt, width: int, height: int) -> None:
    """Raise a ``DataError`` where clicks and box cannot be used in a photo of that size."""
    if not prompt.positive and prompt.box is None:
        raise DataError("First click on the food, or draw a box.")
    if prompt.box is not None:
        left, top, right, bottom = prompt.box
        if not all(left <= x <= right and top <= y <= bottom for x, y in prompt.positive):
            raise DataError("The click lies outside the box; press Undo, or draw the box again.")
    if set(_pixels(prompt.positive)) & set(_pixels(prompt.negative)):
        raise DataError("One place is marked both In and Out; press Undo.")
    prompt.check(width, height, "these clicks")


def mask_problem(mask: NDArray[np.bool_], size: int, larger: bool, smaller: bool) -> str:
    """Return why a mask H×W leaves the model without one of its cut-outs, in words; an empty text where it does not.

    Args:
        mask: with a pixel at least.
        size: longer side in pixels to which the model has photo and mask made.
        larger: whether a larger mask can be chosen.
        smaller: whether a smaller one can be.
    """
    if mask.all():
        button = "Press Smaller, click" if smaller else "Click"
        return f"That mask is the whole photo, so nothing surrounds it. {button} Out on what is not the food."
    if not resize_labels(mask, size).any():
        pixels = int(np.count_nonzero(mask))
        button = "Press Larger, add" if larger else "Add"
        return f"That mask is only {pixels} pixel{'s' * (pixels > 1)}. {button} a click, or draw a box."
    return ""


def _pixels(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    return [(x // 1, y // 1) for x, y in points]
