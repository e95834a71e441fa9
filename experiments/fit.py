"""One run: train, score, record."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from experiments.continuation import (
    MAY_DIFFER,
    Beginning,
    how_to_go_on,
    look_for_run,
    occupy,
    refuse_other_configuration,
    refuse_other_data,
    restore,
)
from experiments.diagnosis import diagnose
from experiments.kinds import Config, Kind
from experiments.loading import load_splits
from experiments.micro_batch import memory_explained, pairs_at_once
from experiments.outcome import write_outcome
from experiments.progress import Progress
from experiments.scoring import ScoringStopped, measures_of_test, settle_statistics, split_logits
from experiments.settle import start
from experiments.setup import Setup, build_setup
from experiments.training import TrainingLoop, interrupted
from Off_the_shelfs.origin import describe_weights
from utils.checkpoints import BEST_FILE, load_into, load_weights
from utils.config import to_yaml
from utils.devices import without_deterministic_algorithm
from utils.processes import from_main, refuse_disagreement
from utils.profiling import SUMMARY_FILE, step_profiler
from utils.provenance import continued, describe_environment
from utils.run_directory import RunDirectory
from utils.sections import evaluation_batch_size
from utils.signals import StopFlag, ended_by_signals, stop_on_signals
from utils.watch import watched


def fit(kind: Kind, config: Config, named: Path | None = None) -> dict[str, Any]:
    """Train a model, score it on the test split and leave a complete run directory.

    Args:
        kind: what is trained.
        config: how.
        named: the folder that a command names to continue the run; null where that is ``run.dir``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: the configuration or the data cannot be used; nothing is written then. Or files cannot be read or
            written in the middle of the run; its message says how to go on.
        RunError: the loss is not finite any more, memory ran out, or another process of the run is gone.
        InterruptedRunError: a signal stopped the run after its checkpoint.
    """
    accelerator, config = start(config)
    assert config.run.dir is not None
    run = RunDirectory(Path(config.run.dir), named)
    with watched(accelerator, run.how_to_go_on), ended_by_signals(run.how_to_go_on), ExitStack() as held:
        return _fit(kind, config, run, accelerator, held)


def _fit(kind: Kind, config: Config, run: RunDirectory, accelerator: Accelerator, held: ExitStack) -> dict[str, Any]:
    from_main(accelerator, run.refuse_if_locked)
    if config.run.resume == "never":
        run.refuse_unless_empty()
    splits = load_splits(config.data, config.train.seed)
    facts = {"configuration": dataclasses.asdict(config)} | {f"{k} pairs": v for k, v in splits.fingerprint.items()}
    refuse_disagreement(accelerator, facts, may_differ=MAY_DIFFER)
    if run.finished:
        refuse_other_configuration(run, config)
        refuse_other_data(run, config, run.read_metrics(), splits)
        if not accelerator.is_main_process:
            return {}
        run.tidy()  # its process may have been killed before it did
        print(f"{run.path} is finished already; its scores follow")
        return run.read_metrics()
    diagnosis = diagnose(splits, config)
    if accelerator.is_main_process:
        print("\n".join(diagnosis.lines))
    beginning = look_for_run(run, config, accelerator, held)
    # A checkpoint holds all weights; the files that they came from at first may be gone.
    setup = build_setup(kind, config, splits, accelerator, initialise=beginning.checkpoint is None)
    config = setup.config
    if accelerator.is_main_process:
        for note in setup.notes:
            print(f"note: {note}")
    if beginning.begun:
        progress = restore(run, config, setup, beginning)
    else:
        occupy(run, accelerator, held, begun=False)
        progress = Progress()
    if accelerator.is_main_process:
        _record_start(kind, run, config, setup, progress, beginning)
    accelerator.wait_for_everyone()
    with how_to_go_on(run), without_deterministic_algorithm():
        if setup.banks is not None:
            with memory_explained(accelerator, "eval.batch_size", evaluation_batch_size(config.train, config.eval)):
                setup.banks.of("train")
        with stop_on_signals() as stop:
            pairs = pairs_at_once(config.train, accelerator.num_processes)
            with _profiled(run, config, setup), memory_explained(accelerator, "train.micro_batch", pairs):
                TrainingLoop(run, config, setup, progress, stop).complete()
            return _finish(kind, run, config, setup, progress, stop)


def _record_start(
    kind: Kind, run: RunDirectory, config: Config, setup: Setup, progress: Progress, beginning: Beginning
) -> None:
    """Write ``env.json`` and ``config.yaml``; where a run goes on, add to the former where and when."""
    device = setup.training.accelerator.device.type
    known = run.read_environment() if beginning.checkpoint is not None else {}
    if not known:
        weights = describe_weights(setup.model.backbones)
        seeds, data = [config.train.seed], setup.splits.summary
        known = describe_environment(kind.script, device, seeds=seeds, data=data, weights=weights)
        if beginning.checkpoint is not None:
            known["parts"] = []  # nothing is known of those before
    if beginning.checkpoint is not None:
        known = continued(known, device, progress.step)
    run.record(to_yaml(config), known)


@contextmanager
def _profiled(run: RunDirectory, config: Config, setup: Setup) -> Iterator[None]:
    """Record the first steps of the block where ``run.profile`` asks for it."""
    accelerator = setup.training.accelerator
    if not config.run.profile or not accelerator.is_main_process:
        yield
        return
    folder = run.path / "profile"
    with step_profiler(folder, config.run.profile, accelerator.device.type) as setup.training.on_step:
        yield
    setup.training.on_step = None
    print(f"where a step goes: {folder / SUMMARY_FILE}")


def _finish(
    kind: Kind, run: RunDirectory, config: Config, setup: Setup, progress: Progress, stop: StopFlag
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
    metrics = write_outcome(kind, run, config, setup, progress, test_logits, validation_logits, measures, timing)
    run.tidy()
    return metrics
