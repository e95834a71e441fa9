"""GrabCut (Rother, Kolmogorov and Blake 2004) through OpenCV: a segmenter that needs no weights."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenters.everything import by_grid
from segmenters.plausibility import Edges, score
from segmenters.prompts import Box, Point, Prompt
from segmenters.segmenter import Candidate, Mask, Photo
from utils.errors import DataError

Scale = tuple[float, float]  # pixels of the small picture per pixel of the photo, across and down
_Trimap = NDArray[np.uint8]

_VERSION = 3  # of the way to masks and scores where no number below tells it
_ROUNDS = 3
_SURE_ELLIPSE = 0.7  # of a box's sides: objects of a photo mostly fill the middle of their box
_SURROUNDINGS = 0.5  # of a box's longer side, on each side: what GrabCut learns the background from
_POINT_RADIUS = 0.02  # of a box's window: what is sure around a point
_GRID_SIDE = 0.5  # of the working side, for each of many points
_POINT_SIDE = 0.625  # of the working side: a point costs four cuts
_SURE_PART = 0.3  # of a reach: what is sure around a point that a person chose, mostly in the middle
_SURE_PART_OF_GRID = 0.15  # around a point of a grid, which may lie near a border
_REACHES = (0.04, 0.08, 0.16, 0.32)  # of the photo's longer side: how far from a point the object probably goes
_LEAST_SIDE = 3
_LEAST_SURROUNDINGS = 0.02  # of a window: less is too little to learn the background from
# They decide the masks, so that a tree that was made with others is another one.
_CONSTANTS = {
    "version": _VERSION,
    "rounds": _ROUNDS,
    "sure_ellipse": _SURE_ELLIPSE,
    "surroundings": _SURROUNDINGS,
    "point_radius": _POINT_RADIUS,
    "point_side": _POINT_SIDE,
    "sure_part_of_grid": _SURE_PART_OF_GRID,
    "reaches": list(_REACHES),
}


@dataclass(frozen=True)
class GrabCut:
    """GrabCut on a picture made small; each answer depends on photo and prompt alone.

    A box gives one candidate: what lies in the middle of the box is surely the object, the rest of it probably, and
    what lies outside of it surely is not. Points without a box give four, which expect objects of rising size; only
    what is connected with a point inside is kept. Scores are those of ``segmenters.plausibility``.

    Attributes:
        working_side: longer side in pixels of the picture that is computed on; a box is cut out with what surrounds it
            first. Smaller is faster and coarser.
        sure_part: radius around a point, as a part of the expected size, that surely belongs to the object.
    """

    working_side: int = 256
    sure_part: float = _SURE_PART

    @property
    def source(self) -> str:
        """The segmenter in a manifest."""
        return "grabcut"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the masks."""
        own = {"working_side": self.working_side, "sure_part": self.sure_part}
        return {"name": "grabcut", **own, "opencv": cv2.__version__, **_CONSTANTS}

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        """Return one candidate for a prompt with a box, four for one of points; see ``Segmenter.segment``."""
        return list(self.answers(photo, prompts))

    def answers(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        """Yield the candidates of each prompt, so that not all masks need to be kept; else as ``segment``."""
        height, width = photo.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            raise DataError(f"a photo of {width}×{height} pixels is too small for GrabCut; it needs {_LEAST_SIDE}×3")
        cv2.setNumThreads(1)  # callers bring threads of their own, which wait for each other in OpenCV's
        edges = Edges(photo)
        for prompt in prompts:
            yield score(self._masks(photo, prompt), edges)

    def everything(self, photo: Photo) -> list[Candidate]:
        """Return what a grid of points finds, best score first; on a smaller picture, as there are many points."""
        side = max(_LEAST_SIDE, round(_GRID_SIDE * self.working_side))
        small, scale = GrabCut(2 * side)._small(photo)
        found = by_grid(GrabCut(side, _SURE_PART_OF_GRID), small)
        return found if scale == (1.0, 1.0) else [Candidate(_enlarged(one.mask, photo), one.score) for one in found]

    def _masks(self, photo: Photo, prompt: Prompt) -> list[Mask]:
        if prompt.box is not None:
            return [self._by_box(photo, prompt, prompt.box)]
        longer = max(photo.shape[:2])
        return [self._by_reach(photo, prompt, reach * longer) for reach in _REACHES]

    def _by_box(self, photo: Photo, prompt: Prompt, wanted: Box) -> Mask:
        window = _window(wanted, photo.shape[1], photo.shape[0])
        part = photo[window[1] : window[3], window[0] : window[2]]
        small, scale = self._small(part)
        box = tuple((value - window[place % 2]) * scale[place % 2] for place, value in enumerate(wanted))
        trimap = _trimap_of_box(box, small.shape[1], small.shape[0])  # type: ignore[arg-type]  # four numbers
        shifted = Prompt(tuple((x - window[0], y - window[1]) for x, y in prompt.points), prompt.labels)
        _mark(trimap, shifted, scale, _POINT_RADIUS * max(part.shape[:2]))
        found = _cut(small, trimap)
        mask = np.zeros(photo.shape[:2], dtype=bool)
        mask[window[1] : window[3], window[0] : window[2]] = _enlarged(found, part)
        inside = _whole_pixels(wanted)
        mask[: inside[1]] = mask[inside[3] :] = mask[:, : inside[0]] = mask[:, inside[2] :] = False
        return mask

    def _by_reach(self, photo: Photo, prompt: Prompt, reach: float) -> Mask:
        """Cut out an object that goes about ``reach`` pixels of the photo beyond its points, at most twice as far."""
        columns, rows = zip(*prompt.positive, strict=True)
        around = min(columns) - reach, min(rows) - reach, max(columns) + reach, max(rows) + reach
        window = _window(around, photo.shape[1], photo.shape[0])
        part = photo[window[1] : window[3], window[0] : window[2]]
        small, scale = self._small(part, _POINT_SIDE)
        shifted = Prompt(tuple((x - window[0], y - window[1]) for x, y in prompt.points), prompt.labels)
        trimap = np.full(small.shape[:2], cv2.GC_BGD, dtype=np.uint8)
        for radius, value in ((2 * reach, cv2.GC_PR_BGD), (reach, cv2.GC_PR_FGD)):
            for point in shifted.positive:
                _disc(trimap, point, scale, radius, value)
        _mark(trimap, shifted, scale, self.sure_part * reach)
        found = _connected(_cut(_uneven(small), trimap), [(x * scale[0], y * scale[1]) for x, y in shifted.positive])
        mask = np.zeros(photo.shape[:2], dtype=bool)
        mask[window[1] : window[3], window[0] : window[2]] = _enlarged(found, part)
        return mask

    def _small(self, photo: Photo, part_of_side: float = 1.0) -> tuple[Photo, Scale]:
        height, width = photo.shape[:2]
        scale = min(1.0, part_of_side * self.working_side / max(height, width))
        if scale == 1.0:
            return np.ascontiguousarray(photo), (1.0, 1.0)
        size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
        small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return small, (size[0] / width, size[1] / height)


def _window(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the whole pixels of a box with its surroundings: left, top, right, bottom."""
    left, top, right, bottom = box
    around = _SURROUNDINGS * max(right - left, bottom - top) + 2
    return (
        max(0, math.floor(left - around)),
        max(0, math.floor(top - around)),
        min(width, math.ceil(right + around)),
        min(height, math.ceil(bottom + around)),
    )


def _whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """Return the pixels that a box touches: left, top, right, bottom."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def _trimap_of_box(box: Box, width: int, height: int) -> _Trimap:
    trimap = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    left, top = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
    right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
    trimap[top:bottom, left:right] = cv2.GC_PR_FGD
    rows, columns = np.ogrid[:height, :width]
    half_width, half_height = (max(0.5, _SURE_ELLIPSE * (box[i + 2] - box[i]) / 2) for i in (0, 1))
    across = (columns + 0.5 - (box[0] + box[2]) / 2) / half_width
    down = (rows + 0.5 - (box[1] + box[3]) / 2) / half_height
    from_middle = across**2 + down**2
    if np.count_nonzero(trimap == cv2.GC_BGD) < _LEAST_SURROUNDINGS * trimap.size:
        trimap[from_middle > _SURE_ELLIPSE**-2] = (
            cv2.GC_PR_BGD
        )  # the corners, outside of the ellipse that fills the box
    trimap[from_middle <= 1] = cv2.GC_FGD
    return trimap


def _mark(trimap: _Trimap, prompt: Prompt, scale: Scale, radius: float) -> None:
    """Mark what the points say, those outside last: they are mostly there to mend a mask."""
    for points, value in ((prompt.positive, cv2.GC_FGD), (prompt.negative, cv2.GC_BGD)):
        for point in points:
            _disc(trimap, point, scale, radius, value)


def _disc(trimap: _Trimap, point: Point, scale: Scale, radius: float, value: int) -> None:
    """Mark what lies within ``radius`` pixels of the photo of a point, or at least one pixel of the trimap."""
    rows, columns = np.ogrid[: trimap.shape[0], : trimap.shape[1]]
    across, down = ((columns + 0.5) / scale[0] - point[0], (rows + 0.5) / scale[1] - point[1])
    trimap[across**2 + down**2 <= max(radius, 1 / min(scale)) ** 2] = value
    trimap[_place(point[1] * scale[1], trimap.shape[0]), _place(point[0] * scale[0], trimap.shape[1])] = value


def _cut(photo: Photo, trimap: _Trimap) -> Mask:
    """Run GrabCut; where a side has no pixel to learn from, the other one takes the whole picture."""
    inside = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if inside.all() or not inside.any():
        return inside
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # its clusters start from random pixels
    labels, *_ = cv2.grabCut(photo[..., ::-1].copy(), trimap, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]  # the rectangle is not used
    return np.isin(np.asarray(labels), (cv2.GC_FGD, cv2.GC_PR_FGD))


def _uneven(photo: Photo) -> Photo:
    """Return a photo as it is, or, where most of it is plain, with values raised by 0 or 1.

    In plain areas all cuts cost the same, and to find one takes ten times as long.
    """
    equal = (photo[:, 1:] == photo[:, :-1]).all(axis=2)
    if np.count_nonzero(equal) < equal.size / 2:
        return photo
    bits = np.random.default_rng(0).integers(0, 2, photo.shape, dtype=np.uint8)
    return np.asarray(np.minimum(photo, 254) + bits, dtype=np.uint8)


def _connected(mask: Mask, points: Sequence[Point]) -> Mask:
    """Keep the parts of a mask in which a point lies, holes filled."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    wanted = {int(parts[_place(y, mask.shape[0]), _place(x, mask.shape[1])]) for x, y in points} - {0}
    kept = np.isin(parts, list(wanted)).astype(np.uint8)
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(kept), outlines, -1, 1, cv2.FILLED)
    # A hole is filled only where it is small: the food in the middle of a plate is no part of the plate.
    holes = (filled > 0) & (kept == 0)
    count, labelled, stats, _ = cv2.connectedComponentsWithStats(holes.astype(np.uint8))
    small = [number for number in range(1, count) if stats[number, cv2.CC_STAT_AREA] < 0.02 * kept.sum()]
    return (kept > 0) | np.isin(labelled, small)


def _place(value: float, length: int) -> int:
    return min(max(int(value), 0), length - 1)


def _enlarged(mask: Mask, photo: Photo) -> Mask:
    """Return a mask in the photo's pixels, its border smooth."""
    height, width = photo.shape[:2]
    if mask.shape == (height, width):
        return mask
    grown = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown >= 0.5)
