"""All that can be told apart in a photo, from a grid of points: for segmenters without a mode of their own for it."""

from collections.abc import Sequence
from typing import Protocol

from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Photo, iou

_SMALLEST, _LARGEST = 0.005, 0.8  # of the photo's area; larger masks are the ground on which things lie
_ALIKE = 0.7  # intersection over union from which two masks count as one
_MOST = 64


class _ByPrompts(Protocol):
    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]: ...


def by_grid(segmenter: _ByPrompts, photo: Photo, points_per_side: int = 6) -> list[Candidate]:
    """Return what single points on a square grid find, best score first, none like a better one.

    A grid point that lies in a mask which was found already with its best candidate is not asked again.

    Args:
        segmenter: answers one point at a time.
        photo: uint8 H×W×3.
        points_per_side: of the grid, along each side of the photo.
    """
    height, width = photo.shape[:2]
    found: list[Candidate] = []
    for row in range(points_per_side):
        for column in range(points_per_side):
            x, y = (column + 0.5) * width / points_per_side, (row + 0.5) * height / points_per_side
            if any(candidate.mask[int(y), int(x)] for candidate in found):
                continue
            (candidates,) = segmenter.segment(photo, [Prompt(((x, y),), (1,))])
            fitting = [one for one in candidates if _SMALLEST <= one.area / one.mask.size <= _LARGEST]
            if fitting:
                found.append(max(fitting, key=lambda one: one.score))
    return distinct(found)


def distinct(candidates: Sequence[Candidate], alike: float = _ALIKE) -> list[Candidate]:
    """Return candidates best score first, less those whose intersection over union with a better one is ``alike``."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: -one.score):
        if all(iou(candidate.mask, other.mask) < alike for other in kept):
            kept.append(candidate)
    return kept[:_MOST]
