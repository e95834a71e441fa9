"""Scores against severity, and the change under each condition, from the content of ``results.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.evaluation.tables import Document, curves, shown_scores
from experiments.figures import BLUE, ORANGE, PALE, PURPLE, VERMILION, draw, elide
from experiments.report import HEADINGS
from experiments.robustness.suite import IDENTITY

GREEN, SKY = "#009E73", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = {"roi": "-", "extra_roi": "--", "photo": ":"}
TITLES = {
    "permute_patches": "Patch permutation",
    "translate": "Translocation",
    "noise": "Gaussian noise",
    "blur": "Gaussian blur",
    "jpeg": "JPEG compression",
    "brightness": "Brightness",
}
LABELS = {
    "patch": "side of a patch (pixels of a picture of 224)",
    "dx": "shift to the right (pixels of a picture of 224)",
    "dy": "shift upwards (pixels of a picture of 224)",
    "dx_percent": "shift to the right (% of the side)",
    "dy_percent": "shift upwards (% of the side)",
    "sd": "standard deviation (grey levels, 0 to 255)",
    "sigma": "standard deviation (pixels of a picture of 224)",
    "quality": "JPEG quality, 1 to 100 (lower is stronger)",
    "factor": "factor on grey levels (1 changes nothing)",
}
_ACROSS = 3


@dataclass(frozen=True)
class Curve:
    """What one model did: entries by condition with ``scores`` and ``change``, and how it is drawn."""

    label: str
    conditions: Mapping[str, Any]
    color: str
    marker: str


def drawn_curves(document: Document) -> list[Curve]:
    """Return a curve per series of several runs (mean over them), and per run that belongs to none."""
    return [
        Curve(label, conditions, COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)])
        for place, (label, conditions) in enumerate(curves(document).items())
    ]


def save_severity(document: Document, score: str, path: Path) -> bool:
    """Draw a score against severity: a panel per swept parameter, a line per model and perturbed view.

    Returns:
        Whether there was anything to draw; no file is written for a suite without a sweep.
    """
    panels = _panels(document)
    if not panels:
        return False
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        models = drawn_curves(document)
        for axes, (kind, parameter) in zip(grid.flat, panels, strict=False):
            _severity_panel(axes, models, panels[kind, parameter], score)
            axes.set_title(TITLES.get(kind, kind))
            axes.set_xlabel(LABELS.get(parameter, parameter.replace("_", " ")))
        for row in grid:
            row[0].set_ylabel(f"{HEADINGS[score]} (1 is perfect)")
        views = dict.fromkeys(point["view"] for points in panels.values() for point in points)
        _legend(figure, models, list(views))
        if any(point["pixels"] for points in panels.values() for point in points):
            figure.supxlabel("(… px): pixels used in these pictures", size=8, color=PALE, x=0.99, ha="right")

    draw(path, (4.4 * across + 0.4, 3.3 * down + 1.0), fill)
    return True


def _panels(document: Document) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the swept conditions by (perturbation, parameter): name, view, value and pixels of each."""
    panels: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for run in document["runs"].values():
        for name, entry in run["conditions"].items():
            if entry["parameter"] is None or len(entry["perturbations"]) != 1:
                continue
            points = panels.setdefault((entry["perturbations"][0], entry["parameter"]), {})
            points.setdefault(
                name,
                {
                    "name": name,
                    "family": entry["family"],
                    "view": " + ".join(entry["inputs"]),
                    "value": entry["value"],
                    "pixels": entry["pixels"],
                },
            )
    return {key: list(points.values()) for key, points in panels.items()}


def _severity_panel(axes: Axes, models: Sequence[Curve], points: Sequence[Mapping[str, Any]], score: str) -> None:
    values = sorted({point["value"] for point in points})
    # Equal steps, so that the labels of near values do not meet; the values stand beside them.
    place = {value: number for number, value in enumerate(values)}
    for model in models:
        reference = model.conditions[IDENTITY]["scores"][score]
        if reference is not None:
            axes.axhline(reference, color=model.color, lw=0.8, dashes=(1, 2), alpha=0.9)
        for family in dict.fromkeys(point["family"] for point in points):
            mine = [point for point in points if point["family"] == family and point["name"] in model.conditions]
            mine.sort(key=lambda point: place[point["value"]])
            _severity_line(axes, model, mine, [place[point["value"]] for point in mine], score)
    labels = [_tick(value, next(point["pixels"] for point in points if point["value"] == value)) for value in values]
    axes.set_xticks(range(len(values)), labels)
    axes.set_xlim(-0.35, len(values) - 0.65)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(visible=True, color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelleft=True)


