"""What a finished pre-training leaves behind."""

import shutil
from typing import Any

from experiments.pretraining.curves import save_pretraining_curves
from experiments.pretraining.pictures import save_regions_over_clusters
from experiments.pretraining.setup import CACHE_FOLDER, PretrainSetup, data_summary
from experiments.progress import Progress
from R2O.config import R2OConfig
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.provenance import describe_files
from utils.run_directory import METRICS_FILE, RunDirectory

MODEL = "R2O"


def write_outcome(run: RunDirectory, config: R2OConfig, setup: PretrainSetup, progress: Progress) -> dict[str, Any]:
    """Write the online trunk's weights under timm's names, the pictures and, last of all, ``metrics.json``."""
    model, last = setup.model, progress.rows[-1]
    save_weights(model.online.trunk.model.state_dict(), run.path / WEIGHTS_FILE)
    save_pretraining_curves(progress.rows, config.train.collapse_spread, run.path / "curves.png")
    if config.train.picture_every:
        save_regions_over_clusters(setup, run.path / "regions_over_clusters.png")
    run.write_json("timing.json", {"epoch_seconds": [row["seconds"] for row in progress.rows]})
    metrics: dict[str, Any] = {
        "model": MODEL,
        "backbone": config.model.backbone,
        "clusters": last["clusters"],
        "train": last["train"] | {"n_photos": len(setup.photos)},
        "epochs": progress.epoch,
        "steps": progress.step,
        "seed": config.train.seed,
        "parameters": parameter_counts(setup),
        "fingerprint": setup.data_facts["fingerprint"],
        "data": data_summary(setup.photos),
        "computed_from": {"step": progress.step, "files": describe_files(run.path, [WEIGHTS_FILE])},
    }
    shutil.rmtree(run.path / CACHE_FOLDER, ignore_errors=True)  # was for this run alone
    run.write_json(METRICS_FILE, metrics)
    return metrics


def parameter_counts(setup: PretrainSetup) -> dict[str, int]:
    """Return the number of parameters of the online network's parts; the target has no others."""
    model = setup.model
    parts = {"trunk": model.online.trunk, "projector": model.online.projector, "predictor": model.predictor}
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
