"""The confusion matrix, readable from two classes to several hundred."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from experiments.figures import INK, PALE, draw, elide
from experiments.report import display_width
from utils.metrics import Array

# White to dark blue: lightness falls evenly, so it reads in grey and by colour-blind eyes.
BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#cfe3f2", "#7db4da", "#2b7bba", "#08306b"])
_NUMBERED = 20
_NAME_LENGTH = 30
_PANEL = 4.0  # inches, the column with colour bar and list
_FLAT = 0.6  # inches below the matrix for names side by side
_LINE = 13.5  # points, height of a line of the list


def confusion_counts(truth: Array, predicted: Array, classes: int) -> NDArray[np.int64]:
    """Count pairs by true class (row) and predicted class (column), C×C."""
    cell = truth.astype(np.int64) * classes + predicted
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes)


def most_confused(matrix: NDArray[np.int64], count: int) -> list[tuple[int, int, int]]:
    """Return the largest off-diagonal cells as (true class, predicted class, pairs), most pairs first.

    Ties go to the larger share of the true class, then to the lower index.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    true, predicted = np.nonzero(wrong)
    pairs = wrong[true, predicted]
    order = np.lexsort((predicted, true, -pairs / matrix.sum(axis=1)[true], -pairs))[:count]
    return [(int(true[i]), int(predicted[i]), int(pairs[i])) for i in order]


def save_confusion(truth: Array, predicted: Array, names: Sequence[str], path: Path) -> None:
    """Draw the share of each true class that went to each predicted class, and list the commonest confusions.

    All C classes have a row and a column; the title tells top-1.

    Up to 20 classes carry numbers in percent; with more the colour scale is stretched so that a few percent show. A
    class without pairs has a grey row.

    Args:
        truth: int N, class index.
        predicted: int N, class index.
        names: C class names.
        path: of the PNG.
    """
    matrix = confusion_counts(truth, predicted, len(names))
    layout = _Layout.of(names, matrix.sum(axis=1))

    def fill(figure: Figure) -> None:
        axes = layout.add(figure, layout.left, layout.bottom, layout.side, layout.side)
        image = _draw_matrix(axes, matrix, layout)
        start = layout.left + layout.side + 0.45
        bar = layout.add(figure, start, layout.bottom + layout.side - 0.16, 2.6, 0.16)
        _draw_color_bar(figure, bar, image, layout.numbered)
        panel = layout.add(figure, start, layout.bottom, _PANEL, layout.side - 1.0)
        _list_confusions(panel, matrix, names)

    draw(path, (layout.width, layout.height), fill, dpi=130 if layout.numbered else 110)


