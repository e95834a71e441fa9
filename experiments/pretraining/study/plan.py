"""The runs of a study: pre-trainings, and fine-tunings from each start with each part of the labels."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.index import PairIndex
from datasets.splits import labelled_part
from datasets.two_views.photos import PhotoIndex
from experiments.continuation import refuse_other_configuration
from experiments.kinds import RVERNET
from experiments.loading import Splits
from experiments.named_run import named
from experiments.paper.options import project_file
from experiments.pretraining.study.options import StudyOptions
from experiments.pretraining.task import Pretrain, pretrain
from experiments.regions.models import MODELS, make_config, set_key
from experiments.regions.options import RUNS, Budget, RegionRecipes
from experiments.regions.training import PlannedRun
from experiments.settle import settle
from R2O.config import R2OConfig
from RveRNets.config import RveRNetConfig
from utils.config import from_mapping, load_yaml
from utils.errors import ConfigError
from utils.run_directory import RunDirectory

RANDOM, PRETRAINED, LONGER = "random", "pretrained", "longer"
START_NAMES = {
    RANDOM: "random start",
    PRETRAINED: "pre-trained",
    LONGER: "random start, trained longer",
}
CHECKPOINTS = 8  # of a training, however short its passes over the pairs are


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
        pretrainings: one for each seed.
        finetunings: seed by seed, without those that are trained longer.
        splits: all pairs.
        notes: what the user should know.
    """

    pretrainings: list[PretrainRun]
    finetunings: list[Finetuning]
    splits: Splits
    notes: list[str] = field(default_factory=list)


def pretrain_config(options: StudyOptions, folder: Path, seed: int) -> R2OConfig:
    """Return the configuration of a pre-training.

    Raises:
        ConfigError: what is wrong with the recipe or an option.
    """
    part, path = options.pretrain, project_file(options.pretrain.recipe)
    document = load_yaml(path)
    values: dict[str, Any] = {
        "train.epochs": part.epochs,
        "train.batch_size": part.batch_size,
        "train.device": options.device,
        "data.image_size": part.image_size,
        "data.workers": options.data.workers,
        "model.backbone": options.backbone,
    }
    values = {key: value for key, value in values.items() if value is not None}
    values |= {"data.root": options.photos.root, "data.subset": options.photos.subset}
    values |= {"train.seed": seed, "run.resume": "auto", "run.dir": str(pretrain_folder(folder, seed))}
    for key, value in values.items():
        set_key(document, key, value)
    return from_mapping(R2OConfig, document, path)


def pretrain_folder(folder: Path, seed: int) -> Path:
    """Return the folder of a pre-training."""
    return folder / RUNS / "pretraining" / f"seed{seed}"


def finetune_config(
    options: StudyOptions, folder: Path, seed: int, start: str, fraction: float, epochs: int | None = None
) -> RveRNetConfig:
    """Return the configuration of a fine-tuning; ``epochs`` null keeps the recipe's.

    Raises:
        ConfigError: what is wrong with the recipe or an option.
    """
    part = options.finetune
    weights = str(pretrain_folder(folder, seed)) if start == PRETRAINED else None
    place: dict[str, Any] = {
        "data.root": options.data.root,
        "data.source": "pairs",
        "data.splits": dataclasses.asdict(options.data.splits),
        "data.train_fraction": fraction,
        "train.seed": seed,
        "run.resume": "auto",
        "run.dir": str(folder / RUNS / "finetuning" / start / f"labels_{fraction:g}" / f"seed{seed}"),
    }
    for role in ("roi_backbone", "extra_roi_backbone"):
        place |= {f"model.{role}.pretrained": False, f"model.{role}.weights": weights}
    if options.data.workers is not None:
        place["data.workers"] = options.data.workers
    if epochs is not None:
        place["run.checkpoint_every"] = max(1, epochs // CHECKPOINTS)
    budget = Budget(
        backbone=options.backbone,
        image_size=part.image_size,
        epochs=epochs,
        batch_size=part.batch_size,
        device=options.device,
    )
    config = make_config(MODELS["rvernet"], RegionRecipes(two_views=part.recipe), budget, place)
    assert isinstance(config, RveRNetConfig)
    return config


def refuse_other_backbones(pretraining: R2OConfig, finetuning: RveRNetConfig, options: StudyOptions) -> None:
    """Raise a ``ConfigError`` where the weights of the one would not fit the other, or the start is not random."""
    wanted = pretraining.model.backbone
    for role in ("roi_backbone", "extra_roi_backbone"):
        backbone = getattr(finetuning.model, role)
        if backbone.name.partition(".")[0] != wanted.partition(".")[0]:
            raise ConfigError(
                f"{options.pretrain.recipe} pre-trains the backbone {wanted}, and model.{role} of "
                f"{options.finetune.recipe} is {backbone.name}; the weights have to fit: give both recipes the same "
                f"backbone, or name it with --backbone"
            )
        if backbone.features != "pooled" or backbone.frozen:
            what = "frozen" if backbone.frozen else f"features: {backbone.features}"
            raise ConfigError(
                f"model.{role} of {options.finetune.recipe} is {what}; the study fine-tunes plain backbones: leave it "
                f"out"
            )
    if pretraining.model.pretrained or pretraining.model.weights:
        raise ConfigError(
            f"{options.pretrain.recipe} starts from given weights (model.pretrained or model.weights), and the study "
            f"measures against a random start; leave both out"
        )


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


def plan_finetunings(options: StudyOptions, folder: Path, splits: Splits) -> tuple[list[Finetuning], list[str]]:
    """Return the trainings from both starts with every part of the labels, and notes on their lengths.

    Raises:
        ConfigError: a part of the labels leaves one pair alone in a batch.
    """
    recipe = finetune_config(options, folder, options.seeds[0], RANDOM, 1.0)
    batch = recipe.train.batch_size
    # A part has as many pairs of each class whatever the seed.
    parts = {fraction: part_of(splits, fraction, options.seeds[0]).train for fraction in options.fractions}
    for fraction, train in parts.items():
        if len(train) % batch == 1:
            raise ConfigError(
                f"{fraction:.4g} of the labels are {len(train)} pairs, which leave one alone in a batch of {batch}; "
                f"choose another --finetune.batch_size"
            )
    steps_of_one = {fraction: steps_per_epoch(train, batch) for fraction, train in parts.items()}
    wanted = options.finetune.steps or recipe.train.epochs * steps_of_one[max(steps_of_one)]
    epochs = equal_epochs(steps_of_one, wanted)
    steps = {fraction: epochs[fraction] * one for fraction, one in steps_of_one.items()}
    runs = [
        finetuning(options, folder, splits, seed, start, fraction, epochs[fraction])
        for seed in options.seeds
        for fraction in options.fractions
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


def finetuning(
    options: StudyOptions, folder: Path, splits: Splits, seed: int, start: str, fraction: float, epochs: int
) -> Finetuning:
    """Return one training."""
    part = part_of(splits, fraction, seed)
    config = finetune_config(options, folder, seed, start, fraction, epochs)
    steps = epochs * steps_per_epoch(part.train, config.train.batch_size)
    name = f"{START_NAMES[start]}, {fraction:.4g} of the labels"
    return Finetuning(name, seed, RVERNET, config, part, start, fraction, steps)
