"""What several processes do in the tests of ``test_processes.py``: python two_processes.py FOLDER

One start serves all questions: its processes are forked from it. The answers of the two that go through the phases
are in ``FOLDER/<rank>.json``, how all ended in ``FOLDER/ended.json``.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args
from torch.optim.optimizer import register_optimizer_step_post_hook

from experiments.commands import train_command
from experiments.evaluation.command import evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs.model import OffTheShelf
from tests.experiments.head_training import train_heads
from tests.experiments.measured_model import MeasuresLabels, measures
from tests.experiments.start_processes import free_port, start_processes, wait_for
from utils.batch import Batch
from utils.devices import make_accelerator
from utils.errors import InterruptedRunError, UserError, run_script
from utils.measures import compute_measures
from utils.sections import TrainConfig
from utils.watch import watched

RESUME = ("--run.resume", "auto")
IN_EPOCH_2 = 8  # optimiser step; an epoch has 6


def train(folder: Path, name: str, *options: str) -> None:
    """Train a tiny model without BatchNorm, with measures, on 48 pairs in batches of 9: an epoch's last step has 3.

    Two processes take 5 and 4 pairs of a step, in micro-batches of 2, 2, 1 and of 2, 1, 1; with micro-batches of 1,
    one of them gets a copy in place of a fifth.
    """
    shared = ["--data.root", str(folder / "tree"), "--run.dir", str(folder / name), "--train.device", "cpu"]
    shared += ["--model.backbone.name", "test_vit", "--model.backbone.pretrained", "false", "--data.image_size", "32"]
    shared += ["--data.workers", "0", "--train.batch_size", "9", "--train.micro_batch", "2", "--train.epochs", "2"]
    shared += [
        "--train.optimizer",
        "sgd",
        "--train.backbone_lr",
        "1e-2",
        "--train.head_lr",
        "1e-2",
        "--train.log_every",
        "1",
    ]
    with patch.object(OffTheShelf, "measures", measures):
        train_command(OFF_THE_SHELF, [*shared, "--eval.resamples", "100", *options])


@contextlib.contextmanager
def signal_after(step: int, number: int, *, rank: int | None = None) -> Iterator[None]:
    """Send this process, or that of a rank alone, a signal after some optimiser steps."""
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == step and rank in (None, int(os.environ.get("RANK", "0"))):
            os.kill(os.getpid(), number)

    handle = register_optimizer_step_post_hook(count)
    try:
        yield
    finally:
        handle.remove()


def evaluate(folder: Path, run: str, out: str) -> dict[str, Any]:
    """Evaluate a run under all kinds of conditions; batches of 3 leave the last one short."""
    options = EvaluateOptions(
        run=[str(folder / run)],
        suite=str(folder / "suite.yaml"),
        out=str(folder / out),
        data=EvaluationData(workers=0),
        batch_size=3,
        resamples=100,
        device="cpu",
    )
    with patch.object(OffTheShelf, "measures", measures):
        return evaluate_runs(options)


def measure_few(accelerator: Accelerator) -> dict[str, list[float]]:
    """Return what is measured of two pairs and of none, where process 0 sees both pairs and process 1 none."""
    two = Batch(views={}, label=torch.tensor([5, 7]), index=torch.tensor([1, 0]), content_box={}, flip={})
    batches = [two] if accelerator.is_main_process else []
    few = compute_measures(MeasuresLabels(), batches, lambda _: {}, accelerator, n_pairs=2)
    none = compute_measures(MeasuresLabels(), [], lambda _: {}, accelerator, n_pairs=2)
    return {name: values.tolist() for name, values in (few | none).items()}


def disagree(folder: Path, accelerator: Accelerator) -> str:
    """Return what a process is told that was started with a seed of its own."""
    try:
        train(folder, "disagreeing", "--train.seed", str(accelerator.process_index))
    except UserError as error:
        return str(error) if error.in_every_process else "not known to be the same in both"
    return ""


def stop(folder: Path) -> int:
    """Return the signal by which a run was stopped that process 1 alone received."""
    try:
        with signal_after(IN_EPOCH_2, signal.SIGTERM, rank=1):
            train(folder, "begun_together")
    except InterruptedRunError as stopped:
        return stopped.signal_number
    return 0


def die(folder: Path) -> None:
    """Let process 1 be killed while both train."""
    with signal_after(IN_EPOCH_2, signal.SIGKILL, rank=1):
        train(folder, "lost")


PHASES: dict[str, Callable[[Path, Accelerator], Any]] = {
    "together": lambda folder, _: train(folder, "together"),
    "copies": lambda folder, _: train(folder, "copies", "--train.micro_batch", "1", "--train.epochs", "1"),
    "evaluate": lambda folder, _: len(evaluate(folder, "together", "evaluated_together")),
    "measure few": lambda _, accelerator: measure_few(accelerator),
    "disagree": disagree,
    "continue": lambda folder, _: train(folder, "begun_alone", *RESUME),
    "stop": lambda folder, _: stop(folder),
    "die": lambda folder, _: die(folder),
}


def work(argv: list[str]) -> None:
    """Go through all phases."""
    folder = Path(argv[0])
    accelerator = make_accelerator(TrainConfig(device="cpu"))
    answers: dict[str, Any] = {}
    with watched(accelerator, "Continue with --run.resume auto"):
        for phase, ask in PHASES.items():
            answers[phase] = ask(folder, accelerator)
            (folder / f"{accelerator.process_index}.json").write_text(json.dumps(answers))


def hang(_argv: list[str]) -> None:
    """Wait as in a collective on GPUs, which does not notice that another process, the main one, is gone."""
    accelerator = make_accelerator(TrainConfig(device="cpu"))
    with watched(accelerator):
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(100)


def worker() -> None:
    """Work like a process of its own: the agent's handlers of signals, which fork leaves in place, are not for it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    run_script(work)


def torchrun(folder: Path) -> dict[int, int]:
    """Let torchrun's agent start two workers and look after them; return the exit statuses of those that failed."""
    options = ["--nproc_per_node", "2", "--master_port", free_port(), "--redirects", "3", "--log-dir"]
    arguments = parse_args([*options, str(folder / "logs"), "work"])  # type: ignore[no-untyped-call]  # untyped in torch
    config, *_ = config_from_args(arguments)
    config.start_method = "fork"
    try:
        elastic_launch(config, entrypoint=worker)()
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def main(folder: Path) -> None:
    """Start all processes, those that hang beside the others."""
    hanging = start_processes(2, partial(run_script, hang), folder / "hanging")
    train_heads(folder / "tree", folder / "heads")
    failed = torchrun(folder)
    seconds = time.time() - (folder / "1.json").stat().st_mtime
    ended = {"failed": failed, "seconds_after_last_answer": seconds, "hanging": wait_for(hanging)}
    (folder / "ended.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
