"""The options of the shortest pre-training."""

from pathlib import Path


def options_without(photos: Path, run: Path, *others: str) -> list[str]:
    """Return the options of the shortest pre-training with others, which take the place of those of the same name."""
    tiny = tiny_options(photos, run)
    pairs = zip(tiny[::2], tiny[1::2], strict=True)  # lists that are named twice would be joined
    return [*(part for pair in pairs if pair[0] not in others[::2] for part in pair), *others]


def tiny_options(photos: Path, run: Path) -> list[str]:
    """Return the options of the shortest pre-training."""
    values = {
        "data.root": photos,
        "data.image_size": 64,
        "data.superpixels.segments": 16,
        "data.workers": 0,
        "data.superpixels.cache": "never",
        "model.backbone": "test_efficientnet",
        "model.cluster_stride": 8,
        "model.projector_width": 16,
        "model.predictor_width": 16,
        "model.embedding": 8,
        "train.epochs": 2,
        "train.batch_size": 4,
        "train.base_lr": 0.5,
        "train.warmup_epochs": 1,
        "train.clusters.values": "6,3",
        "train.device": "cpu",
        "train.log_every": 1,
        "run.dir": run,
    }
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]
