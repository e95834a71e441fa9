"""The page of a gallery, which links its pictures, and the figure of evidence per class."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.explanation.own_summary import WHAT, own_legend, own_means_table
from experiments.explanation.sheets import PLACES_ONLY
from experiments.explanation.summary import LARGEST_DEPARTURE, percent
from experiments.figures import BLUE, ORANGE, PURPLE, VERMILION, draw, elide
from experiments.report import format_score, html_page, text_table
from Off_the_shelfs.own_maps import OWN_METHODS
from utils.files import write_text

NOTHING_CUT_OUT = dict.fromkeys(("heat", "heat_ci", "area", "control"))  # of a view that shows the whole photo
_MARKS = ((VERMILION, "o"), (BLUE, "s"), (ORANGE, "^"), (PURPLE, "D"))


def save_class_shares(runs: Mapping[str, Any], path: Path) -> bool:
    """Draw each class's mean share of evidence in the surroundings, with its interval; say whether there was any.

    Args:
        runs: by name, what ``summarise_run`` returns; runs of one view are left out.
        path: of the PNG.
    """
    shown = {name: run["by_class"] for name, run in runs.items() if any(_defined(run["by_class"]))}
    if not shown:
        return False
    order = [row["class"] for row in next(iter(shown.values()))]
    height = 1.5 + (0.2 + 0.08 * (len(shown) - 1)) * max(4, len(order))

    def fill(figure: Figure) -> None:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for number, (name, rows) in enumerate(shown.items()):
            offset = 0.7 * ((number + 0.5) / len(shown) - 0.5)
            _draw_run(axes, name, rows, order, number, offset)
        pairs = {row["class"]: row["pairs"] for row in next(iter(shown.values()))}
        labels = [f"{elide(name, 28)} ({pairs[name]:,})" for name in order]
        axes.set_yticks(range(len(order)), labels, fontsize=8)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("part of the evidence that comes from extra_roi (%), mean and 95 % interval")
        axes.set_title("Which classes lean on their surroundings?", pad=10)
        axes.grid(visible=True, axis="x", color="#e3e3e3", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower left", frameon=False, ncols=2)

    draw(path, (8.0, height), fill)
    return True


def write_page(path: Path, summary: Mapping[str, Any], sheets: Sequence[tuple[str, str]], classes_file: str) -> None:
    """Write ``index.html``: what was explained, the means, and links to the sheets beside it.

    Args:
        path: of the page.
        summary: content of ``summary.json``.
        sheets: heading and file name of each sheet.
        classes_file: name of the figure of evidence per class; left out where it does not exist.
    """
    legend = own_legend(summary) if summary["method"] in OWN_METHODS else _legend(summary)
    title = f"Explanations of {summary['n_pairs']:,} pairs by {WHAT.get(summary['method'], summary['method'])}"
    parts = [f"<pre>{html.escape(table_of(summary))}</pre>"]
    parts += [f"<p><strong>{html.escape(line)}</strong></p>" for line in summary["alarms"]]
    parts += [f"<p>{html.escape(line)}</p>" for line in [*legend, *summary["notes"]]]
    if (path.parent / classes_file).is_file():
        parts.append(f'<figure><img src="{classes_file}" alt="evidence per class" loading="lazy"></figure>')
    last = ""
    for heading, name in sheets:
        if heading != last:
            parts.append(f"<h2>{html.escape(heading)}</h2>")
            last = heading
        source = html.escape(f"sheets/{name}", quote=True)
        parts.append(f'<figure><a href="{source}"><img src="{source}" alt="{source}" loading="lazy"></a></figure>')
    write_text(path, html_page(title, parts))


def table_of(summary: Mapping[str, Any]) -> str:
    """Return a plain-text table of the means of ``summary.json``."""
    table = own_means_table if summary["method"] in OWN_METHODS else means_table
    return table(summary["runs"])


def means_table(runs: Mapping[str, Any]) -> str:
    """Return a plain-text table of the means, one row per run and view."""
    rows = []
    for name, run in runs.items():
        for view, share in run["evidence_share"].items():
            heat = run["heat_on_blacked_out"][view] if view != "photo" else NOTHING_CUT_OUT
            rows.append(
                {
                    "run": name,
                    "view": view,
                    "share": format_score(share["mean"], share["mean_ci"]),
                    "heat": format_score(heat["heat"], heat["heat_ci"]),
                    "area": format_score(heat["area"]),
                    "control": format_score(heat["control"]),
                    "contribution": format_score(run["contribution"][view]["mean"]),
                    "bars": format_score(run["heat_on_bars"][view]["heat"]),
                    "top1": format_score(run["top1"]),
                }
            )
    headings = {
        "run": "run",
        "view": "view",
        "share": "share of evidence",
        "contribution": "adds to logit",
        "heat": "heat on cut-out pixels",
        "area": "their area",
        "control": "excess, other cuts",
        "bars": "heat on bars",
        "top1": "top-1 here",
    }
    return text_table(rows, headings)


def _legend(summary: Mapping[str, Any]) -> list[str]:
    of = "the predicted class" if summary["target"] == "predicted" else "the true class"
    lines = [
        f"Everything speaks for {of}, y its logit. A module with features f_i adds Σ f_i ∂y/∂f_i to the logit; its "
        f"evidence is the positive part Σ max(0, f_i ∂y/∂f_i), and its share of evidence is that over the sum for all "
        f"modules. These numbers, in logits, come from no map, so method, layer and --least_cells do not change them; "
        f"features of zero stand for nothing seen.",
        "Both maps of a pair are divided by one number, its strongest evidence per area. Colours of two modules can be "
        "compared where a map's cells add up to what the module adds to the logit; where they are off by more than "
        f"{percent(LARGEST_DEPARTURE)}, the module's name has an asterisk ({PLACES_ONLY}) under the picture: that map "
        "shows where, not how much.",
        "Pixels that the cut made black hold no picture: heat there beyond their part of the area, and beyond what "
        "the same maps have under the cuts of other pairs (the control), hints that the outline is read. It depends on "
        "the layer, so neither an alarm nor its absence settles the question. Brackets hold 95 % intervals from a "
        "bootstrap over groups; they speak of these pairs alone, and another seed of the same training can differ by "
        "more.",
    ]
    if not summary["maps_have_a_unit"]:
        lines.append(f"{summary['method']} draws principal components, whose maps have neither sign nor unit.")
    return lines


def _defined(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [row["extra_roi_share"] is not None for row in rows]


def _draw_run(
    axes: Axes, name: str, rows: Sequence[Mapping[str, Any]], order: Sequence[str], number: int, offset: float
) -> None:
    color, marker = _MARKS[number % len(_MARKS)]
    shares = [row["extra_roi_share"] for row in rows if row["extra_roi_share"] is not None]
    overall = float(np.mean(shares))
    axes.axvline(100 * overall, color=color, lw=0.9, ls=":")
    label = f"{name} (mean of classes {percent(overall)})"
    for row in rows:
        if row["extra_roi_share"] is None:
            continue
        place, share = order.index(row["class"]) + offset, 100 * row["extra_roi_share"]
        if row["extra_roi_share_ci"] is not None:
            low, high = (100 * value for value in row["extra_roi_share_ci"])
            axes.plot([low, high], [place, place], color=color, lw=1.4, alpha=0.6)
        axes.plot([share], [place], color=color, marker=marker, ms=5, ls="", label=label)
        label = "_"  # one entry in the legend
