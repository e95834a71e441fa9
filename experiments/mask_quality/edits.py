"""Masks made worse in known ways, and a reader that hands out pairs with such masks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.draws import generator, uniform
from datasets.index import PairIndex
from datasets.readers import PairReader, StoredPair
from datasets.transforms import Mask, compose

EditKind = Literal["erode", "dilate", "jitter", "shift"]
EDIT_KINDS: tuple[EditKind, ...] = get_args(EditKind)
_WAVE = 0.15  # of the square root of the area: over how far the contour's displacement stays alike


@dataclass(frozen=True)
class Edit:
    """One way to make a mask worse; all lengths are parts of the square root of the mask's area.

    - ``erode``, ``dilate``: the contour moves inwards or outwards by ``level``.
    - ``jitter``: it moves by a smooth random field whose standard deviation is ``level`` and which stays alike over
      0.15 of that root.
    - ``shift``: the whole mask moves by ``level`` in a random direction; what leaves the picture is lost.

    Distances lie between the centres of pixels, half a pixel taken off, so that a move of less than half a pixel may
    change nothing. The frame of the picture is no contour. An edit that would leave no pixel keeps the innermost ones,
    and one that would fill the picture leaves out the outermost, so that both cut-outs always exist.

    Attributes:
        kind: which.
        level: above 0.
        seed: of the draws, which depend on it, the kind and the pair's key alone.
    """

    kind: EditKind
    level: float
    seed: int = 0

    @property
    def name(self) -> str:
        """The edit in tables, such as ``erode-0.05``."""
        return f"{self.kind}-{self.level:g}"

    def __call__(self, mask: Mask, key: str) -> Mask:
        """Return the edited mask.

        Args:
            mask: H×W, true in the region of interest; one without a pixel, or of the whole picture, stays as it is.
            key: "split/class/stem" of the pair.
        """
        if not mask.any() or mask.all():
            return mask
        root = math.sqrt(int(np.count_nonzero(mask)))
        depth, reach = signed_depth(mask), self.level * root
        if self.kind == "erode":
            edited = depth > reach
        elif self.kind == "dilate":
            edited = depth > -reach
        elif self.kind == "jitter":
            edited = depth + reach * self._field(mask.shape, _WAVE * root, key) > 0
        else:
            turn = 2 * math.pi * uniform(self.seed, 0, "mask shift", key)
            edited = shifted(mask, round(reach * math.cos(turn)), round(reach * math.sin(turn)))
        if not edited.any():
            return np.asarray(depth == depth.max())
        return np.asarray(depth > depth.min()) if edited.all() else np.asarray(edited)

    def _field(self, shape: tuple[int, ...], wave: float, key: str) -> NDArray[np.float32]:
        """Return smooth random numbers H×W with mean near 0 and standard deviation 1."""
        white = generator(self.seed, 0, "mask jitter", key).standard_normal(shape, dtype=np.float32)
        smooth = cv2.GaussianBlur(white, (0, 0), max(wave, 0.5), borderType=cv2.BORDER_REFLECT)
        return np.asarray(smooth / max(float(smooth.std()), 1e-12), dtype=np.float32)


def signed_depth(mask: Mask) -> NDArray[np.float32]:
    """Return each pixel's distance to the contour in pixels, positive inside; the mask has pixels of both kinds."""
    inside = mask.astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    without = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, within - 0.5, 0.5 - without).astype(np.float32)


def shifted(mask: Mask, right: int, down: int) -> Mask:
    """Return a mask moved by whole pixels; what leaves the picture is lost, what comes in is outside."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    rows = slice(max(0, down), max(0, min(height, height + down)))
    columns = slice(max(0, right), max(0, min(width, width + right)))
    from_rows = slice(max(0, -down), max(0, min(height, height - down)))
    from_columns = slice(max(0, -right), max(0, min(width, width - right)))
    moved[rows, columns] = mask[from_rows, from_columns]
    return moved


class EditedReader:
    """Reads the pairs of an index with edited masks; both pictures of each are the photo, which is cut anew.

    Args:
        inner: reads the stored pairs.
        index: the pairs; their keys decide what is drawn.
        edit: what is done to each mask.
    """

    def __init__(self, inner: PairReader, index: PairIndex, edit: Edit) -> None:
        self.inner, self.index, self.edit = inner, index, edit

    def read(self, rows: Sequence[int]) -> Iterator[StoredPair]:
        """Yield the pairs of some rows in their order, as ``PairReader`` says."""
        for row, stored in zip(rows, self.inner.read(rows), strict=True):
            roi, extra_roi = stored.pictures["roi"], stored.pictures["extra_roi"]
            photo = roi if roi is extra_roi else compose(roi, extra_roi, stored.channel_mask())
            mask = self.edit(stored.mask, self.index.draw_key(row))
            yield StoredPair({"roi": photo, "extra_roi": photo}, mask)