def _severity_line(axes: Axes, model: Curve, points: Sequence[Mapping[str, Any]], x: Sequence[int], score: str) -> None:
    scores = [model.conditions[point["name"]]["scores"] for point in points]
    if not scores or any(one[score] is None for one in scores):
        return
    view = points[0]["view"]
    y = [one[score] for one in scores]
    hollow = "white" if view != "roi" else model.color
    axes.plot(
        x, y, DASHES.get(view, "-."), color=model.color, marker=model.marker, ms=5, mfc=hollow, lw=1.5, clip_on=False
    )
    bounds = [one[f"{score}_ci"] for one in scores]
    if all(bound is not None for bound in bounds):
        low, high = ([bound[end] for bound in bounds] for end in (0, 1))
        axes.fill_between(x, low, high, color=model.color, alpha=0.10, lw=0)


def _tick(value: float, pixels: Mapping[str, float]) -> str:
    used = "/".join(f"{length:.3g}" for length in dict.fromkeys(pixels.values()))
    return f"{value:g}\n({used} px)" if used else f"{value:g}"


def _legend(figure: Figure, models: Sequence[Curve], views: Sequence[str]) -> None:
    handles = [Line2D([], [], color=model.color, marker=model.marker, lw=1.5) for model in models]
    labels = [elide(model.label, 40) for model in models]
    for view in views:
        filled = PALE if view == "roi" else "white"
        handles.append(Line2D([], [], color=PALE, ls=DASHES.get(view, "-."), marker="o", mfc=filled, lw=1.5))
        labels.append(f"{view} perturbed")
    handles.append(Line2D([], [], color=PALE, lw=0.8, dashes=(1, 2)))
    labels.append("unchanged pairs")
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)


def save_changes(document: Document, path: Path) -> bool:
    """Draw the change under each condition without a swept parameter: a dot with its 95 % interval per model.

    Returns:
        Whether there was anything to draw.
    """
    models = drawn_curves(document)
    names = [
        name
        for name in document["conditions"]
        if any("change" in model.conditions.get(name, {}) and _unswept(document, name) for model in models)
    ]
    if not names:
        return False
    scores = shown_scores(document)
    step = 0.7 / len(models)

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        for axes, score in zip(figure.subplots(1, len(scores), squeeze=False, sharey=True)[0], scores, strict=True):
            axes.axvline(0, color=PALE, lw=1)
            for number, model in enumerate(models):
                shift = (number - (len(models) - 1) / 2) * step
                for row, name in enumerate(names):
                    _change_dot(axes, model, name, score, row + shift)
            axes.set_title(HEADINGS[score])
            axes.set_xlabel("change against the unchanged pairs")
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
            for row in range(1, len(names)):
                axes.axhline(row - 0.5, color="#e3e3e3", lw=0.7)
            axes.grid(visible=True, axis="x", color="#e3e3e3", lw=0.7)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        handles = [Line2D([], [], color=model.color, marker=model.marker, lw=1.5) for model in models]
        labels = [elide(model.label, 40) for model in models]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)

    height = len(names) * max(0.45, 0.17 * len(models) + 0.15) + 1.4
    draw(path, (4.0 * len(scores) + 1.6, height), fill)
    return True


def _unswept(document: Document, name: str) -> bool:
    entries = [run["conditions"][name] for run in document["runs"].values() if name in run["conditions"]]
    return entries[0]["parameter"] is None


def _change_dot(axes: Axes, model: Curve, name: str, score: str, y: float) -> None:
    change = model.conditions.get(name, {}).get("change", {})
    value, interval = change.get(score), change.get(f"{score}_ci")
    if value is None:
        return
    if interval is not None:
        axes.plot(interval, [y, y], color=model.color, lw=1.5, solid_capstyle="butt")
    axes.plot([value], [y], model.marker, color=model.color, ms=5.5)
