"""Accuracy and time against the size of the grey copy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import BLUE, INK, ORANGE, PALE, PURPLE, VERMILION, draw
from experiments.report import HEADINGS

_CONTROLS = {
    "salience_whole": (ORANGE, (4, 2), "control: whole photo"),
    "salience_random": (PALE, (1, 2), "control: a random part"),
}
_TIMES = {"evaluation_ms": (BLUE, "o", "scoring"), "training_ms": (PURPLE, "s", "training")}


def save_grey_size(document: Mapping[str, Any], path: Path) -> None:
    """Draw top-1 and macro-F1, then the milliseconds per pair, against the side of the grey copy.

    Lines over the whole width are the controls; small strokes are single runs.
    """
    sized = [entry for entry in document["models"] if entry["grey"] is not None]
    controls = [entry for entry in document["models"] if entry["grey"] is None]
    timed = all(entry["cost"]["evaluation_ms"] is not None for entry in sized)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        panels = figure.subplots(1, 3 if timed else 2, squeeze=False)[0]
        for axes, score in zip(panels, ("top1", "macro_f1"), strict=False):
            _scores(axes, sized, controls, score)
            _finish(axes, sized, HEADINGS[score], "fraction (1 is perfect)")
            axes.set_ylim(-0.02, 1.02)
        if timed:
            _times(panels[2], sized, controls)
            _finish(panels[2], sized, "Time per pair", "milliseconds")
            panels[2].set_ylim(bottom=0)
        handles: dict[str, Any] = {}
        for axes in panels:
            handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, len(handles)), frameon=False
        )

    draw(path, (4.2 * (3 if timed else 2) + 0.4, 4.4), fill)


def _scores(axes: Axes, sized: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]], score: str) -> None:
    for entry in controls:
        color, dashes, label = _CONTROLS[entry["key"]]
        if entry["scores"][score] is not None:
            axes.axhline(entry["scores"][score], color=color, lw=1.5, dashes=dashes, label=label)
    places = range(len(sized))
    values = [entry["scores"][score] for entry in sized]
    axes.plot(places, values, "-", color=VERMILION, marker="^", ms=6, lw=1.6, label="the selector's choice")
    for place, entry in zip(places, sized, strict=True):
        interval = entry["scores"][f"{score}_ci"]
        if interval is not None:
            axes.plot([place, place], interval, color=VERMILION, lw=1.4)
        runs = [one[score] for one in entry["scores"]["by_seed"]]
        axes.plot([place + 0.08] * len(runs), runs, "_", color=VERMILION, ms=7, mew=1.2)
    oracle = [entry["measures"].get("oracle/top1", {}).get("value") for entry in sized]
    if score == "top1" and all(value is not None for value in oracle):
        axes.plot(
            places,
            oracle,
            ":",
            color=INK,
            marker="D",
            ms=4,
            mfc="white",
            lw=1.2,
            label="best part of each pair (oracle)",
        )


def _times(axes: Axes, sized: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]) -> None:
    for key, (color, marker, label) in _TIMES.items():
        axes.plot(
            range(len(sized)), [entry["cost"][key] for entry in sized], color=color, marker=marker, lw=1.6, label=label
        )
        whole = next(entry for entry in controls if entry["key"] == "salience_whole")
        axes.axhline(whole["cost"][key], color=color, lw=1, dashes=(4, 2), label=f"{label}, whole photo")


def _finish(axes: Axes, sized: Sequence[Mapping[str, Any]], title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("side of the grey copies (pixels)")
    axes.set_ylabel(label)
    # Equal steps: sizes are doubled as a rule.
    axes.set_xticks(range(len(sized)), [str(entry["grey"]) for entry in sized])
    axes.set_xlim(-0.4, len(sized) - 0.6)
    axes.grid(visible=True, axis="y", color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
