"""The recipes of a study, and the configuration of each of its runs."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.paper.options import project_file
from experiments.pretraining.study.options import StudyOptions
from experiments.regions.models import MODELS, make_config, set_key
from experiments.regions.options import RUNS, Budget, RegionRecipes
from R2O.config import R2OConfig
from RveRNets.config import RveRNetConfig
from utils.config import from_mapping, load_yaml
from utils.errors import ConfigError

RANDOM, PRETRAINED, LONGER = "random", "pretrained", "longer"
START_NAMES = {
    RANDOM: "random start",
    PRETRAINED: "pre-trained",
    LONGER: "random start, trained longer",
}


@dataclass(frozen=True)
class Recipes:
    """The configurations that all runs of a study come from, read once.

    Attributes:
        options: of the study.
        folder: that it fills.
        pretraining: of the first seed.
        finetuning: of the first seed, from the random start with all labels, as long as the recipe says.
    """

    options: StudyOptions
    folder: Path
    pretraining: R2OConfig
    finetuning: RveRNetConfig

    def pretrain(self, seed: int) -> R2OConfig:
        """Return the configuration of a pre-training."""
        run = dataclasses.replace(self.pretraining.run, dir=str(self.pretrain_folder(seed)), resume="auto")
        train = dataclasses.replace(self.pretraining.train, seed=seed)
        return dataclasses.replace(self.pretraining, train=train, run=run)

    def pretrain_folder(self, seed: int) -> Path:
        """Return the folder of a pre-training, which holds the weights that fine-tuning starts from."""
        return self.folder / RUNS / "pretraining" / f"seed{seed}"

    def finetune(self, seed: int, start: str, fraction: float = 1.0, epochs: int | None = None) -> RveRNetConfig:
        """Return the configuration of a fine-tuning; ``epochs`` null keeps the recipe's."""
        base = self.finetuning
        weights = str(self.pretrain_folder(seed)) if start == PRETRAINED else None
        epochs = base.train.epochs if epochs is None else epochs
        place = self.folder / RUNS / "finetuning" / start / f"labels_{fraction:g}" / f"seed{seed}"
        model = dataclasses.replace(
            base.model,
            roi_backbone=dataclasses.replace(base.model.roi_backbone, weights=weights),
            extra_roi_backbone=dataclasses.replace(base.model.extra_roi_backbone, weights=weights),
        )
        return dataclasses.replace(
            base,
            data=dataclasses.replace(base.data, train_fraction=fraction),
            model=model,
            train=dataclasses.replace(base.train, seed=seed, epochs=epochs),
            # Passes over few pairs are short: a checkpoint comes by the minute, at a signal, and at the end.
            run=dataclasses.replace(base.run, dir=str(place), resume="auto", checkpoint_every=epochs),
        )


def read_recipes(options: StudyOptions, folder: Path) -> Recipes:
    """Read both recipes, with what the options change of them.

    Raises:
        ConfigError: what is wrong with a recipe or an option; the recipes do not fit together.
    """
    recipes = Recipes(options, folder, _read_pretraining(options), _read_finetuning(options))
    refuse_other_backbones(recipes.pretraining, recipes.finetuning, options)
    return recipes


def _read_pretraining(options: StudyOptions) -> R2OConfig:
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
    for key, value in values.items():
        set_key(document, key, value)
    return from_mapping(R2OConfig, document, path)


def _read_finetuning(options: StudyOptions) -> RveRNetConfig:
    part = options.finetune
    place: dict[str, Any] = {
        "data.root": options.data.root,
        "data.source": "pairs",
        "data.splits": dataclasses.asdict(options.data.splits),
    }
    for role in ("roi_backbone", "extra_roi_backbone"):
        place |= {f"model.{role}.pretrained": False, f"model.{role}.weights": None}
    if options.data.workers is not None:
        place["data.workers"] = options.data.workers
    budget = Budget(
        backbone=options.backbone, image_size=part.image_size, batch_size=part.batch_size, device=options.device
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
