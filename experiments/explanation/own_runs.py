"""Runs explained by maps that the model has of its own, such as the positions that a plug-in module keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.index import PairIndex
from experiments.explanation.maps import METHODS
from experiments.explanation.measures import (
    REGION_MEASURES,
    Floats,
    Masks,
    OtherCuts,
    RegionMeasures,
    bars,
    blacked_out,
    measure_region,
)
from experiments.explanation.opened import Answer, Guess, OpenRun, Outcome, Target, picture_of
from experiments.explanation.own_summary import summarise_own_maps
from experiments.explanation.pictures import Frame
from experiments.explanation.sheets import KeptPicture, Panel, RunRow, ViewPicture
from experiments.explanation.summary import percent
from experiments.kinds import Model
from experiments.runs import RunRecord
from utils.batch import Batch
from utils.errors import ConfigError, RunError


def check_own_maps(method: str, name: str, model: Model) -> None:
    """Refuse a model that has no such maps.

    Raises:
        ConfigError: names what it has.
    """
    if method not in model.map_methods:
        offered = ", ".join([*METHODS, *model.map_methods])
        raise ConfigError(
            f"--method {method}: {name} has no such maps (a plug-in module, features: pim, has them). It has: {offered}"
        )


class OwnMapsRun(OpenRun):
    """A run explained by one of its own methods: a picture for each map of each view that has some."""

    def __init__(
        self, record: RunRecord, model: Model, method: str, device: torch.device, pairs: int, columns: list[int]
    ) -> None:
        super().__init__(record, model, device, columns)
        self._method = method
        self._cells = self._grids()
        self.panels = {view: [f"{view} {name}" for name in grids] for view, grids in self._cells.items()}
        self.table = {
            view: [f"{measure}_{view}_{name}" for name in grids for measure in REGION_MEASURES]
            for view, grids in self._cells.items()
        }
        self._keep_room(pairs)
        self._rois: dict[str, list[Masks]] = {view: [] for view in self._cells}
        self._groups: list[NDArray[np.integer[Any]]] = []

    def layers(self) -> dict[str, Any]:
        """Return the cells of each map's grid, by view and name."""
        return {
            view: {name: {"cells": list(cells)} for name, cells in grids.items()} for view, grids in self._cells.items()
        }

    def add_cuts(self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64]) -> None:
        """Take the rois of some pairs as a control, before any answer: maps of other groups are held against them."""
        for view in self._cells:
            roi = _roi(pictures[self.frames[view]])
            if roi is not None:
                self._rois[view].append(roi)
        self._groups.append(index.group[rows])

    def answer(
        self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64], at: int, target: Target
    ) -> Answer:
        """Explain a batch; see ``OpenRun.answer``."""
        label = index.label[rows].astype(np.int64)
        batches = {view: pictures[frame] for view, frame in self.frames.items()}
        views = self._inputs(batches)
        with torch.no_grad():
            logits = self._model(views)[:, self._outputs].float().cpu().numpy()
        goal = logits.argmax(axis=1) if target == "predicted" else label
        guess = Guess(logits, goal, label)
        maps = self._maps(views, torch.tensor(self._outputs)[torch.from_numpy(goal)].to(self._device))
        others = self._others(index.group[rows])
        counts: dict[str, dict[str, RegionMeasures]] = {}
        for view, found in maps.items():
            outside = bars(batches[view].content_box[view], self.frames[view].size)
            roi = _roi(batches[view])
            counts[view] = {name: measure_region(values, roi, outside, others[view]) for name, values in found.items()}
        numbers = {
            f"{measure}_{view}_{name}": getattr(found, measure)
            for view, levels in counts.items()
            for name, found in levels.items()
            for measure in REGION_MEASURES
        }
        self._keep(at, {"correct": guess.predicted == label, **numbers})
        texts, titles = self._words(guess, index.classes.names)
        shown = [
            RunRow(
                titles[place],
                bool(guess.predicted[place] == label[place]),
                {
                    f"{view} {name}": self._panel(batches[view], view, name, place, values[place], counts[view][name])
                    for view, found in maps.items()
                    for name, values in found.items()
                },
            )
            for place in range(len(rows))
        ]
        photos = [picture_of(batches[self.views[0]], "photo", place) for place in range(len(rows))]
        return Answer(texts, numbers, shown, photos)

    def outcome(self, label: NDArray[Any], groups: NDArray[Any], names: Sequence[str]) -> Outcome:  # noqa: ARG002  # as its base has it
        """Return the means and the sentences that they support."""
        measured, remarks = summarise_own_maps(self.record.name, self.columns(), self._cells, self._method, groups)
        return Outcome({"layers": self.layers(), **measured}, [], remarks)

    def _grids(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Return the grid of each map, by view and name, from one empty picture."""
        found = self._maps(self._empty_views(), torch.zeros(1, dtype=torch.int64, device=self._device))
        return {
            view: {name: (values.shape[1], values.shape[2]) for name, values in maps.items()}
            for view, maps in found.items()
        }

    def _maps(self, views: dict[str, Tensor], target: Tensor) -> dict[str, dict[str, Floats]]:
        with torch.no_grad():
            found = self._model.own_maps(self._method, views, target)
        maps = {view: {each.name: each.values.float().cpu().numpy() for each in named} for view, named in found.items()}
        for view, named in maps.items():
            if not all(np.isfinite(values).all() for values in named.values()):
                raise RunError(f"{self._method} gives a map of {view} that is not finite; train the model again")
        return maps

    def _panel(self, batch: Batch, view: str, name: str, place: int, values: Floats, counts: RegionMeasures) -> Panel:
        rows, columns = values.shape
        inside, area = float(counts.inside_roi[place]), float(counts.roi_area[place])
        pixels = picture_of(batch, view, place)
        first = f"{view} {name.replace('_', ' ')}, {rows}×{columns}"
        second = "" if np.isnan(inside) else f"on the roi: {percent(inside)} (its area {percent(area)})"
        if self._method == "kept":
            return KeptPicture(pixels, values > 0, [f"{first}: {int(values.sum())} kept", second])
        if self._method == "score":
            return ViewPicture(pixels, values, [f"{first}, up to {percent(float(values.max()))}", second])
        return ViewPicture(pixels, values, [first, second])

    def _others(self, groups: NDArray[np.integer[Any]]) -> dict[str, OtherCuts | None]:
        counted = groups[:, None] != np.concatenate(self._groups)[None]
        self._rois = {view: [np.concatenate(masks)] if masks else [] for view, masks in self._rois.items()}
        return {view: OtherCuts(masks[0], counted) if masks else None for view, masks in self._rois.items()}


def _roi(batch: Batch) -> Masks | None:
    """Return the pixels of the annotated roi, B×S×S: black in extra_roi and not in the photo; null without masks."""
    if "extra_roi" not in batch.views:
        return None
    return blacked_out(batch.views["extra_roi"], batch.views["photo"])
