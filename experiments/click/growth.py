"""Masks that a person makes larger or smaller."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError

Mask = NDArray[np.bool_]


def regrown(mask: Mask, share: float) -> Mask:
    """Return a bool H×W mask whose border moved outwards, or inwards where ``share`` is negative.

    Args:
        mask: with at least one pixel.
        share: how far, as a part of the radius of a disc of the mask's area; -1..1.

    Raises:
        DataError: nothing is left.
    """
    if share == 0:
        return mask
    distance = abs(share) * math.sqrt(np.count_nonzero(mask) / math.pi)
    side = mask if share < 0 else ~mask
    # From a pixel's centre to that of the nearest pixel on the other side; the border lies half a pixel before it.
    to_border = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5
    moved = np.asarray(to_border > distance if share < 0 else to_border <= distance)
    if not moved.any():
        raise DataError("the mask shrank until nothing was left; move its slider towards the middle")
    return moved
