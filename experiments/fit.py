"""One run of a classifier: train, score, record."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from experiments.changed_data import refuse_other_data
from experiments.conduct import conduct
from experiments.diagnosis import diagnose
from experiments.kinds import Config, Kind
from experiments.loading import Splits, load_splits
from experiments.micro_batch import memory_explained, pairs_at_once
from experiments.model_facts import facts_line
from experiments.outcome import write_outcome
from experiments.progress import Progress
from experiments.scoring import measures_of_test, score_epoch, settle_statistics, split_logits
from experiments.setup import Setup, build_setup
from experiments.stopping import ScoringStopped
from experiments.task import Task
from experiments.training import interrupted
from Off_the_shelfs.origin import describe_weights
from utils.checkpoints import BEST_FILE, load_into, load_weights
from utils.run_directory import RunDirectory
from utils.sections import evaluation_batch_size
from utils.signals import StopFlag


def fit(kind: Kind, config: Config, named: Path | None = None) -> dict[str, Any]:
    """Train a model, score it on the test split and leave a complete run directory.

    Args:
        kind: what is trained.
        config: how.
        named: the folder that a command names to continue the run; null where that is ``run.dir``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError, RunError, InterruptedRunError: as ``experiments.conduct.conduct`` says.
    """
    return conduct(Fit(kind), config, named)


@dataclass
class Fit(Task[Config, Splits, Setup]):
    """Training a classifier of one kind."""

    kind: Kind

    def __post_init__(self) -> None:
        self.script = self.kind.script

    def load(self, config: Config) -> Splits:
        """Read and check the index of all splits."""
        return load_splits(config.data, config.train.seed)

    def fingerprints(self, data: Splits) -> dict[str, str]:
        """Return the hash of each split's pairs."""
        return {f"{name} pairs": value for name, value in data.fingerprint.items()}

    def look(self, data: Splits, config: Config) -> list[str]:
        """Return what is wrong with the pairs."""
        return list(diagnose(data, config).lines)

    def refuse_other_data(self, run: RunDirectory, config: Config, recorded: dict[str, Any], data: Splits) -> None:
        """Raise a ``ConfigError`` that lists how classes or pairs differ from those recorded."""
        refuse_other_data(run, config, recorded, data)

    def build(self, config: Config, data: Splits, accelerator: Accelerator, *, initialise: bool) -> Setup:
        """Build everything that training needs."""
        return build_setup(self.kind, config, data, accelerator, initialise=initialise)

    def settled(self, setup: Setup) -> Config:
        """Return the configuration with what was measured."""
        return setup.config

    def described(self, setup: Setup) -> dict[str, Any]:
        """Return seed, pairs and initial weights."""
        weights = describe_weights(setup.model.backbones)
        return {"seeds": [setup.config.train.seed], "data": setup.splits.summary, "weights": weights}

    def before_training(self, setup: Setup, config: Config) -> None:
        """Compute the features of frozen modules."""
        if setup.banks is None:
            return
        accelerator = setup.training.accelerator
        with memory_explained(accelerator, "eval.batch_size", evaluation_batch_size(config.train, config.eval)):
            setup.banks.of("train")

    def epoch_row(self, setup: Setup, means: dict[str, float]) -> dict[str, Any]:
        """Return the means over the training pairs, and what the model says of itself."""
        facts = setup.model.epoch_facts()
        return ({"model": facts} if facts else {}) | {"train": means}

    def epoch_scores(self, setup: Setup, stop: StopFlag) -> dict[str, Any]:
        """Return the scores that every epoch asks for."""
        return score_epoch(setup, setup.config, stop)

    def epoch_line(self, row: dict[str, Any]) -> list[str]:
        """Return top-1 in training, the model's facts and macro-F1 of the scored splits."""
        parts = [f"train top1 {row['train']['top1']:.3f}", *facts_line(row.get("model", {}))]
        return parts + [f"{name} macro_f1 {row[name]['macro_f1']:.3f}" for name in ("val", "test") if name in row]

    def items_at_once(self, config: Config, processes: int) -> int:
        """Return the pairs that one process takes at once."""
        return pairs_at_once(config.train, processes)

    def finish(
        self, run: RunDirectory, config: Config, setup: Setup, progress: Progress, stop: StopFlag
    ) -> dict[str, Any]:
        """Score the selected weights and write every result, ``metrics.json`` last."""
        accelerator = setup.training.accelerator
        if config.eval.selection == "best":
            path = run.checkpoint_last / BEST_FILE
            load_into(setup.scored_model, load_weights(path), path)
        else:
            settle_statistics(setup, config)
        started = time.perf_counter()
        try:
            test_logits = split_logits(setup, config, "test", stop)
            validated = setup.splits.validation is not None
            validation_logits = split_logits(setup, config, "validation", stop) if validated else None
            measures = measures_of_test(setup, config, stop)
        except ScoringStopped:
            raise interrupted(run, progress, stop) from None
        if not accelerator.is_main_process:
            return {}
        timing = {
            "epoch_seconds": [row["seconds"] for row in progress.rows],
            "test_seconds": round(time.perf_counter() - started, 3),
            "peak_gpu_bytes": torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else None,
        }
        metrics = write_outcome(
            self.kind, run, config, setup, progress, test_logits, validation_logits, measures, timing
        )
        run.tidy()
        return metrics
