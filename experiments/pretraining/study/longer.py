"""The third arm: the random start, trained for as many seconds longer as pre-training took."""

import json
import math
from collections.abc import Sequence

from experiments.pretraining.study.plan import Finetuning, PretrainRun, finetuning, steps_per_epoch
from experiments.pretraining.study.recipes import LONGER, RANDOM, Recipes
from utils.run_directory import RunDirectory


def plan_longer(recipes: Recipes, pretraining: PretrainRun, runs: Sequence[Finetuning]) -> list[Finetuning]:
    """Return the longer trainings of a seed, whose other trainings are finished.

    Args:
        recipes: of the study.
        pretraining: that of the seed.
        runs: fine-tunings of the seed.
    """
    seconds = training_seconds(pretraining.directory)
    longer = []
    for run in runs:
        if run.start == RANDOM and run.fraction in recipes.options.equal_compute_fractions:
            one = steps_per_epoch(run.splits.train, run.config.train.batch_size)
            epochs = longer_epochs(run.config.train.epochs, one, training_seconds(run.directory), seconds)
            longer.append(finetuning(recipes, run.splits, run.seed, LONGER, run.fraction, epochs))
    return longer


def longer_epochs(epochs: int, steps_of_one: int, seconds: float, more_seconds: float) -> int:
    """Return the passes that take the time of a training and ``more_seconds``, rounded up.

    Args:
        epochs: of the training that was timed.
        steps_of_one: optimiser steps of one pass.
        seconds: that it took.
        more_seconds: to be added.
    """
    per_step = seconds / (epochs * steps_of_one)
    return epochs + math.ceil(more_seconds / per_step / steps_of_one)


def training_seconds(run: RunDirectory) -> float:
    """Return the seconds that the epochs of a finished run took, scoring left out."""
    timing = json.loads((run.path / "timing.json").read_text())
    return float(sum(timing["epoch_seconds"]))
