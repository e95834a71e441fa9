"""Finished runs, opened for explanation: what every way of explaining them has in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from datasets.index import PairIndex
from experiments.explanation.lettering import Picture
from experiments.explanation.measures import Floats
from experiments.explanation.pictures import Frame, frames_of
from experiments.explanation.sheets import RunRow
from experiments.explanation.summary import percent
from experiments.kinds import Model
from experiments.runs import RunRecord
from utils.batch import Batch, normalise

ANSWER = ("prediction", "correct", "probability", "truth_probability", "target", "target_logit")
KEY = ("run", "section", "sheet", "split", "class", "stem", "group")

Target = Literal["predicted", "truth"]


@dataclass(frozen=True)
class Answer:
    """One run's answer to B pairs: cells of the table, numbers B by column, rows of the sheets, photos uint8 S×S×3."""

    texts: list[list[object]]
    numbers: dict[str, Floats]
    pictures: list[RunRow]
    photos: list[Picture]

    def cells(self, place: int, columns: Sequence[str]) -> list[object]:
        """Return the cells of one pair after its key; a column that the run lacks and undefined values are empty."""
        result = list(self.texts[place])
        for name in columns:
            value = float(self.numbers[name][place]) if name in self.numbers else float("nan")
            result.append("" if np.isnan(value) else f"{value:.6g}")
        return result


@dataclass(frozen=True)
class Outcome:
    """What a run's pairs say together: content of ``summary.json``, sentences that alarm, and others."""

    measured: dict[str, Any]
    alarms: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Guess:
    """What a run says of B pairs: logits B×C, the class that is explained, B, and the truth, B."""

    logits: NDArray[np.float32]
    target: NDArray[np.int64]
    label: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes B."""
        classes: NDArray[np.int64] = self.logits.argmax(axis=1)
        return classes


class OpenRun:
    """A run whose model is loaded, with a few numbers for each of the pairs that it has explained.

    Attributes:
        record: the run.
        views: names of its views.
        frames: how each view is letterboxed.
        panels: names of the pictures that it draws of each view, by view.
        table: columns of ``explanations.csv`` that it fills for each view, by view.
    """

    panels: dict[str, list[str]]
    table: dict[str, list[str]]

    def __init__(self, record: RunRecord, model: Model, device: torch.device, columns: list[int]) -> None:
        self.record, self.views = record, list(model.view_specs)
        self.frames: dict[str, Frame] = frames_of(record, model.view_specs)
        self._model, self._device, self._outputs = model, device, columns
        self._columns: dict[str, Floats] = {}

    def answer(
        self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64], at: int, target: Target
    ) -> Answer:
        """Explain a batch and keep its numbers from position ``at`` on.

        Args:
            index: the pairs.
            pictures: the batch in every frame.
            rows: of the index, in the batch's order.
            at: position of the first pair among all that are explained.
            target: which class the maps speak of.
        """
        raise NotImplementedError

    def add_cuts(self, index: PairIndex, pictures: Mapping[Frame, Batch], rows: NDArray[np.int64]) -> None:
        """Take the cuts of some pairs as a control, before any answer: maps of other groups are held against them."""
        raise NotImplementedError

    def layers(self) -> dict[str, Any]:
        """Return where the maps of each view come from."""
        raise NotImplementedError

    def outcome(self, label: NDArray[Any], groups: NDArray[Any], names: Sequence[str]) -> Outcome:
        """Return what all pairs say together; int N labels and groups, and the names of the classes."""
        raise NotImplementedError

    def columns(self) -> Mapping[str, Floats]:
        """Return what was counted on each pair, by name; NaN where undefined."""
        return self._columns

    def _inputs(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        return {
            view: normalise(batch.views[view].to(self._device, non_blocking=True), self._model.view_specs[view])
            for view, batch in batches.items()
        }

    def _empty_views(self) -> dict[str, Tensor]:
        """Return one empty picture for each view."""
        specs = self._model.view_specs
        return {view: torch.zeros(1, 3, spec.size, spec.size, device=self._device) for view, spec in specs.items()}

    def _keep_room(self, pairs: int) -> None:
        names = ["correct", *(name for names in self.table.values() for name in names)]
        self._columns = {name: np.full(pairs, np.nan, np.float32) for name in names}

    def _keep(self, at: int, numbers: Mapping[str, NDArray[Any]]) -> None:
        for name, values in numbers.items():
            self._columns[name][at : at + len(values)] = values

    def _words(self, guess: Guess, names: Sequence[str]) -> tuple[list[list[object]], list[str]]:
        """Return of each pair the cells of ``ANSWER`` and the line above its pictures."""
        texts: list[list[object]] = []
        titles = []
        probability = softmax(guess.logits.astype(np.float64), axis=1)
        for place, (said, truth, goal) in enumerate(zip(guess.predicted, guess.label, guess.target, strict=True)):
            sure, of_truth = probability[place, said], probability[place, truth]
            logit = f"{guess.logits[place, goal]:.6g}"
            texts.append([names[said], int(said == truth), f"{sure:.6f}", f"{of_truth:.6f}", names[goal], logit])
            title = f"{self.record.name}: {names[said]} {percent(float(sure))}"
            titles.append(title if goal == said else f"{title}, maps for {names[goal]}")
        return texts, titles


def picture_of(batch: Batch, view: str, place: int) -> Picture:
    """Return one view of one pair, uint8 S×S×3."""
    pixels: Picture = batch.views[view][place].permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels
