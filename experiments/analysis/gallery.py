"""The pairs that a run gets most wrong, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from datasets.cutouts import content_size
from datasets.index import PairIndex
from datasets.sources import read_pair
from datasets.transforms import Photo
from experiments.figures import INK, PALE, VERMILION, draw, elide
from utils.metrics import Array, predicted_classes

LIMIT = 12
_SIDE = 256  # pixels; larger pictures are made smaller as soon as they are read
_ACROSS = 3
_TILE, _GAP, _TEXT, _HEAD, _MARGIN = 1.6, 0.25, 0.72, 0.62, 0.2  # inches
_LINE = 0.17  # inches
_LINE_LENGTH = 40  # characters of a caption


def hardest(truth: Array, probability: Array, groups: Array, limit: int = LIMIT) -> NDArray[np.int64]:
    """Return the rows of the pairs whose true class got the lowest probability, lowest first.

    One pair of each group comes before a second one of any, so that a single photo or film does not fill the list.

    Args:
        truth: int N, class index.
        probability: N×C.
        groups: N, the group of each pair.
        limit: largest number of rows.
    """
    own = np.take_along_axis(probability, truth[:, None].astype(np.int64), axis=1)[:, 0]
    return _spread(np.argsort(own, kind="stable"), groups, limit)


def confidently_wrong(truth: Array, probability: Array, groups: Array, limit: int = LIMIT) -> NDArray[np.int64]:
    """Return the rows of the wrong predictions with the highest probability, highest first; spread as ``hardest``."""
    order = np.argsort(-probability.max(axis=1), kind="stable")
    wrong = predicted_classes(probability) != truth
    return _spread(order[wrong[order]], groups, limit)


def _spread(order: NDArray[np.int64], groups: Array, limit: int) -> NDArray[np.int64]:
    """Take the first rows of an order, the n-th of each group before the (n+1)-th of any."""
    seen: dict[object, int] = {}
    turns = np.empty(order.size, dtype=np.int64)
    for place, group in enumerate(groups[order].tolist()):
        turns[place] = seen[group] = seen.get(group, -1) + 1
    return order[np.argsort(turns, kind="stable")[:limit]]


def save_gallery(index: PairIndex, rows: Sequence[int] | Array, probability: Array, title: str, path: Path) -> None:
    """Draw pairs with both cut-outs side by side, truth and prediction with their probabilities below.

    Pictures are read one pair after the other and kept at 256 pixels at most.

    Args:
        index: the pairs.
        rows: which of them, in order; at least one.
        probability: N×C, of all pairs of the index.
        title: of the figure.
        path: of the PNG.

    Raises:
        DataError: a picture cannot be read; the message starts with its path.
    """
    chosen = [int(row) for row in rows]
    across = min(_ACROSS, len(chosen))
    pictures = [[_thumbnail(cut_out) for cut_out in read_pair(index, row)] for row in chosen]
    lines = [range(start, min(start + across, len(chosen))) for start in range(0, len(chosen), across)]
    heights = [max(_shown_size(picture)[1] for place in line for picture in pictures[place]) for line in lines]
    width = max(across * (2 * _TILE + _GAP) + 2 * _MARGIN - _GAP, 7.0)  # room for the title
    height = _HEAD + sum(heights) + len(lines) * _TEXT + _MARGIN

    def fill(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)  # in inches
        axes.set_axis_off()
        axes.text(_MARGIN, height - 0.22, title, weight="bold", va="center", size=10.5)
        legend = "left: roi, right: extra_roi; beside each name its probability"
        axes.text(_MARGIN, height - 0.43, legend, color=PALE, va="center", size=8)
        top = height - _HEAD
        for line, tallest in zip(lines, heights, strict=True):
            for column, place in enumerate(line):
                left = x = _MARGIN + column * (2 * _TILE + _GAP)
                for picture in pictures[place]:
                    wide, high = _shown_size(picture)
                    axes.imshow(picture, extent=(x, x + wide, top - high, top), aspect="auto")
                    x += wide + 0.05
                _caption(axes, index, chosen[place], probability[chosen[place]], (left, top - tallest - 0.13))
            top -= tallest + _TEXT

    draw(path, (width, height), fill)


def _shown_size(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Return width and height in inches: the longer side fills the tile."""
    height, width = picture.shape[:2]
    scale = (_TILE - 0.05) / max(height, width)
    return width * scale, height * scale


def _caption(axes: Axes, index: PairIndex, row: int, probability: Array, place: tuple[float, float]) -> None:
    names, truth = index.classes.names, int(index.label[row])
    predicted = int(predicted_classes(probability[None])[0])
    texts = (
        (f"truth: {elide(names[truth], 24)}  {_percent(probability[truth])}", INK, "bold"),
        (f"predicted: {elide(names[predicted], 24)}  {_percent(probability[predicted])}", VERMILION, "normal"),
        (elide(index.stems[row], _LINE_LENGTH), PALE, "normal"),
    )
    for number, (text, color, weight) in enumerate(texts):
        color = INK if color == VERMILION and predicted == truth else color
        axes.text(place[0], place[1] - number * _LINE, text, color=color, weight=weight, size=8, va="center")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else "<0.1 %"


def _thumbnail(cut_out: Photo) -> NDArray[np.uint8]:
    """Return a cut-out (3×H×W) as uint8 H×W×3, its longer side 256 pixels at most."""
    picture = torch.from_numpy(cut_out)
    if max(picture.shape) > _SIDE:
        width, height = content_size(picture.shape[2], picture.shape[1], _SIDE)
        picture = functional.resize(picture, [height, width], antialias=True)
    return np.asarray(picture.permute(1, 2, 0).numpy(), dtype=np.uint8)
