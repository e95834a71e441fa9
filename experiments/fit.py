"""One run: train, score, record."""

import dataclasses
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from tqdm import tqdm

from experiments.continuation import MAY_DIFFER, refuse_other_configuration, refuse_other_data, restore, save
from experiments.feature_bank import BankedModel
from experiments.kinds import Config, Kind
from experiments.loading import load_splits, loader_for
from experiments.micro_batch import memory_explained, pairs_at_once
from experiments.outcome import score, write_outcome
from experiments.progress import Progress
from experiments.settle import start
from experiments.setup import Setup, build_setup
from utils.batch import Batch
from utils.checkpoints import WEIGHTS_FILE, load_into, load_weights, save_weights
from utils.config import to_yaml
from utils.engine import Meter, agree, compute_logits, train_one_epoch
from utils.errors import InterruptedRunError
from utils.optimisers import largest_rates
from utils.processes import refuse_disagreement
from utils.profiling import SUMMARY_FILE, step_profiler
from utils.recalibration import recalibrate
from utils.run_directory import RunDirectory, describe_environment
from utils.sections import evaluation_batch_size
from utils.signals import StopFlag, stop_on_signals
from utils.transfer import on_device
from utils.watch import watched


def fit(kind: Kind, config: Config) -> dict[str, Any]:
    """Train a model, score it on the test split and leave a complete run directory.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: the configuration or the data cannot be used; nothing is written then.
        RunError: the loss is not finite any more, memory ran out, or another process of the run is gone.
        InterruptedRunError: a signal stopped the run after its checkpoint.
    """
    accelerator, config = start(config)
    assert config.run.dir is not None
    run = RunDirectory(Path(config.run.dir))
    with watched(accelerator, f"Continue with the same command and --run.dir {run.path} --run.resume auto"):
        return _fit(kind, config, run, accelerator)


def _fit(kind: Kind, config: Config, run: RunDirectory, accelerator: Accelerator) -> dict[str, Any]:
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
        print(f"{run.path} is finished already; its scores follow")
        return run.read_metrics()
    setup = build_setup(kind, config, splits, accelerator, initialise=True)
    config = setup.config
    if accelerator.is_main_process:
        for note in setup.notes:
            print(f"note: {note}")
    progress = restore(run, config, setup) if config.run.resume == "auto" else None
    # On machines that do not share the folder of the run, one would find a checkpoint and another none.
    refuse_disagreement(accelerator, {"checkpoint to continue from": str(progress and progress.step)})
    if progress is None:
        progress = Progress()
        if accelerator.is_main_process:
            environment = describe_environment(kind.script, accelerator.device.type)
            weights = {view: backbone.source for view, backbone in setup.model.backbones.items()}
            run.start(to_yaml(config), environment | {"weights": weights})
    accelerator.wait_for_everyone()
    if setup.banks is not None:
        with memory_explained(accelerator, "eval.batch_size", evaluation_batch_size(config.train, config.eval)):
            setup.banks.of("train")
    with stop_on_signals() as stop, _profiled(run, config, setup):
        pairs = pairs_at_once(config.train, accelerator.num_processes)
        with memory_explained(accelerator, "train.micro_batch", pairs):
            _train(run, config, setup, progress, stop)
    return _finish(kind, run, config, setup, progress)


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


def _train(run: RunDirectory, config: Config, setup: Setup, progress: Progress, stop: StopFlag) -> None:
    """Run the epochs that are left."""
    while progress.epoch < config.train.epochs:
        started, pairs_before = time.perf_counter(), progress.pairs
        meter, stopped = _train_epoch(setup, config, progress, stop)
        if stopped:
            _stop(run, config, setup, progress, stop)
            return
        seconds = max(1e-3, time.perf_counter() - started)
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step} | largest_rates(
            setup.training.optimizer
        )
        row["pairs_per_second"] = round((progress.pairs - pairs_before) / seconds, 1)
        row |= {"seconds": round(seconds, 3), "waited_seconds": round(meter.waited, 3)}
        row |= {"train": meter.means()} | _score_epoch(setup, config)
        progress.end_epoch(row)
        _record_epoch(run, config, setup, progress)
        if agree(setup.training.accelerator, stop()):
            _stop(run, config, setup, progress, stop)


def _stop(run: RunDirectory, config: Config, setup: Setup, progress: Progress, stop: StopFlag) -> None:
    """Write a checkpoint and raise ``InterruptedRunError``."""
    number = stop.signal_number or signal.SIGTERM  # another process may have received it
    if setup.training.accelerator.is_main_process:
        save(run.checkpoint_last, config, setup, progress)
    setup.training.accelerator.wait_for_everyone()  # a launcher may kill the rest once one has left
    raise InterruptedRunError(
        f"stopped by signal {int(number)} after {progress.epoch} epochs and optimiser step {progress.step}; checkpoint "
        f"{run.checkpoint_last}. Continue with the same command and --run.dir {run.path} --run.resume auto",
        int(number),
    )


