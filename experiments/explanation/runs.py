"""Finished runs, opened for explanation: what each answers to a batch, in numbers and in pictures."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from datasets.index import PairIndex
from experiments.explanation.lettering import Picture
from experiments.explanation.maps import Explainer, explaining
from experiments.explanation.measures import (
    MEASURES,
    Masks,
    OtherCuts,
    ViewMeasures,
    bars,
    blacked_out,
    departure,
    measure,
    one_scale,
)
from experiments.explanation.pictures import Frame, frames_of
from experiments.explanation.sheets import PLACES_ONLY, RunRow, ViewPicture
from experiments.explanation.summary import LARGEST_DEPARTURE, percent
from experiments.kinds import Model
from experiments.runs import RunRecord
from utils.batch import Batch, normalise

ANSWER = ("prediction", "correct", "probability", "truth_probability", "target", "target_logit")
KEY = ("run", "section", "sheet", "split", "class", "stem", "group")


def table_header(views: Sequence[str]) -> list[str]:
    """Return the columns of ``explanations.csv``: key, answer, and each measure of each view."""
    return [*KEY, *ANSWER, *(f"{name}_{view}" for view in views for name in MEASURES)]


@dataclass(frozen=True)
class Answer:
    """One run's answer to B pairs: cells of the table, rows of the sheets, photos uint8 S×S×3."""

    texts: list[list[object]]
    measures: dict[str, ViewMeasures]
    pictures: list[RunRow]
    photos: list[Picture]

    def cells(self, place: int, views: Sequence[str]) -> list[object]:
        """Return the cells of one pair after its key; a view that the run lacks and undefined values are empty."""
        result = list(self.texts[place])
        for view in views:
            counts = self.measures.get(view)
            for name in MEASURES:
                value = float("nan") if counts is None else float(getattr(counts, name)[place])
                result.append("" if np.isnan(value) else f"{value:.6g}")
        return result


class OpenRun:
    """A run whose model is loaded, with a few numbers for each of the pairs that it has explained.

    Attributes:
        record: the run.
        views: names of its views.
        frames: how each view is letterboxed.
    """

    def __init__(self, record: RunRecord, model: Model, explainer: Explainer, device: torch.device, pairs: int) -> None:
        self.record, self.views = record, list(model.view_specs)
        self.frames: dict[str, Frame] = frames_of(record, model.view_specs)
        self._model, self._explainer, self._device = model, explainer, device
        names = ["correct", *(f"{name}_{view}" for view in self.views for name in MEASURES)]
        self._cuts: dict[str, list[Masks]] = {view: [] for view in self.views}
        self._cut_groups: list[NDArray[np.integer[Any]]] = []
        self._columns = {name: np.full(pairs, np.nan, np.float32) for name in names}

    def columns(self) -> Mapping[str, NDArray[np.float32]]:
        """Return what was counted on each pair, by name; NaN where undefined."""
        return self._columns

    def layers(self) -> dict[str, dict[str, Any]]:
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
        self,
        index: PairIndex,
        pictures: Mapping[Frame, Batch],
        rows: NDArray[np.int64],
        at: int,
        target: Literal["predicted", "truth"],
    ) -> Answer:
        """Explain a batch and keep its numbers from position ``at`` on.

        Args:
            index: the pairs.
            pictures: the batch in every frame.
            rows: of the index, in the batch's order.
            at: position of the first pair among all that are explained.
            target: which class the maps speak of.
        """
        label = index.label[rows].astype(np.int64)
        batches = {view: pictures[frame] for view, frame in self.frames.items()}
        inputs = {
            view: normalise(batch.views[view].to(self._device, non_blocking=True), self._model.view_specs[view])
            for view, batch in batches.items()
        }
        wanted = None if target == "predicted" else torch.from_numpy(label).to(self._device)
        found = self._explainer.explain(inputs, wanted)
        counts = measure(
            found.maps,
            found.contributions,
            {view: _cut(batch, view) for view, batch in batches.items()},
            {view: bars(batch.content_box[view], self.frames[view].size) for view, batch in batches.items()},
            self._others(index.group[rows]),
        )
        predicted = found.logits.argmax(axis=1)
        self._keep(at, predicted == label, counts)
        names = index.classes.names
        texts, titles = [], []
        probability = softmax(found.logits.astype(np.float64), axis=1)
        for place, (guess, truth, goal) in enumerate(zip(predicted, label, found.target, strict=True)):
            sure, of_truth = probability[place, guess], probability[place, truth]
            logit = f"{found.logits[place, goal]:.6g}"
            texts.append([names[guess], int(guess == truth), f"{sure:.6f}", f"{of_truth:.6f}", names[goal], logit])
            titles.append(self._title(names[guess], float(sure), None if goal == guess else names[goal]))
        heats = one_scale(found.maps)
        shown = [
            RunRow(
                title=titles[place],
                right=bool(predicted[place] == label[place]),
                views={
                    view: ViewPicture(
                        pixels=_picture(batch, view, place),
                        heat=heats[view][place],
                        captions=_captions(view, counts[view], place),
                        places_only=_places_only(counts[view], place),
                    )
                    for view, batch in batches.items()
                },
            )
            for place in range(len(rows))
        ]
        photos = [_picture(batches[self.views[0]], "photo", place) for place in range(len(rows))]
        return Answer(texts, counts, shown, photos)

    def _others(self, groups: NDArray[np.integer[Any]]) -> dict[str, OtherCuts]:
        counted = groups[:, None] != np.concatenate(self._cut_groups)[None]
        self._cuts = {view: [np.concatenate(masks)] for view, masks in self._cuts.items()}
        return {view: OtherCuts(masks[0], counted) for view, masks in self._cuts.items()}

    def _keep(self, at: int, correct: NDArray[np.bool_], counts: Mapping[str, ViewMeasures]) -> None:
        self._columns["correct"][at : at + len(correct)] = correct
        for view, measures in counts.items():
            for name in MEASURES:
                self._columns[f"{name}_{view}"][at : at + len(correct)] = getattr(measures, name)

    def _title(self, guess: str, sure: float, goal: str | None) -> str:
        return f"{self.record.name}: {guess} {percent(sure)}" + (f", maps for {goal}" if goal else "")


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
        ConfigError: a module without a spatial layer.
    """
    runs = []
    for record in records:
        model = record.load_model(device)
        columns = record.columns(index)
        explainer = stack.enter_context(explaining(model, method, columns=columns, least_cells=least_cells))
        runs.append(OpenRun(record, model, explainer, device, pairs))
    return runs


def _cut(batch: Batch, view: str) -> Masks:
    return blacked_out(batch.views[view], batch.views["photo"])


def _picture(batch: Batch, view: str, place: int) -> Picture:
    pixels: Picture = batch.views[view][place].permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


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
