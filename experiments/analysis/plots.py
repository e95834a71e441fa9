"""Figures of the analysis: classes by F1, reliability, risk against coverage."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.analysis.calibration import Reliability
from experiments.analysis.selective import RISKS, RiskCoverage
from experiments.figures import BLUE, INK, ORANGE, PALE, VERMILION, draw, elide
from utils.metrics import Array

_GRID = "#e3e3e3"
_COLUMN = 40  # classes that stand below each other before another column begins


def save_classes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the F1 of each class with its interval, best first, and how many test pairs it rests on.

    Args:
        rows: of ``classes.class_rows``. A class without pairs and predictions has no F1 and stands last, without dot.
        path: of the PNG.
    """
    ordered = sorted(rows, key=lambda row: (row["f1"] is None, -(row["f1"] or 0), -row["support"]))
    columns = math.ceil(len(ordered) / _COLUMN)
    lines = math.ceil(len(ordered) / columns)
    height = 1.25 + 0.19 * max(lines, 4)
    largest = max(row["support"] for row in rows)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
        grid = figure.subplots(1, 2 * columns, squeeze=False, width_ratios=[3, 1] * columns)[0]
        for column in range(columns):
            part = ordered[column * lines : (column + 1) * lines]
            score, support = grid[2 * column], grid[2 * column + 1]
            _draw_f1(score, part, lines)
            _draw_support(support, part, lines, largest)
        figure.suptitle(
            f"F1 of {len(ordered)} classes with 95 % intervals, and the pairs it rests on",
            x=0.01, ha="left", weight="bold", fontsize=10.5,
        )  # fmt: skip

    draw(path, (6.2 * columns, height), fill, dpi=130 if columns < 3 else 110)


