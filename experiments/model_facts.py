"""What a model says of itself after each epoch, ``log.jsonl`` row["model"]: in a line, and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.confusion import BLUES
from experiments.figures import INK, LogRow, draw

_NUMBERED = 12  # epochs whose cells carry numbers
_NAMED = 20  # views that each have a line
_IN_LINE = 9  # views whose shares fit a line


def facts_line(facts: Mapping[str, Any]) -> list[str]:
    """Return the parts of an epoch's line that tell of its model: how often each view was looked at, in percent."""
    shares = facts.get("view_shares")
    if not shares:
        return []
    percent = [f"{100 * share:.0f}" for share in shares]
    if len(percent) > _IN_LINE:
        most = int(np.argmax(shares))
        return [f"most looked at: view {most}, {percent[most]} %"]
    return [f"views {'/'.join(percent)} %"]


def save_view_shares(log_rows: Sequence[LogRow], path: Path) -> None:
    """Draw how often each view was looked at in the training of each epoch; nothing of a model that chooses none.

    Args:
        log_rows: one mapping per epoch, as in ``log.jsonl``, of which ``epoch`` and ``model`` (``view_shares``: V
            fractions, the whole picture first) are used.
        path: of the PNG.
    """
    rows = [row for row in log_rows if row.get("model", {}).get("view_shares")]
    if not rows:
        return
    shares = 100 * np.array([row["model"]["view_shares"] for row in rows], dtype=np.float64).T
    views, epochs = shares.shape
    height = min(8.0, 0.28 * max(views, 6)) + 1.3

    def fill(figure: Figure) -> None:
        axes = figure.add_axes((0.1, 0.62 / height, 0.78, (height - 1.1) / height))
        first, last = rows[0]["epoch"], rows[-1]["epoch"]
        extent = (first - 0.5, last + 0.5, views - 0.5, -0.5)
        highest = max(float(shares.max()), 1.0)
        image = axes.imshow(
            shares, cmap=BLUES, vmin=0, vmax=highest, extent=extent, aspect="auto", interpolation="nearest"
        )
        axes.set_title("Views looked at in training", pad=8, y=1.0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        shown = range(0, views, -(-views // _NAMED))
        axes.set_yticks(shown, ["whole" if view == 0 else f"view {view}" for view in shown])
        axes.tick_params(length=0)
        axes.hlines(np.arange(views + 1) - 0.5, extent[0], extent[1], color="white", lw=1.0)
        bar = figure.colorbar(image, cax=figure.add_axes((0.905, 0.62 / height, 0.018, (height - 1.1) / height)))
        bar.set_label("share of the pairs (%)")
        if epochs <= _NUMBERED and views <= _NAMED:
            for (view, column), share in np.ndenumerate(shares):
                color = "white" if share > 0.55 * highest else INK
                axes.text(rows[column]["epoch"], view, f"{share:.0f}", ha="center", va="center", size=8, color=color)

    draw(path, (7.0, height), fill)
