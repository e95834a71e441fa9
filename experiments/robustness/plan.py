"""Which conditions of a suite apply to a model, and which module inputs they need, each of them once."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.index import PairIndex
from datasets.transforms import letterbox_box
from experiments.robustness.perturbations import REFERENCE_SIDE
from experiments.robustness.registry import Letterbox, distances
from experiments.robustness.released import released_box
from experiments.robustness.suite import IDENTITY, ONLY_VIEW, Condition, Suite, Variant
from utils.errors import ConfigError

Source = tuple[Variant | None, int]  # what is done to a view, and the seed (0 where nothing is random)
UNCHANGED: Source = (None, 0)


@dataclass(frozen=True)
class Plan:
    """The module inputs of a suite and how they are put together.

    Attributes:
        sources: by view, each distinct input of its module once.
        uses: by condition, one mapping from view to source for each seed (one for all where nothing is random).
    """

    sources: dict[str, list[Source]]
    uses: dict[str, list[dict[str, Source]]]

    @property
    def distinct_passes(self) -> int:
        """Module passes per pair."""
        return sum(len(sources) for sources in self.sources.values())

    @property
    def naive_passes(self) -> int:
        """Module passes per pair of a loop of forwards over conditions and seeds."""
        return len(self.sources) * sum(len(uses) for uses in self.uses.values())


def make_plan(conditions: Sequence[Condition], views: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Collect the distinct inputs of each view's module over all conditions and seeds."""
    uses = {
        condition.name: [
            {view: _source(condition, view, seed) for view in views}
            for seed in (seeds if condition.random else seeds[:1])
        ]
        for condition in conditions
    }
    everything = [use for each in uses.values() for use in each]
    sources = {view: list(dict.fromkeys(use[view] for use in everything)) for view in views}
    return Plan(sources, uses)


def _source(condition: Condition, view: str, seed: int) -> Source:
    variant = condition.inputs.get(view)
    if variant is None:
        return UNCHANGED
    return variant, seed if variant.random else 0


def applicable(suite: Suite, views: Sequence[str]) -> tuple[tuple[Condition, ...], dict[str, str]]:
    """Sort a suite's conditions into those that a model with these views can take, and the others with a reason.

    The view ``single`` is replaced by the only view of a one-view model.

    Raises:
        ConfigError: if the suite has conditions beside the identity and none of them applies.
    """
    fitting: list[Condition] = []
    reasons: dict[str, str] = {}
    for condition in suite.conditions:
        if ONLY_VIEW in condition.inputs and len(views) > 1:
            reasons[condition.name] = f"the run has {len(views)} views ({', '.join(views)}), not a single one"
            continue
        renamed = {views[0] if name == ONLY_VIEW else name: v for name, v in condition.inputs.items()}
        absent = [name for name in renamed if name not in views]
        if absent:
            reasons[condition.name] = f"the run has no view {' and '.join(absent)}"
        else:
            fitting.append(dataclasses.replace(condition, inputs=renamed))
    if len(fitting) == 1 and reasons:
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ConfigError(
            f"no condition of the suite {suite.path} applies to a run with the view{'s' * (len(views) > 1)} "
            f"{', '.join(views)} ({listed}); use a suite for these views, or write views: {ONLY_VIEW}"
        )
    assert fitting[0].name == IDENTITY
    return tuple(fitting), reasons


def pixels_used(condition: Condition, sides: dict[str, int]) -> dict[str, float]:
    """Return the lengths of a condition in pixels of the pictures; by view ("roi.patch") where views differ in side."""
    by_view = {view: distances(dict(variant.parameters), sides[view]) for view, variant in condition.inputs.items()}
    tables = list(by_view.values())
    if all(table == tables[0] for table in tables):
        return tables[0] if tables else {}
    return {f"{view}.{name}": value for view, table in by_view.items() for name, value in table.items()}


def check_patches(
    conditions: Sequence[Condition], index: PairIndex, sides: dict[str, int], letterbox: Letterbox
) -> list[str]:
    """Check that patches are small enough to be permuted.

    Returns:
        A note for each condition some of whose pictures hold fewer than two patches, and are left as they are.

    Raises:
        ConfigError: if no picture holds two patches; names condition, pixels used and the largest patch allowed.
    """
    notes: dict[str, None] = {}
    for condition in conditions:
        for view, variant in condition.inputs.items():
            if variant.perturbation != "permute_patches":
                continue
            side, written = sides[view], dict(variant.parameters)["patch"]
            patch = int(distances(dict(variant.parameters), side)["patch"])
            contents = content_sizes(index, side, letterbox)
            too_few = int((_patches(contents, patch, letterbox) < 2).sum())
            if too_few == len(index):
                largest = max(p for p in range(1, side) if (_patches(contents, p, letterbox) >= 2).any())
                raise ConfigError(
                    f"condition '{condition.name}': a patch of {patch} pixels ({written:g} at {REFERENCE_SIDE}) is too "
                    f"large for {view} pictures of {side} pixels, none of which holds two; use a patch of at most "
                    f"{largest} pixels ({largest * REFERENCE_SIDE // side} at {REFERENCE_SIDE})"
                )
            if too_few:
                notes[
                    f"{condition.name}: {too_few:,} of {len(index):,} {view} pictures hold fewer than two patches of "
                    f"{patch} pixels and are left as they are"
                ] = None
    return list(notes)


def content_sizes(index: PairIndex, side: int, letterbox: Letterbox) -> NDArray[np.int64]:
    """Return N×2: width and height in pixels of each pair's content inside a letterbox of ``side`` pixels."""
    sizes, rows = np.unique(index.size, axis=0, return_inverse=True)
    place = released_box if letterbox == "released" else letterbox_box
    boxes = [place(int(width), int(height), side) for width, height in sizes]
    return np.array([[box.width, box.height] for box in boxes], dtype=np.int64)[rows.reshape(-1)]


def _patches(contents: NDArray[np.int64], patch: int, letterbox: Letterbox) -> NDArray[np.int64]:
    """Return how many patches each content is cut into: whole ones, or with the released code's padding."""
    across_down = -(-contents // patch) if letterbox == "released" else contents // patch
    return across_down[:, 0] * across_down[:, 1]
