"""Pictures and tables of one run: curves, confusion matrix, per-class scores, the first batch.

Figures are drawn without pyplot, so nothing stays open and no display is needed. Colours are those of Okabe and Ito
(2008), which colour-blind readers can tell apart; every line also has a marker or a dash of its own.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from utils.batch import ViewSpec
from utils.files import write_atomic, write_text
from utils.metrics import Array, ClassRow

INK, PALE = "#333333", "#8a8a8a"
BLUE, ORANGE, VERMILION, PURPLE = "#0072B2", "#E69F00", "#D55E00", "#AA4499"
SPLITS = {"train": (BLUE, "o"), "val": (ORANGE, "s"), "test": (VERMILION, "^")}
CURVES = {"top1": ("top-1", "--"), "macro_f1": ("macro-F1", "-")}

# Class names in any script: the first fonts that this computer has, after matplotlib's own.
_FONTS = (
    "Noto Sans",
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "Arial Unicode MS",
)

LogRow = Mapping[str, Any]


def draw(path: Path, size: tuple[float, float], fill: Callable[[Figure], None], *, dpi: int = 130) -> None:
    """Write a PNG, whole or not at all: ``fill`` draws on an empty figure of ``size`` inches.

    Text is taken as it is: a dollar sign in a class name does not start a formula.
    """
    installed = {font.name for font in fontManager.ttflist}
    style: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *(name for name in _FONTS if name in installed)],
        "font.size": 9.0,
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": PALE,
        "axes.titlesize": 10.0,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": "white",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, dpi=dpi)
        fill(figure)
        write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def elide(text: str, length: int) -> str:
    """Shorten ``text`` to ``length`` characters, its end replaced by an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def save_curves(log_rows: Sequence[LogRow], path: Path) -> None:
    """Draw loss, scores and learning rates against the epoch.

    Args:
        log_rows: one mapping per epoch, as in ``log.jsonl``: ``epoch``, ``lr_backbone``, ``lr_head``, ``train``
            (``loss``, ``top1``) and, where they were scored, ``val`` and ``test`` (``top1``, ``macro_f1``, ``loss``).
            A value that is absent or None leaves a gap.
        path: of the PNG.
    """

    def fill(figure: Figure) -> None:
        # Fixed places, with room for three rows of legend: a layout engine would draw the whole figure twice.
        places = {"left": 0.055, "right": 0.985, "bottom": 0.29, "top": 0.91, "wspace": 0.24}
        loss, score, rate = figure.subplots(1, 3, gridspec_kw=places)
        for split in SPLITS:
            _curve(loss, log_rows, (split, "loss"), split, "-")
        for metric, (label, dash) in CURVES.items():
            for split in SPLITS:
                _curve(score, log_rows, (split, metric), f"{split} {label}", dash)
        rates = [[row.get(name) for row in log_rows] for name in ("lr_backbone", "lr_head")]
        if rates[0] == rates[1]:
            _line(rate, log_rows, rates[0], "backbone and head", BLUE, "-", "o")
        else:
            _line(rate, log_rows, rates[0], "backbone", BLUE, "-", "o")
            _line(rate, log_rows, rates[1], "head", PURPLE, "--", "D")
        rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        score.set_ylim(-0.02, 1.02)
        for axes in (loss, rate):
            axes.set_ylim(0, (1.05 * axes.dataLim.y1 if axes.has_data() else 0) or 1)
        for axes, title, label in (
            (loss, "Loss", "mean loss of a pair"),
            (score, "Scores", "fraction (1 is perfect)"),
            (rate, "Schedule", "learning rate"),
        ):
            _finish_curves(axes, title, label, [int(row["epoch"]) for row in log_rows])

    draw(path, (13.0, 4.4), fill)


def _curve(axes: Axes, log_rows: Sequence[LogRow], place: tuple[str, str], label: str, dash: str) -> None:
    split, name = place
    color, marker = SPLITS[split]
    values = [(row.get(split) or {}).get(name) for row in log_rows]
    if any(value is not None for value in values):
        _line(axes, log_rows, values, label, color, dash, marker)


