"""Scores of all models side by side: a row of panels for each question, a panel for each score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.figures import BLUE, INK, ORANGE, PALE, VERMILION, draw, elide
from experiments.regions.models import CONTROL, LEARNED, MASK, WHOLE
from experiments.regions.tables import shown_scores
from experiments.report import HEADINGS

STYLES = {MASK: (BLUE, "o"), LEARNED: (VERMILION, "^"), CONTROL: (PALE, "v"), WHOLE: (ORANGE, "s")}


def save_comparison(parts: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw every model's scores with their 95 % intervals, and each run's own score as a small dot.

    Args:
        parts: of ``results.json``, one for each question.
        path: of the PNG.
    """
    across = max(len(shown_scores(part)) for part in parts)
    models = max(len(part["models"]) for part in parts)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12)
        grid = figure.subplots(len(parts), across, squeeze=False)
        for row, part in zip(grid, parts, strict=True):
            for place, axes in enumerate(row):
                names = shown_scores(part)
                if place >= len(names):
                    axes.set_axis_off()
                    continue
                _panel(axes, part, names[place], named=place == 0)
        known = list(dict.fromkeys(entry["knows"] for part in parts for entry in part["models"]))
        handles = [Line2D([], [], color=STYLES[knows][0], marker=STYLES[knows][1], lw=1.6) for knows in known]
        handles.append(Line2D([], [], color=INK, lw=1, dashes=(4, 2)))
        labels = [*known, "most that a model without the mask can reach"]
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)

    draw(path, (3.7 * across + 1.6, len(parts) * (0.34 * models + 1.1) + 0.4), fill)


def _panel(axes: Axes, part: Mapping[str, Any], score: str, *, named: bool) -> None:
    for place, entry in enumerate(part["models"]):
        color, marker = STYLES[entry["knows"]]
        value, interval = entry["scores"][score], entry["scores"][f"{score}_ci"]
        if value is None:
            continue
        if interval is not None:
            axes.plot(interval, [place, place], color=color, lw=1.6, solid_capstyle="butt")
        runs = [one[score] for one in entry["scores"]["by_seed"] if one[score] is not None]
        if len(runs) > 1:
            axes.plot(runs, [place + 0.27] * len(runs), "|", color=color, ms=7, mew=1.2)
        axes.plot([value], [place], marker, color=color, ms=6.5)
    if score == "top1" and part["best_reachable_top1"] < 1:
        axes.axvline(part["best_reachable_top1"], color=INK, lw=1, dashes=(4, 2))
    names = [elide(entry["name"], 30) for entry in part["models"]]
    axes.set_yticks(range(len(names)), names if named else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_title(f"{part['title']}: {HEADINGS[score]}" if named else HEADINGS[score])
    axes.grid(visible=True, axis="x", color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
