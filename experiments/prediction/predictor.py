"""A trained model at work on pairs that it has never seen: answers, what-ifs, maps."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from datasets.index import PairIndex
from datasets.loaders import make_loader
from datasets.new_pairs import NewPair, new_pair_dataset
from datasets.pairs import PairDataset
from datasets.sampling import OrderedBatches
from experiments.analysis.calibration import probabilities
from experiments.explanation.maps import explaining
from experiments.explanation.measures import enlarge, one_scale
from experiments.kinds import Config, Kind, Model
from experiments.prediction.description import Description, describe
from experiments.robustness.corruptions import blank
from experiments.runs import load_model
from utils.batch import Batch
from utils.devices import make_accelerator
from utils.engine import compute_logits
from utils.errors import ConfigError
from utils.sections import Device, Precision

WITH, WITHOUT, ANOTHER, AS_GIVEN = "with context", "without context", "another context", "as given"
PAIRS_AT_ONCE = 32
MAP_CELLS = 7  # on the shorter side of a map, at least; small pictures leave the last layer two

Logits = NDArray[np.float32]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ViewMap:
    """What one module looked at.

    Attributes:
        picture: uint8 S×S×3, the letterboxed view as the module sees it.
        heat: float32 S×S in 0..1, evidence for the explained class; all modules of a pair share one scale.
        share: part of the evidence that this module gives, 0..1; NaN where no module gives any.
        grid: rows and columns of the map before it was enlarged to S×S, or to the part of it that the model looks at.
        content: left, top, width, height of the picture in its letterbox, pixels.
    """

    picture: NDArray[np.uint8]
    heat: NDArray[np.float32]
    share: float
    grid: tuple[int, int]
    content: tuple[int, int, int, int]

    @property
    def own_scale(self) -> NDArray[np.float32]:
        """The heat with this module's strongest place inside the photo at 1; all zero where there is none."""
        left, top, width, height = self.content
        strongest = float(self.heat[top : top + height, left : left + width].max())
        return np.clip(self.heat / strongest, 0, 1, dtype=np.float32) if strongest > 0 else np.zeros_like(self.heat)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model. Several threads may ask it; it answers one at a time.

    Attributes:
        description: what it is.
        model: in eval mode on its device.
        accelerator: device and precision.
    """

    description: Description
    model: Model
    accelerator: Accelerator
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def path(self) -> Path:
        """The model's folder."""
        return self.description.path

    @property
    def name(self) -> str:
        """The model's short name."""
        return self.description.name

    @property
    def kind(self) -> Kind:
        """Which script trained it."""
        return self.description.kind

    @property
    def config(self) -> Config:
        """What built it."""
        return self.description.config

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the outputs."""
        return self.description.classes

    @property
    def ambiguous(self) -> tuple[str, ...]:
        """Names of the ambiguous classes."""
        return self.description.ambiguous

    @property
    def size(self) -> int:
        """Longer side in pixels to which photo and mask are resized before they are cut."""
        return self.description.size

    @property
    def temperature(self) -> float:
        """The number by which logits are divided before the softmax."""
        return self.description.temperature

    @property
    def calibration(self) -> str:
        """How the temperature was found, in words."""
        return self.description.calibration

    @property
    def notes(self) -> list[str]:
        """What a user should know, one line each."""
        return self.description.notes

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.accelerator.device
        return device

    @cached_property
    def views(self) -> list[str]:
        """The views that the model takes, in order."""
        return list(self.model.view_specs)

    def probabilities(self, logits: Logits) -> Probabilities:
        """Return calibrated probabilities N×C of logits N×C: softmax(logits / temperature)."""
        return probabilities(logits, self.temperature)

    def logits(self, pairs: Sequence[NewPair], batch_size: int = PAIRS_AT_ONCE) -> Logits:
        """Return the logits N×C of new pairs, ``batch_size`` of them at once.

        Raises:
            DataError: a region has no pixel left at the size at which it is cut.
        """
        return self._logits(self._dataset(pairs), batch_size)

    def stored_logits(self, index: PairIndex, batch_size: int = PAIRS_AT_ONCE) -> Logits:
        """Return the logits N×C of pairs that an index lists, in its order."""
        dataset = PairDataset(index, self.model.view_specs, self.config.data, training=False, seed=0)
        return self._logits(dataset, batch_size)

    def features(self, pairs: Sequence[NewPair]) -> dict[str, Tensor]:
        """Return each module's features N×D of new pairs, by view, on the model's device."""
        return self._features(self._batch(pairs))

    def fuse(self, features: Mapping[str, Tensor]) -> Logits:
        """Return the logits N×C where features N×D of each view meet; they may come from different pairs."""
        with self._lock, torch.inference_mode(), self.accelerator.autocast():
            logits: Logits = self.model.fuse(dict(features)).float().cpu().numpy()
        return logits

    def what_if(self, pair: NewPair, other: NewPair | None = None) -> dict[str, Probabilities]:
        """Return what becomes of an answer when the surroundings change.

        Args:
            pair: the region and its own surroundings.
            other: a pair of another photo, whose extra_roi is put in their place.

        Returns:
            Probabilities C by ``with context``, ``without context`` (the extra_roi black) and, where ``other`` is
            given, ``another context``; for a model of one view ``as given`` alone.
        """
        batch = self._batch([pair])
        features = self._features(batch)
        if len(self.views) == 1:
            return {AS_GIVEN: self.probabilities(self.fuse(features))[0]}
        black = blank(batch.views["extra_roi"], batch.content_box["extra_roi"])
        contexts = {
            WITH: features,
            WITHOUT: self._features(replace(batch, views=batch.views | {"extra_roi": black})),
        }
        if other is not None:
            contexts[ANOTHER] = self.features([other])
        return {
            name: self.probabilities(self.fuse({"roi": features["roi"], "extra_roi": found["extra_roi"]}))[0]
            for name, found in contexts.items()
        }

    def explain(
        self, pair: NewPair, method: str = "gradcam", target: int | None = None, least_cells: int | None = None
    ) -> dict[str, ViewMap]:
        """Return by view what each module looked at.

        Args:
            pair: what is explained.
            method: one of ``experiments.explanation.maps.METHODS``.
            target: index of the class that the maps speak of; null takes the predicted one.
            least_cells: smallest wanted number of cells on a map's shorter side; null wants ``MAP_CELLS``, and takes
                the last map before pooling where no layer has as many.

        Raises:
            ConfigError: unknown method, or a module without a map.
        """
        if least_cells is None:
            try:
                return self.explain(pair, method, target, MAP_CELLS)
            except ConfigError:  # no layer is that fine, or a module has no map at all, which the next call says
                return self.explain(pair, method, target, 1)
        batch = self._batch([pair])
        with self._lock, explaining(self.model, method, least_cells=least_cells) as explainer:
            wanted = None if target is None else torch.tensor([target], device=self.device)
            found = explainer.explain(self.model.prepare(batch.to(self.device)), wanted)
        evidence = {view: float(np.maximum(values[0], 0).sum()) for view, values in found.contributions.items()}
        whole = sum(evidence.values())
        heats = one_scale(found.maps)
        return {
            view: ViewMap(
                picture=batch.views[view][0].permute(1, 2, 0).contiguous().numpy(),
                heat=enlarge(heats[view], batch.views[view].shape[-1], found.places(view))[0],
                share=evidence[view] / whole if whole > 0 else float("nan"),
                grid=(heats[view].shape[1], heats[view].shape[2]),
                content=_four(batch.content_box[view][0]),
            )
            for view in self.views
        }

    def _dataset(self, pairs: Sequence[NewPair]) -> PairDataset:
        classes = self.description.class_map
        return new_pair_dataset(pairs, self.model.view_specs, self.config.data, classes, self.size)

    def _batch(self, pairs: Sequence[NewPair]) -> Batch:
        return self._dataset(pairs).__getitems__([(0, row) for row in range(len(pairs))])

    def _logits(self, dataset: PairDataset, batch_size: int) -> Logits:
        batches = OrderedBatches(len(dataset), batch_size)
        loader = make_loader(dataset, batches, device_type=self.device.type)
        with self._lock:
            return compute_logits(
                self.model, loader, self.model.prepare, self.accelerator, len(dataset), len(self.classes)
            )

    def _features(self, batch: Batch) -> dict[str, Tensor]:
        with self._lock, torch.inference_mode(), self.accelerator.autocast():
            return self.model.features(self.model.prepare(batch.to(self.device)))


def _four(box: Tensor) -> tuple[int, int, int, int]:
    left, top, width, height = box.tolist()
    return left, top, width, height


def load_predictor(source: str | Path, *, device: Device = "auto", precision: Precision = "auto") -> Predictor:
    """Load a model for use.

    Args:
        source: as ``experiments.prediction.description.describe`` takes it.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.

    Raises:
        ConfigError: there is no such model, device or precision.
        DataError: the model is unfinished or damaged.
    """
    found = describe(source)
    train = replace(found.config.train, device=device, precision=precision, tf32="auto", deterministic=False)
    accelerator = make_accelerator(train, section="")
    model = load_model(found.kind, found.config, len(found.classes), found.weights, accelerator.device)
    return Predictor(found, model, accelerator)