@dataclass(frozen=True)
class _Layout:
    """Where things are, in inches from the lower left corner; fonts in points."""

    rows: list[str]
    columns: list[str]
    side: float
    font: float
    step: int  # every step-th class has its name written
    left: float
    bottom: float
    top: float

    @classmethod
    def of(cls, names: Sequence[str], support: NDArray[np.int64]) -> "_Layout":
        columns = [elide(name, _NAME_LENGTH) for name in names]
        rows = [f"{name} ({pairs:,})" for name, pairs in zip(columns, support, strict=True)]
        numbered = len(names) <= _NUMBERED
        side = max(2.6, 0.52 * len(names)) if numbered else float(np.clip(0.145 * len(names), 5.0, 22.0))
        points = 72 * side / len(names)
        step = math.ceil(7.0 / points)
        font = float(np.clip(0.8 * points * step, 5.0, 9.0))
        character = 0.56 * font / 72
        depth = character * max(map(display_width, columns)) + 0.1
        flat = depth < 0.95 * side / len(names)
        return cls(
            rows=rows,
            columns=columns,
            side=side,
            font=font,
            step=step,
            left=character * max(map(display_width, rows)) + 0.45,
            bottom=_FLAT if flat else depth + 0.35,
            top=0.4 if numbered else depth + 0.4,
        )

    @property
    def numbered(self) -> bool:
        return len(self.columns) <= _NUMBERED

    @property
    def flat(self) -> bool:
        """Whether the names of the columns fit side by side."""
        return self.bottom == _FLAT

    @property
    def width(self) -> float:
        return self.left + self.side + 0.45 + _PANEL

    @property
    def height(self) -> float:
        return self.bottom + self.side + self.top

    def add(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes at a place given in inches."""
        return figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height),
        )


def _draw_matrix(axes: Axes, matrix: NDArray[np.int64], layout: _Layout) -> AxesImage:
    classes = len(layout.columns)
    support = matrix.sum(axis=1, keepdims=True)
    share = np.where(support > 0, 100.0 * matrix / np.maximum(support, 1), np.nan)
    norm = Normalize(0, 100) if layout.numbered else PowerNorm(0.5, 0, 100)
    image = axes.imshow(
        np.ma.masked_invalid(share),
        cmap=BLUES.with_extremes(bad="#e4e4e4"),
        norm=norm,
        aspect="auto",
        interpolation="nearest",
    )
    shown = range(0, classes, layout.step)
    axes.set_yticks(shown, [layout.rows[i] for i in shown], fontsize=layout.font)
    axes.set_xticks(shown, [layout.columns[i] for i in shown], fontsize=layout.font, rotation=0 if layout.flat else 90)
    axes.tick_params(length=0 if layout.numbered else 2, top=not layout.numbered, labeltop=not layout.numbered)
    axes.figure.text(
        layout.left / layout.width,
        1 - 0.2 / layout.height,
        _title(matrix),
        size=10.5,
        weight="bold",
        va="center",
    )
    axes.figure.text(
        (layout.left + layout.side / 2) / layout.width, 0.16 / layout.height, "predicted class", ha="center"
    )
    axes.figure.text(
        0.16 / layout.width,
        (layout.bottom + layout.side / 2) / layout.height,
        "true class (pairs)",
        rotation=90,
        va="center",
    )
    # Separate the cells, or every fifth class where they are small, so that the eye keeps its row.
    edges = np.arange(0, classes + 1, 1 if layout.numbered else 5) - 0.5
    color, width = ("white", 1.2) if layout.numbered else ("#dddddd", 0.5)
    axes.hlines(edges, -0.5, classes - 0.5, color=color, lw=width)
    axes.vlines(edges, -0.5, classes - 0.5, color=color, lw=width)
    if layout.numbered:
        _write_numbers(axes, share)
    return image


def _title(matrix: NDArray[np.int64]) -> str:
    pairs, right = int(matrix.sum()), int(matrix.trace())
    return f"Confusion matrix of {pairs:,} pairs" + (f", {100 * right / pairs:.1f} % of them right" if pairs else "")


def _write_numbers(axes: Axes, share: NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(share):
        if np.isnan(value) or value == 0:
            continue
        text = f"{value:.0f}" if value >= 0.5 else "<1"
        axes.text(column, row, text, ha="center", va="center", size=8.5, color="white" if value > 55 else INK)


def _draw_color_bar(figure: Figure, axes: Axes, image: AxesImage, numbered: bool) -> None:
    bar = figure.colorbar(image, cax=axes, orientation="horizontal")
    bar.set_ticks([0, 25, 50, 75, 100] if numbered else [0, 1, 5, 10, 25, 50, 100])
    bar.set_label("share of the true class (%)", fontsize=8.5)
    axes.tick_params(labelsize=8)
    bar.outline.set_edgecolor(PALE)


def _list_confusions(axes: Axes, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    """List confusions as lines of pairs, share and names from the top of ``axes`` down, as many as fit."""
    axes.set_axis_off()
    height = 72 * axes.get_position().height * axes.figure.get_figure(root=True).get_figheight()
    found = most_confused(matrix, min(50, int(height / _LINE) - 2))
    support = matrix.sum(axis=1)
    title = "Commonest confusions" if found else "No confusions"
    axes.annotate(title, (0, 1), (0, 0), textcoords="offset points", xycoords="axes fraction", va="top", weight="bold")
    if found:
        _write_line(axes, 1, ("pairs", "share", "true → predicted"), PALE)
    for line, (true, predicted, pairs) in enumerate(found, start=2):
        text = f"{elide(names[true], 20)} → {elide(names[predicted], 20)}"
        _write_line(axes, line, (f"{pairs:,}", f"{100 * pairs / support[true]:.0f} %", text), INK)


def _write_line(axes: Axes, line: int, cells: tuple[str, str, str], color: str) -> None:
    places: tuple[tuple[float, Literal["left", "right"]], ...] = ((28, "right"), (66, "right"), (80, "left"))
    for text, (x, align) in zip(cells, places, strict=True):
        axes.annotate(
            text,
            (0, 1),
            (x, -_LINE * line - 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha=align,
            va="top",
            fontsize=8.5,
            color=color,
        )
