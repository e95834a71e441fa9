"""What a document of results says of pairs and budget."""

from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits
from experiments.regions.largest import best_reachable
from experiments.regions.models import backbone_names


def budget_facts(config: Config, recipe: str) -> dict[str, Any]:
    """Return what all models were trained with, as one of them was."""
    return {
        "recipe": recipe,
        "backbone": backbone_names(config)[0],
        "pretrained": any(getattr(part, "pretrained", False) for part in vars(config.model).values()),
        "image_size": config.data.image_size,
        "epochs": config.train.epochs,
        "batch_size": config.train.batch_size,
        "optimizer": config.train.optimizer,
    }


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