def _line(
    axes: Axes, log_rows: Sequence[LogRow], values: Sequence[float | None], label: str, color: str, dash: str, mark: str
) -> None:
    points = [(row["epoch"], value) for row, value in zip(log_rows, values, strict=True) if value is not None]
    few = len(points) <= 40
    fill = "white" if dash == "--" else color
    x, y = [point[0] for point in points], [point[1] for point in points]
    axes.plot(x, y, dash, color=color, marker=mark if few else "", ms=4.5, mfc=fill, lw=1.6, label=label)


def _finish_curves(axes: Axes, title: str, label: str, epochs: Sequence[int]) -> None:
    axes.set_title(title, pad=10, y=1.0)  # a given height is not looked for
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    margin = max(0.5, 0.03 * len(epochs))
    axes.set_xlim(min(epochs, default=1) - margin, max(epochs, default=1) + margin)
    axes.grid(visible=True, color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=2, frameon=False, handlelength=2.6)


def save_per_class(rows: Sequence[ClassRow], names: Sequence[str], path: Path) -> None:
    """Write ``utils.metrics.per_class_table`` as CSV with class names: 6 decimals, undefined fractions empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class_index", "class", "support", "predicted", "precision", "recall", "f1"])
    for row, name in zip(rows, names, strict=True):
        fractions = ["" if value is None else f"{value:.6f}" for value in (row["precision"], row["recall"], row["f1"])]
        writer.writerow([row["class_index"], name, row["support"], row["predicted"], *fractions])
    write_text(path, text.getvalue())


def save_batch_mosaic(
    views: Mapping[str, Tensor], specs: Mapping[str, ViewSpec], labels: Sequence[str], path: Path, *, limit: int = 16
) -> None:
    """Draw the first pairs of a batch as the model sees them, one column per view, the class name above.

    Args:
        views: by view name, float B×3×H×W, normalised; the normalisation is undone for display only.
        specs: by view name, the statistics that were used.
        labels: B class names.
        path: of the PNG.
        limit: largest number of pairs shown.
    """
    pictures = {name: _displayed(pixels[:limit], specs[name]) for name, pixels in views.items()}
    count = min(limit, len(labels))
    across = max(1, min(count, 8 // len(views)))
    down = math.ceil(count / across)
    tile, gap, name_height, top = 1.45, 0.22, 0.42, 0.62
    width = max(5.0, across * len(views) * tile + (across + 1) * gap)
    height = top + down * (tile + name_height) + 0.12

    def fill(figure: Figure) -> None:
        figure.text(
            gap / width, 1 - 0.2 / height, "The first training batch as the model sees it", weight="bold", va="center"
        )
        caption = _spec_caption(specs)
        figure.text(gap / width, 1 - 0.42 / height, caption, color=PALE, size=7.5, va="center")
        for pair in range(count):
            row, column = divmod(pair, across)
            left = gap + column * (len(views) * tile + gap)
            bottom = height - top - (row + 1) * (tile + name_height)
            for place, (name, pixels) in enumerate(pictures.items()):
                box = (left + place * tile, bottom, tile - 0.04, tile - 0.04)
                axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
                axes.imshow(pixels[pair])
                axes.set_axis_off()
                axes.set_title(name, size=7, color=PALE, loc="left", pad=2, y=1.0, weight="normal")
            title = elide(labels[pair], 18 * len(views))
            figure.text(left / width, (bottom + tile + 0.13) / height, title, size=8.5, va="bottom")

    draw(path, (width, height), fill)


def _displayed(pixels: Tensor, spec: ViewSpec) -> Array:
    """Undo the normalisation: float B×3×H×W to B×H×W×3 in 0..1."""
    channels_last = pixels.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    return np.asarray((channels_last * np.asarray(spec.std) + np.asarray(spec.mean)).clip(0.0, 1.0))


def _spec_caption(specs: Mapping[str, ViewSpec]) -> str:
    def numbers(values: Sequence[float]) -> str:
        return ", ".join(f"{value:.3g}" for value in values)

    texts = {name: f"{s.size} px, mean {numbers(s.mean)}, std {numbers(s.std)}" for name, s in specs.items()}
    if len(set(texts.values())) == 1:
        return " and ".join(texts) + ": " + next(iter(texts.values()))
    return "\n".join(f"{name}: {text}" for name, text in texts.items())