def _draw_f1(axes: Axes, rows: Sequence[Mapping[str, Any]], lines: int) -> None:
    bars = [(place, *row["f1_ci"]) for place, row in enumerate(rows) if row["f1_ci"] is not None]
    if bars:
        axes.hlines(*zip(*bars, strict=True), color="#7db4da", lw=3)
    dots = [(row["f1"], place) for place, row in enumerate(rows) if row["f1"] is not None]
    if dots:
        axes.plot(*zip(*dots, strict=True), "o", color=BLUE, ms=4.5, clip_on=False)
    for place, row in enumerate(rows):
        if row["f1"] is None:
            axes.text(0.0, place, "neither in the pairs nor predicted", color=PALE, size=7, va="center")
    axes.set_yticks(range(len(rows)), [elide(row["class"], 26) for row in rows], fontsize=8)
    axes.set_ylim(lines - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("F1 (1 is perfect)")
    _clean(axes)
    axes.tick_params(axis="y", length=0)


def _draw_support(axes: Axes, rows: Sequence[Mapping[str, Any]], lines: int, largest: int) -> None:
    axes.barh(range(len(rows)), [row["support"] for row in rows], height=0.62, color="#c9c9c9")
    for place, row in enumerate(rows):
        axes.annotate(
            f"{row['support']:,}", (row["support"], place), (3, 0), textcoords="offset points", va="center", size=7.5
        )
    axes.set_ylim(lines - 0.4, -0.6)
    axes.set_xlim(0, 1.45 * max(largest, 1))
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.set_xlabel("pairs")
    _clean(axes)
    axes.spines["left"].set_visible(False)


def save_calibration(parts: Sequence[tuple[str, Reliability]], path: Path) -> None:
    """Draw accuracy against confidence with the number of pairs below, for each part beside each other.

    Args:
        parts: title and bins, such as before and after temperature scaling.
        path: of the PNG.
    """
    width, height = 4.6 * len(parts) + 0.6, 5.6

    def fill(figure: Figure) -> None:
        place = {"left": 0.75 / width, "right": 1 - 0.25 / width, "bottom": 0.55 / height, "top": 1 - 0.4 / height}
        grid = figure.subplots(
            2, len(parts), squeeze=False, sharex=True, height_ratios=[3.2, 1], gridspec_kw=place | {"hspace": 0.1}
        )
        top = max(int(bins.count.max()) for _, bins in parts)
        for column, (title, bins) in enumerate(parts):
            _draw_reliability(grid[0, column], bins, title, legend=column == 0)
            _draw_counts(grid[1, column], bins, top)
        grid[0, 0].set_ylabel("accuracy (% right)")
        grid[1, 0].set_ylabel("pairs")

    draw(path, (width, height), fill)


def _draw_reliability(axes: Axes, bins: Reliability, title: str, *, legend: bool) -> None:
    full = bins.count > 0
    left, width = bins.edges[:-1][full], np.diff(bins.edges)[full]
    accuracy, confidence = bins.accuracy[full], bins.confidence[full]
    axes.bar(left, accuracy, width, align="edge", color="#7db4da", edgecolor="white", lw=0.8)
    gap = np.where(accuracy < confidence, VERMILION, ORANGE)
    axes.vlines(confidence, accuracy, confidence, color=list(gap), lw=2.2)
    axes.plot(confidence, accuracy, "o", color=BLUE, ms=4.5, label="accuracy at the mean confidence of a bin")
    axes.plot([], [], color=VERMILION, lw=2.2, label="gap: too sure")
    axes.plot([], [], color=ORANGE, lw=2.2, label="gap: not sure enough")
    axes.plot([0, 1], [0, 1], "--", color=INK, lw=1, label="perfect calibration")
    axes.set_title(title, pad=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    _clean(axes)
    if legend:
        axes.legend(loc="upper left", frameon=False, fontsize=8, handlelength=1.6)


def _draw_counts(axes: Axes, bins: Reliability, top: int) -> None:
    centre = (bins.edges[:-1] + bins.edges[1:]) / 2
    axes.bar(bins.edges[:-1], bins.count, np.diff(bins.edges), align="edge", color="#c9c9c9", edgecolor="white", lw=0.8)
    for x, count in zip(centre, bins.count, strict=True):
        if count:
            axes.annotate(f"{count}", (float(x), int(count)), (0, 2), textcoords="offset points", ha="center", size=6.5)
    axes.set_ylim(0, 1.3 * top)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_xlabel("confidence: highest probability (%)")
    _clean(axes)


def save_risk_coverage(curve: RiskCoverage, ideal: Array, path: Path) -> None:
    """Draw the risk against the coverage, with the ideal and a random order, and coverages at fixed risks.

    Args:
        curve: of the run.
        ideal: N, ``selective.ideal_risk``.
        path: of the PNG.
    """
    final, coverage = float(curve.risk[-1]), curve.coverage
    # Few pairs make the left end jump; the axis follows the curve where at least 2 % of the pairs are answered.
    steady = curve.risk[coverage >= 0.02]
    top = float(min(1.0, 1.15 * max(final, steady.max(), 1.2 * RISKS[-1])))

    def fill(figure: Figure) -> None:
        axes = figure.subplots(gridspec_kw={"left": 0.08, "right": 0.7, "bottom": 0.125, "top": 0.9})
        axes.axhline(final, ls="--", color=PALE, lw=1.4, label=f"random order (area {final:.3f})")
        area = float(np.mean(ideal))
        axes.plot(coverage, ideal, ":", color=INK, lw=1.6, label=f"ideal order (area {area:.3f})")
        axes.plot(coverage, curve.risk, color=BLUE, lw=2, label=f"by confidence (area {curve.aurc:.3f})")
        for risk, color, marker in zip(RISKS, (ORANGE, VERMILION), ("s", "D"), strict=True):
            reached = curve.coverage_at(risk)
            axes.plot([0, reached], [risk, risk], color=color, lw=1)
            label = f"{100 * risk:g} % wrong: covers {100 * reached:.0f} %"
            axes.plot([reached], [risk], marker, color=color, ms=6, label=label, ls="none", clip_on=False)
        axes.set_title(f"Risk against coverage, {curve.risk.size:,} pairs", pad=10)
        axes.set_xlabel("coverage: pairs answered, the surest first (%)")
        axes.set_ylabel("risk: answers that are wrong (%)")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, top)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        _clean(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5)

    draw(path, (8.4, 4.4), fill)


def _clean(axes: Axes) -> None:
    axes.grid(visible=True, color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
