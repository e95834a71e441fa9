"""What each of two processes does in the tests of ``test_processes.py``: python two_processes.py FOLDER PHASE ...

Python and torch take seconds to start, so that one start serves many questions. The answers go to
``FOLDER/<rank>.json``.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.optim.optimizer import register_optimizer_step_post_hook

from experiments.commands import train_command
from experiments.evaluation.command import evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.kinds import OFF_THE_SHELF
from utils.devices import make_accelerator
from utils.errors import InterruptedRunError, UserError, run_script
from utils.sections import TrainConfig
from utils.watch import watched

RESUME = ("--run.resume", "auto")
IN_EPOCH_2 = 8  # optimiser step; an epoch has 6


def train(folder: Path, name: str, *options: str) -> None:
    """Train a tiny model without BatchNorm on 48 pairs in batches of 9: the last step of an epoch has 3.

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
    return evaluate_runs(
        EvaluateOptions(
            run=[str(folder / run)],
            suite=str(folder / "suite.yaml"),
            out=str(folder / out),
            data=EvaluationData(workers=0),
            batch_size=3,
            resamples=100,
            device="cpu",
        )
    )


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
    "disagree": disagree,
    "continue": lambda folder, _: train(folder, "begun_alone", *RESUME),
    "stop": lambda folder, _: stop(folder),
    "die": lambda folder, _: die(folder),
}


def main(argv: list[str]) -> None:
    """Do the phases that are named, in their order."""
    folder, phases = Path(argv[0]), argv[1:]
    accelerator = make_accelerator(TrainConfig(device="cpu"))
    answers: dict[str, Any] = {}
    with watched(accelerator, "Continue with --run.resume auto"):
        for phase in phases:
            answers[phase] = PHASES[phase](folder, accelerator)
            (folder / f"{accelerator.process_index}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    run_script(main)
