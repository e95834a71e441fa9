"""What a document of results says of pairs and budget."""

from pathlib import PurePath
from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits
from experiments.regions.largest import best_reachable
from experiments.regions.models import backbone_of

LOSSY = {".jpg", ".jpeg"}


def budget_facts(config: Config, recipe: str) -> dict[str, Any]:
    """Return what all models were trained with, as one of them was."""
    return {
        "recipe": recipe,
        "backbone": backbone_of(config).name,
        "pretrained": backbone_of(config).pretrained,
        "weights": backbone_of(config).weights,
        "image_size": config.data.image_size,
        "epochs": config.train.epochs,
        "batch_size": config.train.batch_size,
        "optimizer": config.train.optimizer,
    }


def lossy_notes(splits: Splits) -> list[str]:
    """Say where stored pairs are JPEG files what that lets a model of the whole photo see."""
    indices = (splits.train, splits.test)
    if not all(index.masked for index in indices):
        return []
    suffixes = {PurePath(f"a{name}").suffix.lower() for index in indices for name in index.suffix_names}
    if not suffixes & LOSSY:
        return []
    return [
        "the pairs are JPEG files, and models of the whole photo see roi and extra_roi put together again: JPEG alters "
        "both along the mask's outline, so the photo differs a little from pair to pair and can give the mask away. "
        "What is said to be reachable without the mask is no strict bound then; preprocess with --format png for one"
    ]


def split_facts(splits: Splits, *, one_pair_each: bool = False) -> dict[str, Any]:
    """Return counts and names of the pairs, and what can be reached on them without the mask.

    ``one_pair_each`` says that every pair has a photo of its own, whatever the files are called.
    """
    test = splits.test
    photo = test.photo_codes()
    return {
        "root": str(test.root),
        "n_train": len(splits.train),
        "n_pairs": len(test),
        "n_photos": len(test) if one_pair_each else len(set(photo.tolist())),
        "n_groups": len(set(test.group.tolist())),
        "classes": list(test.classes.names),
        "ambiguous": list(test.classes.ambiguous),
        "fingerprint": test.fingerprint(),
        "best_reachable_top1": 1.0 if one_pair_each else best_reachable(photo, test.label),
    }
