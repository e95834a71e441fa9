"""What can be read off the features of a frozen backbone: a linear probe and the nearest neighbours."""

import dataclasses
import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from datasets.index import PairIndex
from experiments.kinds import OFF_THE_SHELF
from experiments.loading import Splits, loader_for
from experiments.pretraining.study.options import FrozenPart, FrozenView
from experiments.settle import start
from Off_the_shelfs.config import OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from RveRNets.config import RveRNetConfig
from utils.arrays import read_arrays
from utils.batch import image_memory_format
from utils.data_sections import AugmentConfig
from utils.errors import DataError
from utils.files import write_atomic, write_text
from utils.json_file import read_json_object
from utils.recalibration import recalibrate
from utils.sections import evaluation_batch_size
from utils.seeding import seed_everything
from utils.transfer import on_device

PROBE, NEIGHBOURS = "linear probe", "nearest neighbours"
MOST_ITERATIONS = 5000
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Frozen:
    """What one frozen backbone says of the test pairs.

    Attributes:
        logits: by (method, view), float32 N×C: logarithms of probabilities.
        iterations: of the probe, by view.
        converged: whether the probe reached its tolerance, by view.
    """

    logits: dict[tuple[str, str], Floats]
    iterations: dict[str, int]
    converged: dict[str, bool]


