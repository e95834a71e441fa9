"""Runs explained by class activation maps: what each answers to a batch, in numbers and in pictures."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.explanation.maps import Explainer, Explanation, explaining, parts_of
from experiments.explanation.measures import (
    MEASURES,
    Masks,
    OtherCuts,
    ViewMeasures,
    bars,
    blacked_out,
    departure,
    enlarge,
    measure,
    one_scale,
)
from experiments.explanation.opened import Answer, Guess, OpenRun, Outcome, Target, picture_of
from experiments.explanation.own_runs import OwnMapsRun, check_own_maps
from experiments.explanation.part_panels import PART_MEASURES, part_names, part_numbers, part_outcome, part_panels
from experiments.explanation.pictures import Frame
from experiments.explanation.sheets import PLACES_ONLY, Panel, RunRow, ViewPicture
from experiments.explanation.summary import LARGEST_DEPARTURE, percent, sentences, summarise_run
from experiments.kinds import Model
from experiments.runs import RunRecord
from Off_the_shelfs.own_maps import OWN_METHODS
from utils.batch import Batch


class ActivationRun(OpenRun):
    """A run explained by class activation maps, one for each of its views; with the part that it looks at, if any."""

    def __init__(
        self,
        record: RunRecord,
        model: Model,
        explainer: Explainer,
        device: torch.device,
        pairs: int,
        columns: list[int],
    ) -> None:
        super().__init__(record, model, device, columns)
        self._explainer = explainer
        self._parts = parts_of(model, self._empty_views())
        self.panels = {view: [view] for view in self.views}
        self.table = {view: [f"{name}_{view}" for name in MEASURES] for view in self.views}
        for view, parts in self._parts.items():
            self.panels[view] += part_names(view, parts)
            self.table[view] += [f"{name}_{view}" for name in PART_MEASURES]
        self._keep_room(pairs)
        self._cuts: dict[str, list[Masks]] = {view: [] for view in self.views}
        self._cut_groups: list[NDArray[np.integer[Any]]] = []

    def layers(self) -> dict[str, Any]:
        """Return where each module's map comes from: layer, its kind, the grid's cells, tokens that were left out."""
        return {
            view: {
                "name": layer.name,
                "kind": type(layer.module).__name__,
                "cells": [layer.height, layer.width],
                "channels": layer.channels,
                "prefix_tokens": layer.prefix_tokens,
            }
            for view, layer in self._explainer.layers.items()
        }

    def add_cuts(self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64]) -> None:
        """Take the cuts of some pairs as a control, before any answer: maps of other groups are held against them."""
        for view, frame in self.frames.items():
            self._cuts[view].append(_cut(pictures[frame], view))
        self._cut_groups.append(index.group[rows])

    def answer(
        self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64], at: int, target: Target
    ) -> Answer:
        """Explain a batch; see ``OpenRun.answer``."""
        label = index.label[rows].astype(np.int64)
        batches = {view: pictures[frame] for view, frame in self.frames.items()}
        wanted = None if target == "predicted" else torch.from_numpy(label).to(self._device)
        found = self._explainer.explain(self._inputs(batches), wanted)
        guess = Guess(found.logits, found.target, label)
        counts = measure(
            found.maps,
            found.contributions,
            {view: _cut(batch, view) for view, batch in batches.items()},
            {view: bars(batch.content_box[view], self.frames[view].size) for view, batch in batches.items()},
            self._others(index.group[rows]),
            {view: found.places(view) for view in batches},
        )
        numbers = {f"{name}_{view}": getattr(counts[view], name) for view in self.views for name in MEASURES}
        for view, parts in found.parts.items():
            numbers |= {f"{name}_{view}": values for name, values in part_numbers(parts, batches[view], view).items()}
        self._keep(at, {"correct": guess.predicted == label, **numbers})
        texts, titles = self._words(guess, index.classes.names)
        views = self._pictures(found, counts, batches)
        shown = [
            RunRow(titles[place], bool(guess.predicted[place] == label[place]), views[place])
            for place in range(len(rows))
        ]
        photos = [picture_of(batches[self.views[0]], "photo", place) for place in range(len(rows))]
        return Answer(texts, numbers, shown, photos)

    def outcome(self, label: NDArray[Any], groups: NDArray[Any], names: Sequence[str]) -> Outcome:
        """Return the means and the sentences that they support."""
        layers = self.layers()
        measured = summarise_run(self.columns(), self.views, label, groups, names)
        alarms, remarks = sentences(self.record.name, measured, layers)
        if self._parts:
            measured["parts"], further = part_outcome(self.record.name, self.columns(), self._parts, groups)
            remarks += further
        return Outcome({"layers": layers, **measured}, alarms, remarks)

    def _pictures(
        self, found: Explanation, counts: Mapping[str, ViewMeasures], batches: Mapping[str, Batch]
    ) -> list[dict[str, Panel]]:
        """Return the panels of each pair by name."""
        pairs: list[dict[str, Panel]] = [{} for _ in range(len(found.target))]
        heats = one_scale(found.maps)
        for view, batch in batches.items():
            places, heat = found.places(view), heats[view]
            if places is not None:
                heat = enlarge(heat, self.frames[view].size, places)
            for place, panels in enumerate(pairs):
                panels[view] = ViewPicture(
                    pixels=picture_of(batch, view, place),
                    heat=heat[place],
                    captions=_captions(view, counts[view], place),
                    places_only=_places_only(counts[view], place),
                    frame=None if places is None else places[place],
                )
                if view in found.parts:
                    panels |= part_panels(found.parts[view], picture_of(batch, view, place), view, place)
        return pairs

    def _others(self, groups: NDArray[np.integer[Any]]) -> dict[str, OtherCuts]:
        counted = groups[:, None] != np.concatenate(self._cut_groups)[None]
        self._cuts = {view: [np.concatenate(masks)] for view, masks in self._cuts.items()}
        return {view: OtherCuts(masks[0], counted) for view, masks in self._cuts.items()}


def open_runs(
    stack: ExitStack,
    records: Sequence[RunRecord],
    index: PairIndex,
    method: str,
    least_cells: int,
    device: torch.device,
    pairs: int,
) -> list[OpenRun]:
    """Load the models of some runs; the stack puts them back into their old state.

    Raises:
        ConfigError: a module without a spatial layer, or a model without maps of its own that the method names.
    """
    runs: list[OpenRun] = []
    for record in records:
        model = record.load_model(device)
        columns = record.columns(index)
        if method in OWN_METHODS:
            check_own_maps(method, record.name, model)
            runs.append(OwnMapsRun(record, model, method, device, pairs, columns))
            continue
        explainer = stack.enter_context(explaining(model, method, columns=columns, least_cells=least_cells))
        runs.append(ActivationRun(record, model, explainer, device, pairs, columns))
    return runs


def _cut(batch: Batch, view: str) -> Masks:
    return blacked_out(batch.views[view], batch.views["photo"])


def _places_only(counts: ViewMeasures, place: int) -> bool:
    one = slice(place, place + 1)
    return departure(counts.map_sum[one], counts.contribution[one]) > LARGEST_DEPARTURE


def _captions(view: str, counts: ViewMeasures, place: int) -> list[str]:
    share, heat = float(counts.evidence_share[place]), float(counts.blacked_heat[place])
    name = f"{view}{PLACES_ONLY}" if _places_only(counts, place) else view
    lines = [name if np.isnan(share) else f"{name}: {percent(share)} of the evidence"]
    if view != "photo":
        hot = "no heat" if np.isnan(heat) else f"{percent(heat)} of heat"
        lines.append(f"cut out: {percent(float(counts.blacked_area[place]))} of area, {hot}")
    return lines
