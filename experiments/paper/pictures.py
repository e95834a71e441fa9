"""Figure 6: F1 after each epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures import BLUE, ORANGE, PALE, PURPLE, VERMILION, draw, elide
from experiments.paper.finished import Finished
from utils.run_directory import RunDirectory

Curve = list[tuple[int, float]]

_COLORS = (BLUE, ORANGE, VERMILION, PURPLE)
# By what a run sees: dash and marker.
_STYLES = {"roi": ("--", "o", "ROI only"), "extra_roi": (":", "s", "extra-ROI only"), "both": ("-", "^", "both")}
_PANELS = {"macro_f1": "F1, all classes", "ambiguous_f1": "F1, ambiguous classes only"}


def curves_of(runs: Sequence[Finished]) -> dict[str, Curve]:
    """Return by score the mean over seeds of the test score after each epoch that all of a run's seeds scored."""
    logs = [RunDirectory(one.record.path).read_log() for one in runs]
    found: dict[str, Curve] = {}
    for name in _PANELS:
        values: dict[int, list[float]] = {}
        for rows in logs:
            for row in rows:
                score = (row.get("test") or {}).get(name)
                if score is not None:
                    values.setdefault(int(row["epoch"]), []).append(float(score))
        found[name] = [
            (epoch, float(np.mean(each))) for epoch, each in sorted(values.items()) if len(each) == len(logs)
        ]
    return found


def save_epoch_curves(labelled: Mapping[str, Sequence[Finished]], path: Path) -> bool:
    """Draw F1 against the epoch, one panel for all classes and one for the ambiguous ones.

    Colour tells the backbone, dash and marker what the run sees, so that a reader can follow either.

    Args:
        labelled: the runs of each curve, one per seed, by label.
        path: of the PNG; written only where a run was scored after its epochs.

    Returns:
        Whether there was anything to draw.
    """
    curves = {label: curves_of(runs) for label, runs in labelled.items() if runs}
    if not any(curve for found in curves.values() for curve in found.values()):
        return False
    models = list(dict.fromkeys(_model(labelled[label]) for label in curves))

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", wspace=0.06, w_pad=0.1, h_pad=0.1)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (name, title) in zip(panels, _PANELS.items(), strict=True):
            for label, found in curves.items():
                color = _COLORS[models.index(_model(labelled[label])) % len(_COLORS)]
                dash, marker, _ = _STYLES[_sees(labelled[label])]
                _draw_curve(axes, found[name], label, color, dash, marker)
            _finish(axes, title)
        top = max(score for found in curves.values() for curve in found.values() for _, score in curve)
        panels[0].set_ylim(-0.02, min(1.02, max(0.2, 1.1 * top)))  # shared by both
        foods = ", ".join(dict.fromkeys(name for runs in labelled.values() for one in runs for name in one.ambiguous))
        panels[1].set_title(
            f"{_PANELS['ambiguous_f1']}: {elide(foods, 50)}" if foods else _PANELS["ambiguous_f1"], pad=10
        )
        panels[0].set_ylabel("F1 on the test split (1 is perfect)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=3.2)

    draw(path, (11.5, 5.4), fill)
    return True


def _draw_curve(axes: Axes, curve: Curve, label: str, color: str, dash: str, marker: str) -> None:
    if not curve:
        return
    x, y = [epoch for epoch, _ in curve], [score for _, score in curve]
    fill = "white" if dash != "-" else color
    axes.plot(x, y, dash, color=color, marker=marker if len(x) <= 40 else "", ms=5, mfc=fill, lw=1.7, label=label)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, pad=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.margins(x=0.06)
    axes.grid(visible=True, color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.has_data():
        axes.text(0.5, 0.5, "not in this data", transform=axes.transAxes, ha="center", color=PALE)


def _sees(runs: Sequence[Finished]) -> str:
    views = runs[0].record.config.data
    return str(getattr(views, "view", "both"))


def _model(runs: Sequence[Finished]) -> str:
    return str(next(iter(runs[0].plan.backbones.values())))
