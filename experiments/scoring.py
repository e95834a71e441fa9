"""Scores of a run's model on its splits, in the middle of a run and at its end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from accelerate.utils import broadcast
from tqdm import tqdm

from experiments.feature_bank import BankedModel
from experiments.kinds import Config
from experiments.loading import loader_for
from experiments.micro_batch import memory_explained
from experiments.outcome import score
from experiments.setup import Setup
from experiments.stopping import ScoringStopped
from Off_the_shelfs.model import ViewClassifier
from utils.batch import Batch
from utils.engine import compute_logits
from utils.measures import compute_measures
from utils.recalibration import recalibrate
from utils.sections import evaluation_batch_size
from utils.signals import StopFlag


def score_epoch(setup: Setup, config: Config, stop: StopFlag) -> dict[str, Any]:
    """Return point scores of the validation split, and of the test split where every epoch asks for it.

    Raises:
        ScoringStopped: a signal asked for the end of the run.
    """
    scores: dict[str, Any] = {}
    if setup.splits.validation is not None or config.eval.test_every_epoch:
        settle_statistics(setup, config)
    if setup.splits.validation is not None:
        scores["val"] = score(setup.splits.validation, split_logits(setup, config, "validation", stop), None)
    if config.eval.test_every_epoch:
        scores["test"] = score(setup.splits.test, split_logits(setup, config, "test", stop), None)
    return scores


def settle_statistics(setup: Setup, config: Config) -> None:
    """Give every process the same BatchNorm statistics: averaged over training pairs, or the main process's own."""
    accelerator, specs = setup.training.accelerator, setup.model.view_specs
    pairs = min(config.eval.recalibration_pairs, len(setup.splits.train))
    if pairs == 0:
        for buffer in setup.scored_model.buffers():
            buffer.copy_(broadcast(buffer))
        return
    # A short batch at the end would weigh as much as a whole one.
    batch_size = evaluation_batch_size(config.train, config.eval)
    pairs -= pairs % batch_size if pairs >= batch_size else 0
    order = np.random.default_rng(config.train.seed).permutation(len(setup.splits.train))
    # Rows stand in the order of their classes; each batch must mix them, as a training batch does.
    sample = setup.splits.train.subset(order[:pairs])
    batches = loader_for(sample, specs, config, accelerator, plan=setup.plan, every_process=True)
    recalibrate(setup.scored_model, batches, setup.model.prepare, accelerator)


def split_logits(setup: Setup, config: Config, split: str, stop: StopFlag) -> np.ndarray:
    """Return the logits N×C of ``validation`` or ``test`` by the scored model, in the order of the index.

    Raises:
        ScoringStopped: a signal asked for the end of the run.
    """
    index = setup.splits.validation if split == "validation" else setup.splits.test
    assert index is not None
    accelerator = setup.training.accelerator
    batch_size = evaluation_batch_size(config.train, config.eval)
    loader: Iterable[Batch] = loader_for(index, setup.model.view_specs, config, accelerator, plan=setup.plan)
    scored, prepare = setup.scored_model, setup.model.prepare
    if setup.banks is not None:
        loader, scored, prepare = setup.banks.in_order(split, batch_size), BankedModel(scored), BankedModel.prepare
    with _counted(setup, config, len(index), split, stop) as on_batch:
        return compute_logits(
            scored,
            loader,
            prepare,
            accelerator,
            n_pairs=len(index),
            n_classes=len(index.classes),
            on_batch=on_batch,
        )


def measures_of_test(setup: Setup, config: Config, stop: StopFlag) -> dict[str, np.ndarray]:
    """Return what the scored model measures of the test pairs, by name; nothing of a model without measures.

    Call it after ``split_logits``, which leaves the model in eval mode.

    Raises:
        ScoringStopped: a signal asked for the end of the run.
    """
    index, model, accelerator = setup.splits.test, setup.scored_model, setup.training.accelerator
    assert isinstance(model, ViewClassifier)
    if not model.has_measures:
        return {}
    loader = loader_for(index, model.view_specs, config, accelerator, plan=setup.plan)
    with _counted(setup, config, len(index), "measures", stop) as on_batch:
        return compute_measures(model, loader, model.prepare, accelerator, n_pairs=len(index), on_batch=on_batch)


@contextmanager
def _counted(setup: Setup, config: Config, n_pairs: int, what: str, stop: StopFlag) -> Iterator[Callable[[int], None]]:
    """Show how far a pass over pairs is; yield what takes the pairs of each batch, and ends the pass on a signal."""
    accelerator, batch_size = setup.training.accelerator, evaluation_batch_size(config.train, config.eval)
    hidden = None if accelerator.is_main_process else True
    with tqdm(total=n_pairs, desc=what, unit="pair", leave=False, disable=hidden) as bar:

        def on_batch(pairs: int) -> None:
            bar.update(pairs)
            # Several processes meet after their shares, and have to arrive there all.
            if accelerator.num_processes == 1 and stop():
                raise ScoringStopped

        with memory_explained(accelerator, "eval.batch_size", batch_size):
            yield on_batch
