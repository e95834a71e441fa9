"""The runs of a study: pre-trainings, and fine-tunings from each start with each part of the labels."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from datasets.index import PairIndex
from datasets.splits import labelled_part
from datasets.two_views.photos import PhotoIndex
from experiments.continuation import refuse_other_configuration
from experiments.kinds import RVERNET
from experiments.loading import Splits
from experiments.named_run import named
from experiments.pretraining.study.recipes import PRETRAINED, RANDOM, START_NAMES, Recipes
from experiments.pretraining.task import Pretrain, pretrain
from experiments.regions.training import PlannedRun
from experiments.settle import settle
from R2O.config import R2OConfig
from utils.errors import ConfigError
from utils.run_directory import RunDirectory


@dataclass(frozen=True)
class PretrainRun:
    """One pre-training."""

    seed: int
    config: R2OConfig
    photos: PhotoIndex

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"pre-training, seed {self.seed}"

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        assert self.config.run.dir is not None
        return RunDirectory(Path(self.config.run.dir))

    def check(self) -> None:
        """Refuse a folder that holds another pre-training, or one of other photos."""
        with named(self.name):
            if self.directory.begun:
                refuse_other_configuration(self.directory, settle(self.config))
            if self.directory.finished:
                Pretrain().refuse_other_data(
                    self.directory, self.config, self.directory.read_metrics(scored=False), self.photos
                )

    def train(self) -> None:
        """Pre-train unless that is done; raises what ``pretrain`` does, with the name of the run."""
        if self.directory.finished:
            print(f"{self.name}: finished already", flush=True)
            return
        print(self.name, flush=True)
        with named(self.name):
            pretrain(self.config)


@dataclass(frozen=True)
class Finetuning(PlannedRun):
    """One training of RveRNet.

    Attributes:
        start: one of ``START_NAMES``.
        fraction: part of the training labels.
        steps: optimiser steps.
    """

    start: str = RANDOM
    fraction: float = 1.0
    steps: int = 0


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        recipes: that all runs come from.
        pretrainings: one for each seed.
        finetunings: seed by seed, without those that are trained longer.
        splits: all pairs.
        notes: what the user should know.
    """

    recipes: Recipes
    pretrainings: list[PretrainRun]
    finetunings: list[Finetuning]
    splits: Splits
    notes: list[str] = field(default_factory=list)


def part_of(splits: Splits, fraction: float, seed: int) -> Splits:
    """Return the splits with a part of the training labels."""
    return Splits(labelled_part(splits.train, fraction, seed), None, splits.test)


def steps_per_epoch(train: PairIndex, batch_size: int) -> int:
    """Return the optimiser steps of a pass over the training pairs."""
    return math.ceil(len(train) / batch_size)


def equal_epochs(steps_of_one: dict[float, int], wanted: int) -> dict[float, int]:
    """Return the passes over each part of the labels that make about the same number of optimiser steps.

    Args:
        steps_of_one: steps of one pass by part; the largest part takes whole passes, and the others follow it.
        wanted: optimiser steps.
    """
    largest = steps_of_one[max(steps_of_one)]
    steps = max(1, round(wanted / largest)) * largest
    return {fraction: max(1, round(steps / one)) for fraction, one in steps_of_one.items()}


def plan_finetunings(recipes: Recipes, splits: Splits) -> tuple[list[Finetuning], list[str]]:
    """Return the trainings from both starts with every part of the labels, and notes on their lengths.

    Raises:
        ConfigError: a part of the labels leaves one pair alone in a batch.
    """
    options, batch = recipes.options, recipes.finetuning.train.batch_size
    # A part has as many pairs of each class whatever the seed.
    parts = {fraction: part_of(splits, fraction, options.seeds[0]).train for fraction in options.fractions}
    for fraction, train in parts.items():
        if len(train) % batch == 1:
            raise ConfigError(
                f"{fraction:.4g} of the labels are {len(train)} pairs, which leave one alone in a batch of {batch}; "
                f"choose another --finetune.batch_size"
            )
    steps_of_one = {fraction: steps_per_epoch(train, batch) for fraction, train in parts.items()}
    wanted = options.finetune.steps or recipes.finetuning.train.epochs * steps_of_one[max(steps_of_one)]
    epochs = equal_epochs(steps_of_one, wanted)
    steps = {fraction: epochs[fraction] * one for fraction, one in steps_of_one.items()}
    runs = [
        finetuning(recipes, part, seed, start, fraction, epochs[fraction])
        for seed in options.seeds
        for fraction in options.fractions
        for part in [part_of(splits, fraction, seed)]
        for start in (RANDOM, PRETRAINED)
    ]
    return runs, _length_notes(steps, wanted)


def _length_notes(steps: dict[float, int], wanted: int) -> list[str]:
    least, most = min(steps.values()), max(steps.values())
    notes = []
    if abs(most - wanted) > 0.1 * wanted:
        notes.append(
            f"a pass over the largest part of the labels takes more than a few of the {wanted} steps asked for, and "
            f"passes are whole: it is trained for {steps[max(steps)]}"
        )
    if least != most:
        lengths = ", ".join(f"{count} with {fraction:.4g}" for fraction, count in steps.items())
        notes.append(
            f"passes are whole, so optimiser steps differ a little by the part of the labels: {lengths}; every start "
            f"has the same"
        )
    return notes


def finetuning(recipes: Recipes, part: Splits, seed: int, start: str, fraction: float, epochs: int) -> Finetuning:
    """Return one training with a part of the labels."""
    config = recipes.finetune(seed, start, fraction, epochs)
    steps = epochs * steps_per_epoch(part.train, config.train.batch_size)
    name = f"{START_NAMES[start]}, {fraction:.4g} of the labels"
    return Finetuning(name, seed, RVERNET, config, part, start, fraction, steps)
