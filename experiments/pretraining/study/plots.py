"""Scores against the part of the labels, and the course of the pre-trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures import BLUE, INK, ORANGE, PALE, PURPLE, VERMILION, draw
from experiments.pretraining.study.recipes import LONGER, PRETRAINED, RANDOM, START_NAMES
from experiments.report import HEADINGS

_STYLES = {RANDOM: (BLUE, "o", -0.06), PRETRAINED: (VERMILION, "^", 0.06), LONGER: (PURPLE, "s", 0.0)}
_DASHES = ("-", "--", ":", "-.")
_PANELS = (
    ("loss", "loss: 0 alike, 2 unrelated", BLUE),
    ("spread", "spread: 1 without preference", VERMILION),
    ("valid_regions", "regions in both views", ORANGE),
)


def save_fractions(document: Mapping[str, Any], path: Path) -> None:
    """Draw top-1 and macro-F1 of each start against the part of the labels, with 95 % intervals and single runs."""
    entries = [entry for entry in document["entries"] if entry["kind"] == "finetuned"]

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        panels = figure.subplots(1, 2)
        for axes, score in zip(panels, ("top1", "macro_f1"), strict=True):
            for start in _STYLES:
                _line(axes, entries, start, score)
            names = [f"{100 * entry['fraction']:.4g} %\n{entry['n_train']:,} pairs" for entry in entries]
            axes.set_xticks(range(len(entries)), names)
            axes.set_xlim(-0.4, len(entries) - 0.6)
            axes.set_ylim(-0.02, 1.02)
            axes.set_title(HEADINGS[score])
            axes.set_xlabel("labels used")
            _plain(axes)
        panels[0].axhline(
            document["most_frequent_class"], color=PALE, lw=1, dashes=(4, 2), label="always the most frequent class"
        )
        panels[0].set_ylabel("fraction (1 is perfect)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)

    draw(path, (9.2, 4.4), fill)


def _line(axes: Axes, entries: Sequence[Mapping[str, Any]], start: str, score: str) -> None:
    color, marker, shift = _STYLES[start]
    found = [
        (place + shift, entry["starts"][start]["scores"])
        for place, entry in enumerate(entries)
        if start in entry["starts"] and entry["starts"][start]["scores"][score] is not None
    ]
    if not found:
        return
    places = [place for place, _ in found]
    axes.plot(
        places, [cells[score] for _, cells in found], color=color, marker=marker, ms=6, lw=1.6, label=START_NAMES[start]
    )
    for place, cells in found:
        if cells[f"{score}_ci"] is not None:
            axes.plot([place, place], cells[f"{score}_ci"], color=color, lw=1.4)
        runs = [one[score] for one in cells["by_seed"]]
        axes.plot([place] * len(runs), runs, "_", color=color, ms=9, mew=1.2)


def save_pretrainings(document: Mapping[str, Any], path: Path) -> None:
    """Draw loss, spread and regions of every pre-training by epoch, a dash for each seed."""
    runs = document["pretraining"]["runs"]

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        for axes, (key, title, color) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
            for number, run in enumerate(runs):
                epochs = [row["epoch"] for row in run["log"]]
                values = [row["train"][key] for row in run["log"]]
                dash = _DASHES[number % len(_DASHES)]
                axes.plot(epochs, values, dash, color=color, marker=".", label=f"seed {run['seed']}")
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(0, 1.05 * max(axes.get_ylim()[1], 1e-6))
            axes.legend(frameon=False, labelcolor=INK)
            _plain(axes)

    draw(path, (11, 3.4), fill)


def _plain(axes: Axes) -> None:
    axes.grid(visible=True, axis="y", color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
