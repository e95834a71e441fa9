"""How much a mask looks like an object, for segmenters that do not say it themselves."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenters.segmenter import Candidate, Mask, Photo, iou

_SIDE = 512
_SMOOTHING = 1.0
_AGREEMENT_WITH_NONE = 0.3
_AREA_POWER = 0.2


class Edges:
    """How strong the edges of a photo are: for each pixel, the part of all pixels that lie on weaker ones.

    Args:
        photo: uint8 H×W×3, RGB; made small first.
    """

    def __init__(self, photo: Photo) -> None:
        height, width = photo.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        self.size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(photo, self.size, interpolation=cv2.INTER_AREA)
        smooth = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), _SMOOTHING)
        steps = [cv2.Sobel(smooth, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))]
        strength = np.sqrt(sum((step**2).sum(axis=2) for step in steps))
        ranks = np.empty(strength.size, dtype=np.float32)
        ranks[np.argsort(strength, axis=None, kind="stable")] = np.linspace(0, 1, strength.size, dtype=np.float32)
        self._ranks = ranks.reshape(strength.shape)

    def along(self, mask: Mask) -> float:
        """Return how much of a mask's border is an edge of the photo, 0..1: the mean rank, less what the frame cuts.

        A mask that runs out of the photo has no border there: its score falls with that part.
        """
        small = self._small(mask)
        border = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        if not border.any():
            return 0.0
        frame = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])
        cut = min(1.0, 2 * int(frame.sum()) / int(border.sum()))  # a border is two pixels wide, the frame one
        return float(self._ranks[border].mean()) * (1 - cut)

    def solidity(self, mask: Mask) -> float:
        """Return the area of a mask over that of its convex hull, 0 (no pixel) to 1 (no dent, in one piece)."""
        small = self._small(mask)
        places = cv2.findNonZero(small)
        if places is None:
            return 0.0
        hull = cv2.fillConvexPoly(np.zeros_like(small), cv2.convexHull(places), 1)
        return int(np.count_nonzero(small)) / int(np.count_nonzero(hull))

    def _small(self, mask: Mask) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(mask.astype(np.uint8), self.size, interpolation=cv2.INTER_NEAREST), np.uint8)


def score(masks: Sequence[Mask], edges: Edges) -> list[Candidate]:
    """Return masks of one prompt as candidates with a score in 0..1.

    A single mask scores ``Edges.along``. Of several, which are in the order of the size that was expected, those are
    likelier to be an object whose border is an edge, that are in one piece without dents, that are found again when a
    larger or a smaller one is expected, and that are not tiny. The formula was chosen on 124 foods of generated plates
    and 36 objects of real set tables, one click in the middle of each.

    Args:
        masks: bool H×W, at least one.
        edges: of the photo.
    """
    along = [edges.along(mask) for mask in masks]
    if len(masks) == 1:
        return [Candidate(masks[0], along[0])]
    shared = [0.0, *(iou(one, other) for one, other in pairwise(masks)), 0.0]
    rest = (1 - _AGREEMENT_WITH_NONE) / 2
    agreement = [_AGREEMENT_WITH_NONE + rest * (before + after) for before, after in pairwise(shared)]
    return [
        Candidate(mask, edge**2 * edges.solidity(mask) ** 2 * float(mask.mean()) ** _AREA_POWER * agrees**0.5)
        for mask, edge, agrees in zip(masks, along, agreement, strict=True)
    ]
