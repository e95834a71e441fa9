"""Pictures of IoUs and of what they cost, from the content of ``results.json``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.evaluation import plots
from experiments.figures import BLUE, INK, PALE, draw, elide
from experiments.mask_quality.sweep import ALL
from experiments.mask_quality.tables import label_of, shown_scores
from experiments.report import HEADINGS

_MOST_CLASSES = 20
_GRID = "#e3e3e3"
# The seven kinds of prompt that are asked for by default differ in colour and in marker.
COLORS = (*plots.COLORS, "#000000", "#8C510A")
MARKERS = (*plots.MARKERS, "X", "<")


def save_columns(part: Mapping[str, Any], path: Path) -> None:
    """Draw the IoUs of every kind of prompt and baseline: quartiles as a bar, the mean with its interval on it."""
    columns = part["columns"]

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        axes = figure.subplots()
        for row, column in enumerate(columns):
            found = part["overall"][column["name"]]
            color = BLUE if column["segmenter"] else PALE
            axes.barh(row, found["q75"] - found["q25"], left=found["q25"], height=0.55, color=color, alpha=0.25, lw=0)
            axes.plot([found["median"]] * 2, [row - 0.27, row + 0.27], color=color, lw=1.2)
            if found["mean_ci"] is not None:
                axes.plot(found["mean_ci"], [row, row], color=color, lw=2, solid_capstyle="butt")
            axes.plot([found["mean"]], [row], "o" if column["segmenter"] else "s", color=color, ms=6)
        axes.set_yticks(range(len(columns)), [label_of(column) for column in columns])
        axes.set_ylim(len(columns) - 0.5, -0.5)
        axes.set_title(f"{part['segmenter']['name']} against annotation")
        _finish(axes)
        handles = [
            Line2D([], [], color=INK, marker="o", lw=2),
            Line2D([], [], color=INK, lw=8, alpha=0.25),
            Line2D([], [], color=INK, marker="|", lw=0, ms=12),
        ]
        labels = ["mean, 95 % interval", "quartiles", "median"]
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)

    draw(path, (8.0, 0.36 * len(columns) + 1.6), fill)


def save_classes(part: Mapping[str, Any], path: Path) -> None:
    """Draw the mean IoU of the classes with most pairs, one dot per kind of prompt of the segmenter."""
    columns = [column for column in part["columns"] if column["segmenter"]]
    classes = sorted(part["classes"], key=lambda name: -part["classes"][name][columns[0]["name"]]["pairs"])
    shown = classes[:_MOST_CLASSES]
    step = 0.75 / len(columns)
    which = (
        "each class" if len(shown) == len(classes) else f"the {len(shown)} of {len(classes)} classes with most pairs"
    )

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        axes = figure.subplots()
        for number, column in enumerate(columns):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            hollow = "white" if number >= len(COLORS) else color
            for row, name in enumerate(shown):
                found = part["classes"][name][column["name"]]
                y = row + (number - (len(columns) - 1) / 2) * step
                if found["mean_ci"] is not None:
                    axes.plot(found["mean_ci"], [y, y], color=color, lw=1.2, solid_capstyle="butt")
                axes.plot([found["mean"]], [y], marker, color=color, mfc=hollow, ms=4.5)
        labels = [f"{elide(name, 30)} ({part['classes'][name][columns[0]['name']]['pairs']:,})" for name in shown]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        for row in range(1, len(shown)):
            axes.axhline(row - 0.5, color=_GRID, lw=0.7)
        axes.set_title(f"{part['segmenter']['name']} against annotation: mean IoU of {which} (pairs), 95 % intervals")
        _finish(axes)
        _legend(figure, [column["name"] for column in columns])

    draw(path, (8.0, len(shown) * max(0.5, 0.14 * len(columns)) + 1.8), fill)


def _finish(axes: Axes) -> None:
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("intersection over union with the annotation (1 is the same mask)")
    axes.grid(visible=True, axis="x", color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, names: Sequence[str], more: Sequence[tuple[Line2D, str]] = ()) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            mfc="white" if number >= len(COLORS) else COLORS[number % len(COLORS)],
            lw=1.5,
        )
        for number in range(len(names))
    ]
    handles += [handle for handle, _ in more]
    labels = [*(elide(name, 40) for name in names), *(label for _, label in more)]
    across = min(len(labels), max(2, int(figure.get_figwidth() / 1.9)))
    figure.legend(handles, labels, loc="outside lower center", ncols=across, frameon=False)


def save_two_by_two(part: Mapping[str, Any], path: Path) -> None:
    """Draw the scores of every cell: a panel per score, a row per tree, a dot per training."""
    scores, trees, sides = shown_scores(part), list(part["trees"]), part["trained"]

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        for axes, score in zip(figure.subplots(1, len(scores), squeeze=False, sharey=True)[0], scores, strict=True):
            for cell in part["cells"]:
                number = sides.index(cell["trained"])
                y = trees.index(cell["tree"]) + (number - (len(sides) - 1) / 2) * 0.3
                _dot(axes, cell["scores"], score, y, number)
            axes.set_title(HEADINGS[score])
            axes.set_xlabel("fraction (1 is perfect)")
            axes.set_yticks(range(len(trees)), [f"tested on\n{elide(tree, 24)}" for tree in trees])
            axes.set_ylim(len(trees) - 0.5, -0.5)
            axes.grid(visible=True, axis="x", color=_GRID, lw=0.7)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        _legend(figure, [f"trained on {side}" for side in sides])

    draw(path, (3.6 * len(scores) + 1.4, 0.9 * len(trees) + 1.6), fill)


def _dot(axes: Axes, scores: Mapping[str, Any], score: str, y: float, number: int) -> None:
    if scores[score] is None:
        return
    color = COLORS[number % len(COLORS)]
    if scores[f"{score}_ci"] is not None:
        axes.plot(scores[f"{score}_ci"], [y, y], color=color, lw=1.5, solid_capstyle="butt")
    axes.plot([scores[score]], [y], MARKERS[number % len(MARKERS)], color=color, ms=6)


def save_sweep(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw scores against the IoU that edited masks have left: a row per run, a panel per score, a line per edit.

    All panels have one scale.
    """
    scores = [score for score in shown_scores(entries[0]) if entries[0]["stored"][score] is not None]
    kinds = list(dict.fromkeys(edit["kind"] for edit in entries[0]["edits"]))
    lost = max(1 - edit["iou"]["mean"] for entry in entries for edit in entry["edits"])

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        grid = figure.subplots(len(entries), len(scores), squeeze=False, sharex=True, sharey=True)
        for row, entry in zip(grid, entries, strict=True):
            for axes, score in zip(row, scores, strict=True):
                _sweep_panel(axes, entry, score, kinds)
                axes.set_xlim(1.02, min(0.98, 1 - 1.08 * lost))
                axes.set_title(f"{elide(entry['trained'], 26)}: {HEADINGS[score]}")
                axes.set_xlabel("mean IoU with the stored masks")
            row[0].set_ylabel("fraction (1 is perfect)")
        line = Line2D([], [], color=PALE, lw=1.2, dashes=(4, 3))
        _legend(
            figure, kinds, [(line, f"points lost per 0.1 IoU ({ALL})")] if any(e["slopes"] for e in entries) else []
        )

    draw(path, (4.4 * len(scores) + 0.4, 3.3 * len(entries) + 0.7), fill)


def _sweep_panel(axes: Axes, entry: Mapping[str, Any], score: str, kinds: Sequence[str]) -> None:
    stored = entry["stored"][score]
    for number, kind in enumerate(kinds):
        edits = [edit for edit in entry["edits"] if edit["kind"] == kind and edit["scores"][score] is not None]
        color = COLORS[number % len(COLORS)]
        x = [1.0, *(edit["iou"]["mean"] for edit in edits)]
        axes.plot(
            x, [stored, *(edit["scores"][score] for edit in edits)], color=color, marker=MARKERS[number], ms=5, lw=1.4
        )
        bounds = [entry["stored"][f"{score}_ci"], *(edit["scores"][f"{score}_ci"] for edit in edits)]
        if all(bound is not None for bound in bounds):
            axes.fill_between(x, [b[0] for b in bounds], [b[1] for b in bounds], color=color, alpha=0.08, lw=0)
    slope = entry["slopes"].get(score, {}).get(ALL)
    if slope is not None:
        far = min(edit["iou"]["mean"] for edit in entry["edits"])
        axes.plot([1.0, far], [stored, stored - slope["points"] / 10 * (1 - far)], color=PALE, lw=1.2, dashes=(4, 3))
    axes.grid(visible=True, color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
