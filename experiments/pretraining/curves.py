"""The curves of a pre-training."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures import BLUE, INK, ORANGE, PURPLE, VERMILION, LogRow, draw

PLACES = {"left": 0.05, "right": 0.99, "bottom": 0.15, "top": 0.91, "wspace": 0.2}
FEW = 40  # epochs, up to which each has a marker
_Line = tuple[str, str, str, str]  # key, label, colour, marker


def save_pretraining_curves(rows: Sequence[LogRow], collapse_spread: float, path: Path) -> None:
    """Draw loss, spread, groups and regions by epoch as a PNG.

    Args:
        rows: one mapping per epoch, as in ``log.jsonl``; one at least.
        collapse_spread: the spread below which a run stops; 0 where it never does.
        path: of the PNG.
    """
    panels: list[tuple[str, list[_Line]]] = [
        ("loss (0: alike, 2: unrelated)", [("loss", "loss", BLUE, "o")]),
        ("spread (0: collapsed, 1: no preference)", [("spread", "spread", VERMILION, "s")]),
        ("regions", [("regions", "of a photo", PURPLE, "^"), ("valid_regions", "in both views", ORANGE, "v")]),
    ]

    def fill(figure: Figure) -> None:
        every: list[Axes] = list(figure.subplots(1, len(panels), gridspec_kw=PLACES))
        for axes, (title, lines) in zip(every, panels, strict=True):
            for key, label, colour, marker in lines:
                _line(axes, rows, [row["train"][key] for row in rows], label, colour, "-", marker)
            axes.set_title(title)
        _, spread, regions = every
        if collapse_spread:
            spread.axhline(collapse_spread, color=INK, linestyle="--", linewidth=1)
            spread.annotate(
                f"below {collapse_spread:g} the run stops",
                xy=(1, collapse_spread),
                xycoords=("axes fraction", "data"),
                xytext=(-3, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
            )
        if any(row["clusters"] is not None for row in rows):
            _line(regions, rows, [row["clusters"] for row in rows], "K, of a batch", INK, ":", "D")
        regions.legend(loc="best", frameon=False)
        for axes in every:
            _finish(axes, rows)

    draw(path, (11, 3.4), fill)


def _line(
    axes: Axes,
    rows: Sequence[LogRow],
    values: Sequence[float | None],
    label: str,
    colour: str,
    dash: str,
    marker: str,
) -> None:
    points = [(row["epoch"], value) for row, value in zip(rows, values, strict=True) if value is not None]
    mark = marker if len(points) <= FEW else ""
    axes.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker=mark, markersize=4, label=label)


def _finish(axes: Axes, rows: Sequence[LogRow]) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlim(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5)
    axes.set_ylim(0, 1.05 * axes.dataLim.y1 or 1)
    axes.grid(visible=True, color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
