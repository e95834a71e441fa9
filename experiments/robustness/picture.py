"""The transformed views side by side, as in the paper's Figure 7."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.figures import BLUE, INK, PALE, draw, elide
from experiments.robustness.plan import applicable, check_patches, make_plan
from experiments.robustness.registry import PERTURBATIONS
from experiments.robustness.run import bar_level, pairs_for, perturb, pictures_of
from experiments.robustness.suite import Condition, Suite
from utils.batch import ViewSpec
from utils.data_sections import DataConfig

TILE, GAP, LEFT, HEAD, FAMILY, TITLE, NAME = 1.15, 0.06, 0.32, 0.6, 0.3, 0.2, 0.24  # inches

Shown = dict[tuple[str, str], NDArray[np.uint8]]  # by condition and view: pictures R×S×S×3


@dataclass(frozen=True)
class _Band:
    """Conditions that stand side by side, the views that are drawn of them, and a heading where they are a sweep."""

    conditions: Sequence[Condition]
    views: Sequence[str]
    heading: str | None

    def height(self, pairs: int) -> float:
        """Inches that the band takes with so many pairs."""
        titles = TITLE + (0.0 if self.heading is None else FAMILY)
        return titles + pairs * (NAME + len(self.views) * (TILE + GAP)) + 0.08


def save_transformed_views(
    specs: Mapping[str, ViewSpec],
    data: DataConfig,
    index: PairIndex,
    suite: Suite,
    rows: Sequence[int],
    path: Path,
    *,
    columns: int = 9,
) -> None:
    """Draw pairs as a model gets them under each condition of a suite: one column per condition, one row per view.

    A sweep stands in a band of its own, beside the identity, with the views that it changes. Changed views have a blue
    frame. Random perturbations are those of the suite's first seed.

    Args:
        specs: by view, what the model asks of its picture (``model.view_specs``).
        data: the run's data section; the colour of the bars is read from it.
        index: the pairs.
        suite: the conditions; those that do not apply to these views are left out.
        rows: rows of the index to draw.
        path: of the PNG.
        columns: largest number of conditions side by side; further ones follow below.

    Raises:
        ConfigError: no condition applies, or a patch is larger than these pictures.
    """
    conditions, _ = applicable(suite, list(specs))
    chosen = index.subset(list(rows))
    check_patches(conditions, chosen, {view: spec.size for view, spec in specs.items()}, suite.letterbox)
    shown = _perturbed(specs, data, chosen, suite, conditions)
    bands = _bands(conditions, list(specs), columns)
    width = max(4.5, LEFT + max(len(band.conditions) for band in bands) * (TILE + GAP) + 0.1)
    height = HEAD + sum(band.height(len(chosen)) for band in bands) + 0.05

    def fill(figure: Figure) -> None:
        page = _Page(figure, width, height)
        page.text(0.1, height - 0.22, f"Suite {suite.name}: the views under each condition", weight="bold", size=10)
        sides = " and ".join(str(side) for side in sorted({spec.size for spec in specs.values()}))
        caption = f"blue frame: changed; seed {suite.seeds[0]} where random; pictures of {sides} pixels"
        page.text(0.1, height - 0.42, caption, size=7.5, color=PALE)
        top = height - HEAD
        for band in bands:
            _draw_band(page, band, chosen, shown, top)
            top -= band.height(len(chosen))

    draw(path, (width, height), fill)


class _Page:
    """One pair of axes over a whole figure, measured in inches from the lower left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def text(self, left: float, bottom: float, text: str, **style: Any) -> None:  # noqa: ANN401  # matplotlib's text properties
        """Write a text."""
        self.axes.text(left, bottom, text, **style)

    def tile(self, left: float, bottom: float, picture: NDArray[np.uint8], *, changed: bool) -> None:
        """Draw a square picture with a frame."""
        extent = (left, left + TILE, bottom, bottom + TILE)
        self.axes.imshow(picture, interpolation="nearest", extent=extent, aspect="auto")
        color, width = (BLUE, 1.8) if changed else ("#d8d8d8", 0.6)
        self.axes.add_patch(Rectangle((left, bottom), TILE, TILE, fill=False, edgecolor=color, linewidth=width))


def _bands(conditions: Sequence[Condition], views: Sequence[str], columns: int) -> list[_Band]:
    """Put each sweep behind the identity in bands of its own, and all other conditions in common ones."""
    identity, plain = conditions[0], [condition for condition in conditions if condition.parameter is None]
    bands = [_Band(plain[start : start + columns], views, None) for start in range(0, len(plain), columns)]
    if len(plain) == 1 < len(conditions):
        bands = []  # the identity stands in every sweep
    swept = [condition for condition in conditions if condition.parameter is not None]
    for _, members in groupby(swept, key=lambda condition: condition.family):
        sweep = list(members)
        changed = [view for view in views if view in sweep[0].inputs]
        for start in range(0, len(sweep), columns - 1):
            part = sweep[start : start + columns - 1]
            bands.append(_Band([identity, *part], changed, _heading(sweep[0])))
    return bands


def _heading(condition: Condition) -> str:
    (perturbation, *_) = (variant.perturbation for variant in condition.inputs.values())
    unit = PERTURBATIONS[perturbation].parameters[str(condition.parameter)].unit
    return f"{condition.family}: {condition.parameter} ({unit})"


def _perturbed(
    specs: Mapping[str, ViewSpec],
    data: DataConfig,
    index: PairIndex,
    suite: Suite,
    conditions: Sequence[Condition],
) -> Shown:
    batch = pairs_for(index, specs, data, suite.letterbox).__getitems__([(0, row) for row in range(len(index))])
    plan = make_plan(conditions, list(specs), suite.seeds[:1])
    level = bar_level(data, suite.letterbox)
    views = pictures_of(batch, index, torch.device("cpu"), level, suite.letterbox)
    made = {
        (pictures.view, source): perturb(source, pictures)[0].permute(0, 2, 3, 1).numpy()
        for pictures in views
        for source in plan.sources[pictures.view]
    }
    return {(name, view): made[view, source] for name, (use,) in plan.uses.items() for view, source in use.items()}


def _draw_band(page: _Page, band: _Band, index: PairIndex, shown: Shown, top: float) -> None:
    lefts = [LEFT + place * (TILE + GAP) for place in range(len(band.conditions))]
    if band.heading is not None:
        page.text(0.1, top - FAMILY + 0.1, band.heading, size=8.5, weight="bold")
        top -= FAMILY
    for left, condition in zip(lefts, band.conditions, strict=True):
        title = condition.name if condition.value is None else f"{condition.value:g}"
        page.text(left, top - TITLE + 0.06, title, size=7, weight="bold")
    top -= TITLE
    for pair in range(len(index)):
        label = f"{index.classes.names[index.label[pair]]} · {index.stems[pair]}"
        page.text(LEFT, top - NAME + 0.07, elide(label, int(15 * len(lefts) * TILE)), size=7.5, color=INK)
        top -= NAME
        for view in band.views:
            page.text(0.1, top - TILE / 2, view, size=7.5, color=PALE, rotation=90, va="center")
            for left, condition in zip(lefts, band.conditions, strict=True):
                picture = shown[condition.name, view][pair]
                page.tile(left, top - TILE, picture, changed=view in condition.inputs)
            top -= TILE + GAP