def _train_epoch(setup: Setup, config: Config, progress: Progress, stop: StopFlag) -> tuple[Meter, bool]:
    """Train the current epoch to its end, or until a stop is requested; return its sums, and whether it was stopped."""
    training, accelerator = setup.training, setup.training.accelerator
    setup.sampler.set_position(progress.epoch, progress.step_in_epoch)
    plan = setup.sampler.plan_sizes()
    meter = Meter(accelerator.device, progress.loss_sum, progress.hits, progress.pairs)
    bar = tqdm(
        total=len(setup.splits.train),
        initial=progress.pairs,
        desc=f"epoch {progress.epoch + 1}/{config.train.epochs}",
        unit="pair",
        leave=False,
        disable=None if accelerator.is_main_process else True,
    )

    def on_interval(_steps: int, means: dict[str, float]) -> None:
        bar.update(meter.pairs - bar.n)
        bar.set_postfix(loss=f"{means['loss']:.4f}", lr=f"{largest_rates(training.optimizer)['lr_head']:.2e}")

    with bar:
        taken, stopped = train_one_epoch(
            training, on_device(setup.train_batches, accelerator.device), plan, progress.step, meter, on_interval, stop
        )
    progress.advance(taken, meter)
    return meter, stopped


def _score_epoch(setup: Setup, config: Config) -> dict[str, Any]:
    """Return point scores of the validation split, and of the test split where every epoch asks for it."""
    scores: dict[str, Any] = {}
    if setup.splits.validation is not None or config.eval.test_every_epoch:
        _settle_statistics(setup, config)
    if setup.splits.validation is not None:
        scores["val"] = score(setup.splits.validation, _logits(setup, config, "validation"), None)
    if config.eval.test_every_epoch:
        scores["test"] = score(setup.splits.test, _logits(setup, config, "test"), None)
    return scores


def _settle_statistics(setup: Setup, config: Config) -> None:
    """Give every process the same BatchNorm statistics: averaged over training pairs, or the main process's own."""
    accelerator, specs = setup.training.accelerator, setup.model.view_specs
    pairs = min(config.eval.recalibration_pairs, len(setup.splits.train))
    if pairs == 0:
        for buffer in setup.scored_model.buffers():
            buffer.copy_(broadcast(buffer))
        return
    # A short batch at the end would weigh as much as a whole one.
    batch_size = evaluation_batch_size(config.train, config.eval)
    pairs -= pairs % batch_size if pairs >= batch_size else 0
    order = np.random.default_rng(config.train.seed).permutation(len(setup.splits.train))
    # Rows stand in the order of their classes; each batch must mix them, as a training batch does.
    sample = setup.splits.train.subset(order[:pairs])
    batches = loader_for(sample, specs, config, accelerator, plan=setup.plan, every_process=True)
    recalibrate(setup.scored_model, batches, setup.model.prepare, accelerator)


def _logits(setup: Setup, config: Config, split: str) -> np.ndarray:
    index = setup.splits.validation if split == "validation" else setup.splits.test
    assert index is not None
    accelerator = setup.training.accelerator
    batch_size = evaluation_batch_size(config.train, config.eval)
    loader: Iterable[Batch] = loader_for(index, setup.model.view_specs, config, accelerator, plan=setup.plan)
    scored, prepare = setup.scored_model, setup.model.prepare
    if setup.banks is not None:
        loader, scored, prepare = setup.banks.in_order(split, batch_size), BankedModel(scored), BankedModel.prepare
    hidden = None if accelerator.is_main_process else True
    bar = tqdm(total=len(index), desc=split, unit="pair", leave=False, disable=hidden)
    with bar:

        def on_batch(pairs: int) -> None:
            bar.update(pairs)

        with memory_explained(accelerator, "eval.batch_size", batch_size):
            return compute_logits(
                scored,
                loader,
                prepare,
                accelerator,
                n_pairs=len(index),
                n_classes=len(index.classes),
                on_batch=on_batch,
            )


def _record_epoch(run: RunDirectory, config: Config, setup: Setup, progress: Progress) -> None:
    if not setup.training.accelerator.is_main_process:
        return
    row = progress.rows[-1]
    run.log(row)
    parts = [f"epoch {row['epoch']}/{config.train.epochs}", f"loss {row['train']['loss']:.4f}"]
    parts.append(f"train top1 {row['train']['top1']:.3f}")
    parts += [f"{name} macro_f1 {row[name]['macro_f1']:.3f}" for name in ("val", "test") if name in row]
    parts.append(f"{row['pairs_per_second']:.0f} pairs/s")
    print("  ".join(parts), flush=True)
    if progress.is_best:
        save_weights(setup.scored_model.state_dict(), _made(run.checkpoint_best) / WEIGHTS_FILE)
    if progress.epoch % config.run.checkpoint_every == 0 or progress.epoch == config.train.epochs:
        save(run.checkpoint_last, config, setup, progress)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _finish(kind: Kind, run: RunDirectory, config: Config, setup: Setup, progress: Progress) -> dict[str, Any]:
    """Score the selected weights and write every result, ``metrics.json`` last."""
    accelerator = setup.training.accelerator
    if config.eval.selection == "best":
        path = run.checkpoint_best / WEIGHTS_FILE
        load_into(setup.scored_model, load_weights(path), path)
    else:
        _settle_statistics(setup, config)
    started = time.perf_counter()
    test_logits = _logits(setup, config, "test")
    validation_logits = _logits(setup, config, "validation") if setup.splits.validation is not None else None
    if not accelerator.is_main_process:
        return {}
    timing = {
        "epoch_seconds": [row["seconds"] for row in progress.rows],
        "test_seconds": round(time.perf_counter() - started, 3),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else None,
    }
    return write_outcome(kind, run, config, setup, progress, test_logits, validation_logits, timing)
