"""What a finished pre-training leaves behind."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures import BLUE, INK, ORANGE, PURPLE, VERMILION, LogRow, draw
from experiments.pretraining.pictures import save_regions_over_clusters
from experiments.pretraining.setup import CACHE_FOLDER, PretrainSetup, data_summary
from experiments.progress import Progress
from R2O.config import R2OConfig
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.provenance import describe_files
from utils.run_directory import METRICS_FILE, RunDirectory

MODEL = "R2O"
PLACES = {"left": 0.05, "right": 0.99, "bottom": 0.15, "top": 0.91, "wspace": 0.2}
_Line = tuple[str, str, str, str]  # key, label, colour, marker


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


def save_pretraining_curves(rows: Sequence[LogRow], path: Path) -> None:
    """Draw loss, spread, groups and regions by epoch as a PNG.

    Args:
        rows: one mapping per epoch, as in ``log.jsonl``.
        path: of the PNG.
    """
    epochs = [row["epoch"] for row in rows]
    groups = [(row["epoch"], row["clusters"]) for row in rows if row["clusters"] is not None]
    panels: list[tuple[str, list[_Line]]] = [
        ("loss: 0 alike, 2 unrelated", [("loss", "loss", BLUE, "o")]),
        ("spread: 1 without preference", [("spread", "spread", VERMILION, "s")]),
        ("regions", [("regions", "of a photo", PURPLE, "^"), ("valid_regions", "in both views", ORANGE, "v")]),
    ]

    def fill(figure: Figure) -> None:
        every: list[Axes] = list(figure.subplots(1, len(panels), gridspec_kw=PLACES))
        for axes, (title, lines) in zip(every, panels, strict=True):
            for key, label, colour, marker in lines:
                values = [row["train"][key] for row in rows]
                axes.plot(epochs, values, color=colour, marker=marker, markersize=3, label=label)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if groups:
            every[-1].plot(*zip(*groups, strict=True), color=INK, linestyle=":", label="K, of a batch")
        every[-1].legend(frameon=False)
        for axes in every:
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])

    draw(path, (11, 3.4), fill)
