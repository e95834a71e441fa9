"""What a finished pre-training leaves behind."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures import BLUE, INK, ORANGE, PURPLE, VERMILION, LogRow, draw
from experiments.pretraining.pictures import save_regions_over_clusters
from experiments.pretraining.setup import CACHE_FOLDER, PretrainSetup, data_summary
from experiments.progress import Progress
from R2O.config import R2OConfig
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.provenance import describe_files
from utils.run_directory import LOG_FILE, METRICS_FILE, RunDirectory

MODEL = "R2O"


def write_outcome(run: RunDirectory, config: R2OConfig, setup: PretrainSetup, progress: Progress) -> dict[str, Any]:
    """Write the online trunk's weights under timm's names, the pictures and, last of all, ``metrics.json``."""
    model, last = setup.model, progress.rows[-1]
    save_weights(model.online.trunk.model.state_dict(), run.path / WEIGHTS_FILE)
    save_pretraining_curves(progress.rows, run.path / "curves.png")
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
        "computed_from": {"step": progress.step, "files": describe_files(run.path, [WEIGHTS_FILE, LOG_FILE])},
    }
    run.write_json(METRICS_FILE, metrics)
    shutil.rmtree(run.path / CACHE_FOLDER, ignore_errors=True)  # was for this run alone
    return metrics


def parameter_counts(setup: PretrainSetup) -> dict[str, int]:
    """Return the number of parameters of the online network's parts; the target has no others."""
    model = setup.model
    parts = {"trunk": model.online.trunk, "projector": model.online.projector, "predictor": model.predictor}
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}


def save_pretraining_curves(rows: Sequence[LogRow], path: Path) -> None:
    """Draw loss, spread, groups and regions by epoch as a PNG.

    Args:
        rows: one mapping per epoch, as in ``log.jsonl``.
        path: of the PNG.
    """
    epochs = [row["epoch"] for row in rows]
    curves = {
        "loss (0 alike, 2 unrelated)": [("loss", BLUE, "o")],
        "spread of the embeddings (1: no preference)": [("spread", VERMILION, "s")],
        "per photo": [("regions", PURPLE, "^"), ("valid_regions", ORANGE, "v")],
    }
    labels = {"regions": "regions", "valid_regions": "in both views"}

    def fill(figure: Figure) -> None:
        for number, (title, lines) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(1, len(curves), number)
            for key, colour, marker in lines:
                values = [row["train"][key] for row in rows]
                axes.plot(epochs, values, color=colour, marker=marker, markersize=3, label=labels.get(key))
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(lines) > 1:
                groups = [(row["epoch"], row["clusters"]) for row in rows if row["clusters"] is not None]
                axes.plot(
                    *zip(*groups, strict=True), color=INK, linestyle=":", label="groups K in a batch"
                ) if groups else None
                axes.legend(frameon=False)

    draw(path, (11, 3.2), fill)