def read_frozen(path: Path, config: RveRNetConfig, part: FrozenPart, splits: Splits, weights: Path | None) -> Frozen:
    """Return the answers of one frozen backbone; those under ``path`` where they were made of the same.

    Args:
        path: without ending; ``<path>.npz`` and ``<path>.json`` are its files.
        config: of a fine-tuning from the same start: its roi backbone, pictures, seed and device are taken.
        part: what is asked.
        splits: pairs to fit on and to answer.
        weights: file that the backbone starts from; null for the random start of ``train.seed``.
    """
    facts = _facts(config, part, splits, weights)
    arrays, record = path.with_suffix(".npz"), path.with_suffix(".json")
    keys: list[tuple[str, str]] = [(method, view) for view in part.views for method in (PROBE, NEIGHBOURS)]
    if arrays.is_file() and record.is_file() and (known := read_json_object(record)).get("made_from") == facts:
        found = read_arrays(arrays, [f"{view}/{method}" for method, view in keys])
        logits = {(method, view): found[f"{view}/{method}"] for method, view in keys}
        return Frozen(logits, known["iterations"], known["converged"])
    frozen = answer(config, part, splits, weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {f"{view}/{method}": values for (method, view), values in frozen.logits.items()}
    write_atomic(arrays, lambda file: np.savez_compressed(file, allow_pickle=False, **cast(Any, named)))
    document = {"made_from": facts, "iterations": frozen.iterations, "converged": frozen.converged}
    write_text(record, json.dumps(document, indent=2) + "\n")
    return frozen


def _facts(config: RveRNetConfig, part: FrozenPart, splits: Splits, weights: Path | None) -> dict[str, Any]:
    """Return all that the answers depend on, ready for JSON."""
    return {
        "frozen": dataclasses.asdict(part),
        "backbone": config.model.roi_backbone.name,
        "data": [config.data.image_size, config.data.bars, config.data.normalise],
        "pairs": splits.fingerprint,
        "seed": config.train.seed,
        "recalibration_pairs": config.eval.recalibration_pairs,
        "batch_size": evaluation_batch_size(config.train, config.eval),
        "weights": None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def answer(config: RveRNetConfig, part: FrozenPart, splits: Splits, weights: Path | None) -> Frozen:
    """Compute the features of all pairs, fit both methods on the training pairs and answer the test pairs.

    BatchNorm statistics are averaged afresh over training pairs, as the recipe does before it scores, for the random
    start too, whose own would say nothing. Features are brought to zero mean and unit deviation.
    """
    frozen = Frozen({}, {}, {})
    for view in part.views:
        train, test = features(config, splits, view, weights)
        scale = StandardScaler().fit(train)
        train, test = scale.transform(train), scale.transform(test)
        labels, classes = splits.train.label, len(splits.train.classes)
        logits, iterations, converged = linear_probe(train, labels, test, part.regularisation)
        frozen.logits[PROBE, view] = logits
        frozen.iterations[view], frozen.converged[view] = iterations, converged
        frozen.logits[NEIGHBOURS, view] = nearest_neighbours(train, labels, test, part.neighbours)
        assert logits.shape == (len(splits.test), classes)
    return frozen


def linear_probe(train: Floats, labels: NDArray[Any], test: Floats, c: float) -> tuple[Floats, int, bool]:
    """Fit a logistic regression on N×D features; return logarithms of probabilities M×C, iterations, convergence."""
    model = LogisticRegression(C=c, tol=1e-4, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(train, labels)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in caught)
    with np.errstate(divide="ignore"):  # a class without a chance is ruled out
        logits: Floats = model.predict_log_proba(test).astype(np.float32)
    return logits, int(model.n_iter_.max()), converged


def nearest_neighbours(train: Floats, labels: NDArray[Any], test: Floats, k: int) -> Floats:
    """Let the k most alike of N×D features vote by cosine, nearer ones more; return logarithms of the votes M×C."""
    model = KNeighborsClassifier(min(k, len(train)), metric="cosine", weights="distance").fit(train, labels)
    with np.errstate(divide="ignore"):  # a class without a vote is ruled out
        votes: Floats = np.log(model.predict_proba(test)).astype(np.float32)
    return votes


@torch.no_grad()
def features(config: RveRNetConfig, splits: Splits, view: FrozenView, weights: Path | None) -> tuple[Floats, Floats]:
    """Return the pooled features float32 N×D of the training and of the test pairs.

    Raises:
        DataError: a feature is not finite.
    """
    one_view = _one_view(config, view, weights)
    accelerator, one_view = start(one_view)
    seed_everything(config.train.seed, "weights")  # as a run with this seed begins
    model = OFF_THE_SHELF.build(one_view, len(splits.train.classes), True)
    assert isinstance(model, OffTheShelf)
    model.to(accelerator.device)
    model.to(memory_format=image_memory_format(accelerator.device))
    model.eval()
    pairs = min(config.eval.recalibration_pairs, len(splits.train))
    if pairs:
        order = np.random.default_rng(config.train.seed).permutation(len(splits.train))
        sample = splits.train.subset(order[:pairs])
        recalibrate(model, loader_for(sample, model.view_specs, one_view, accelerator), model.prepare, accelerator)
    train, test = (_of_split(index, model, one_view, accelerator, view) for index in (splits.train, splits.test))
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise DataError(f"the features of the {view} are not finite; were the weights {weights} damaged?")
    return train, test


def _of_split(
    index: PairIndex, model: OffTheShelf, config: OffTheShelfConfig, accelerator: Accelerator, view: FrozenView
) -> Floats:
    found = np.zeros((len(index), model.backbone.num_features), dtype=np.float32)
    for batch in on_device(loader_for(index, model.view_specs, config, accelerator), accelerator.device):
        with accelerator.autocast():
            values = model.features(model.prepare(batch))[view]
        found[batch.index.cpu().numpy()] = values.float().cpu().numpy()
    return found


def _one_view(config: RveRNetConfig, view: FrozenView, weights: Path | None) -> OffTheShelfConfig:
    """Return the one-view configuration with the pictures and the roi backbone of a fine-tuning, not augmented."""
    shared = {field.name: getattr(config.data, field.name) for field in dataclasses.fields(config.data)}
    data = OneViewDataConfig(**{**shared, "augment": AugmentConfig(flip=0), "view": view, "train_fraction": 1.0})
    given = None if weights is None else str(weights)
    backbone = dataclasses.replace(config.model.roi_backbone, weights=given, pretrained=False)
    model = OffTheShelfModelConfig(backbone=backbone)
    run = dataclasses.replace(config.run, dir=None, resume="never")
    return OffTheShelfConfig(data=data, model=model, train=config.train, eval=config.eval, run=run)
