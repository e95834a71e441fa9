"""One run from its configuration to its results, whatever it trains."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator

from experiments.continuation import (
    MAY_DIFFER,
    Beginning,
    how_to_go_on,
    look_for_run,
    occupy,
    refuse_other_configuration,
    restore,
)
from experiments.micro_batch import memory_explained
from experiments.progress import Progress
from experiments.settle import start
from experiments.task import ConfigT, DataT, SetupT, Task
from experiments.training import TrainingLoop
from utils.config import to_yaml
from utils.devices import without_deterministic_algorithm
from utils.processes import from_main, refuse_disagreement
from utils.profiling import SUMMARY_FILE, step_profiler
from utils.provenance import continued, describe_environment
from utils.run_directory import RunDirectory
from utils.signals import ended_by_signals, stop_on_signals
from utils.watch import watched


def conduct(task: Task[ConfigT, DataT, SetupT], config: ConfigT, named: Path | None = None) -> dict[str, Any]:
    """Train, and leave a complete run directory.

    Args:
        task: what is done.
        config: how.
        named: the folder that a command names to continue the run; null where that is ``run.dir``.

    Returns:
        The content of ``metrics.json``; nothing in processes other than the main one.

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
        return _conduct(task, config, run, accelerator, held)


def _conduct(
    task: Task[ConfigT, DataT, SetupT], config: ConfigT, run: RunDirectory, accelerator: Accelerator, held: ExitStack
) -> dict[str, Any]:
    from_main(accelerator, run.refuse_if_locked)
    if config.run.resume == "never":
        run.refuse_unless_empty()
    data = task.load(config)
    facts = {"configuration": dataclasses.asdict(cast(Any, config))} | task.fingerprints(data)
    refuse_disagreement(accelerator, facts, may_differ=MAY_DIFFER)
    if run.finished:
        refuse_other_configuration(run, config)
        metrics = run.read_metrics(scored=task.scored)
        task.refuse_other_data(run, config, metrics, data)
        if not accelerator.is_main_process:
            return {}
        run.tidy()  # its process may have been killed before it did
        print(f"{run.path} is finished already; its scores follow")
        return metrics
    lines = task.look(data, config)
    if accelerator.is_main_process:
        print("\n".join(lines))
    beginning = look_for_run(run, config, accelerator, held)
    # A checkpoint holds all weights; the files that they came from at first may be gone.
    setup = task.build(config, data, accelerator, initialise=beginning.checkpoint is None)
    config = task.settled(setup)
    if accelerator.is_main_process:
        for note in setup.notes:
            print(f"note: {note}")
    if beginning.begun:
        progress = restore(
            run, config, setup, beginning, lambda recorded: task.refuse_other_data(run, config, recorded, data)
        )
    else:
        occupy(run, accelerator, held, begun=False)
        progress = Progress()
    if accelerator.is_main_process:
        _record_start(task, run, config, setup, progress, beginning)
    accelerator.wait_for_everyone()
    with how_to_go_on(run), without_deterministic_algorithm():
        task.before_training(setup, config)
        with stop_on_signals() as stop:
            items = task.items_at_once(config, accelerator.num_processes)
            with _profiled(run, config, setup), memory_explained(accelerator, "train.micro_batch", items):
                TrainingLoop(task, run, config, setup, progress, stop).complete()
            return task.finish(run, config, setup, progress, stop)


def _record_start(
    task: Task[ConfigT, DataT, SetupT],
    run: RunDirectory,
    config: ConfigT,
    setup: SetupT,
    progress: Progress,
    beginning: Beginning,
) -> None:
    """Write ``env.json`` and ``config.yaml``; where a run goes on, add to the former where and when."""
    device = setup.training.accelerator.device.type
    known = run.read_environment() if beginning.checkpoint is not None else {}
    if not known:
        known = describe_environment(task.script, device, **task.described(setup))
        if beginning.checkpoint is not None:
            known["parts"] = []  # nothing is known of those before
    if beginning.checkpoint is not None:
        known = continued(known, device, progress.step)
    run.record(to_yaml(config), known)


@contextmanager
def _profiled(run: RunDirectory, config: ConfigT, setup: SetupT) -> Iterator[None]:
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
