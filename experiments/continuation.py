"""Checkpoints of a run, and how it goes on from one."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import torch
from accelerate import Accelerator

from experiments.progress import Progress
from experiments.task import Configuration, RunSetup
from utils.checkpoints import (
    AVERAGE_FILE,
    BEST_FILE,
    WEIGHTS_FILE,
    adopt,
    copy_checkpoint,
    find_checkpoint,
    load_into,
    load_state,
    load_weights,
    save_checkpoint,
)
from utils.config import load_yaml
from utils.errors import ConfigError, DataError, LostWorkerError, os_error_text, problem_list
from utils.files import write_bytes
from utils.processes import from_main
from utils.provenance import DIGITS
from utils.run_directory import CONFIG_FILE, RunDirectory
from utils.seeding import random_states, restore_random_states

# Keys that may differ between the parts of a run without changing any number of it.
HARMLESS = (
    *("run.dir", "run.resume", "run.checkpoint_every", "run.checkpoint_minutes", "run.keep_every", "run.profile"),
    *("train.log_every", "data.root", "data.archive.groups", "data.workers", "data.prefetch"),
    *("data.accept", "data.max_megapixels", "data.superpixels.cache", "data.superpixels.cache_dir"),
    *("train.picture_every", "train.collapse_spread"),
    *(f"model.{name}.grad_checkpointing" for name in ("backbone", "roi_backbone", "extra_roi_backbone")),
)

# Keys that may differ between the processes of a run: those, but for what decides when all of them meet or stop.
MAY_DIFFER = tuple(key for key in HARMLESS if key not in ("train.log_every", "train.collapse_spread"))


class CheckpointClock:
    """Says when ``run.checkpoint_minutes`` have passed since the last checkpoint, whatever the clock of day does."""

    def __init__(self, minutes: float | None) -> None:
        self.seconds = float("inf") if minutes is None else 60 * minutes
        self.since = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return time.monotonic() - self.since >= self.seconds

    def restart(self) -> None:
        """Count from now."""
        self.since = time.monotonic()


@dataclass(frozen=True)
class Beginning:
    """Where a run starts from, the same in every process.

    Attributes:
        begun: whether an unfinished run is continued.
        checkpoint: name of the folder of its newest whole checkpoint; null where it has none.
    """

    begun: bool
    checkpoint: str | None = None


def look_for_run(run: RunDirectory, config: Configuration, accelerator: Accelerator, held: ExitStack) -> Beginning:
    """Find an unfinished run that is to be continued, lock it, and choose its newest whole checkpoint.

    Raises:
        ConfigError: another process writes there, or the configuration differs from that of the run.
        DataError: the run has checkpoints, but all of them are damaged; or its results without any.
    """
    if not from_main(accelerator, lambda: config.run.resume == "auto" and run.begun):
        return Beginning(begun=False)
    refuse_other_configuration(run, config)
    occupy(run, accelerator, held, begun=True)
    return Beginning(True, from_main(accelerator, lambda: _choose_checkpoint(run)))


def _choose_checkpoint(run: RunDirectory) -> str | None:
    """Say which checkpoints are damaged, and refuse where no other is left."""
    found = find_checkpoint(run.path)
    if found.folder is not None:
        for folder, problem in found.damaged.items():
            print(f"note: {folder} is damaged ({problem}); going on from {found.folder.name} instead")
        return found.folder.name
    advice = "restore one of them, or delete the folder and train again"
    if found.damaged:
        problems = "; ".join(f"{folder.name}: {problem}" for folder, problem in found.damaged.items())
        raise DataError(f"run.resume: no checkpoint of {run.path} is whole ({problems}); {advice}")
    if (run.path / WEIGHTS_FILE).is_file():
        raise DataError(f"run.resume: {run.path} was trained to its end, but its checkpoints are gone; {advice}")
    return None


def occupy(run: RunDirectory, accelerator: Accelerator, held: ExitStack, *, begun: bool) -> None:
    """Lock the folder of a run until ``held`` closes; every process calls it, the main one holds the lock.

    Args:
        run: its folder; it is made where it is missing, and removed again if the run does not begin.
        accelerator: of the run.
        held: keeps the lock.
        begun: whether an unfinished run is to be continued there; else the folder has to be empty.

    Raises:
        ConfigError: another process writes there, or the folder is not empty.
    """

    def take() -> None:
        if not begun:
            run.refuse_unless_empty()
        made = not run.path.exists()
        held.enter_context(run.lock())
        if not begun:
            run.refuse_unless_empty()  # another run may have begun and ended meanwhile
        if made:
            held.callback(run.discard_unless_begun)  # while the lock is still held

    from_main(accelerator, take)


def save(run: RunDirectory, config: Configuration, setup: RunSetup, progress: Progress) -> None:
    """Write a checkpoint of everything that a continued run needs; the main process alone does.

    Raises:
        DataError: the disk is full or refuses; says how to go on.
    """
    training = setup.training
    scaler = training.accelerator.scaler
    state: dict[str, Any] = {
        "progress": progress.as_state(),
        "optimizer": training.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "config": setup.config_yaml,
        **setup.data_facts,
        "best": {"epoch": progress.best_epoch},
        "random": random_states(),
        "machine": machine_facts(training.accelerator.num_processes),
    }
    facts = {"step": progress.step, "epoch": progress.epoch, "step_in_epoch": progress.step_in_epoch}
    facts |= {"versions": state["machine"]["versions"]}
    average = setup.average.module.state_dict() if setup.average is not None else None
    best = run.checkpoint_best / WEIGHTS_FILE
    try:
        save_checkpoint(
            run.path, setup.model.state_dict(), average, state, facts, best if progress.best_epoch is not None else None
        )
        _keep(run, config, progress)
    except OSError as error:
        raise DataError(f"a checkpoint of {run.path} could not be written: {os_error_text(error)}") from None


def _keep(run: RunDirectory, config: Configuration, progress: Progress) -> None:
    """Give the last checkpoint a name that stays, where it is one of those that ``run.keep_every`` asks for."""
    every, kept = config.run.keep_every, run.checkpoint_of(progress.epoch)
    if every is not None and progress.step_in_epoch == 0 and progress.epoch % every == 0 and not kept.exists():
        copy_checkpoint(run.checkpoint_last, kept)


def machine_facts(processes: int) -> dict[str, Any]:
    """Return what the last digits depend on: versions, threads, processes."""
    return {"versions": _versions(), "threads": torch.get_num_threads(), "processes": processes}


@cache
def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in DIGITS}


@contextmanager
def how_to_go_on(run: RunDirectory) -> Iterator[None]:
    """Say at the end of a message about data, files or lost workers how the run, which has begun, goes on."""
    try:
        yield
    except (DataError, LostWorkerError) as error:
        error.args = (f"{error}. {run.how_to_go_on}",)
        raise
    except OSError as error:
        raise DataError(f"{os_error_text(error)}. {run.how_to_go_on}") from None


def restore(
    run: RunDirectory,
    config: Configuration,
    setup: RunSetup,
    beginning: Beginning,
    refuse_other_data: Callable[[dict[str, Any]], None],
) -> Progress:
    """Put a run that has begun into the state of a checkpoint; at its beginning where there is none.

    ``refuse_other_data`` takes what was recorded of the data.

    Raises:
        ConfigError: classes or data differ from those of the run; lists what differs.
    """
    accelerator = setup.training.accelerator
    if beginning.checkpoint is None:
        recorded = run.read_environment().get("data")
        if recorded:
            refuse_other_data({"classes": recorded.get("train", {}).get("classes"), "data": recorded})
        if accelerator.is_main_process:
            print(f"{run.path} has no checkpoint yet; starting from the beginning")
            run.truncate_log([])
        return Progress()
    folder = run.path / beginning.checkpoint
    state = load_state(folder)
    refuse_other_data(state)
    load_into(setup.model, load_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    if setup.average is not None:
        load_into(setup.average.module, load_weights(folder / AVERAGE_FILE), folder / AVERAGE_FILE)
    setup.training.optimizer.load_state_dict(state["optimizer"])
    if setup.training.accelerator.scaler is not None:
        setup.training.accelerator.scaler.load_state_dict(state["scaler"])
    restore_random_states(state["random"])
    progress = Progress(**state["progress"])
    accelerator.wait_for_everyone()  # all have read what is renamed now
    if accelerator.is_main_process:
        adopt(find_checkpoint(run.path), run.path)
        _keep(run, config, progress)
        best = run.checkpoint_last / BEST_FILE
        if best.is_file():
            run.checkpoint_best.mkdir(exist_ok=True)
            write_bytes(run.checkpoint_best / WEIGHTS_FILE, best.read_bytes())
        run.truncate_log(progress.rows)
        _tell(run, progress, state["machine"], machine_facts(accelerator.num_processes))
    return progress


def _tell(run: RunDirectory, progress: Progress, before: dict[str, Any], now: dict[str, Any]) -> None:
    for key in ("threads", "processes"):
        if before[key] != now[key]:
            print(f"note: trained with {before[key]} {key} so far, now with {now[key]}; last digits may differ")
    for name, version in before["versions"].items():
        if now["versions"].get(name) != version:
            print(f"note: {name} was {version} so far and is {now['versions'].get(name)}; last digits may differ")
    print(f"continuing {run.path} after optimiser step {progress.step} ({progress.epoch} epochs completed)")


def refuse_other_configuration(run: RunDirectory, config: Configuration) -> None:
    """Raise a ``ConfigError`` that lists what differs from the configuration that a run was started with."""
    differences = _differences(load_yaml(run.path / CONFIG_FILE), config)
    if differences:
        raise ConfigError(problem_list(f"run.resume: {run.path} was started with another configuration", differences))


def _differences(recorded: dict[str, Any], section: object, prefix: str = "") -> list[str]:
    """Compare recorded keys with a configuration's; a key that did not exist then had its default's effect."""
    found: list[str] = []
    for field in dataclasses.fields(section):  # type: ignore[arg-type]  # sections are dataclasses
        dotted, value = prefix + field.name, getattr(section, field.name)
        before = recorded.get(field.name, _default(field))
        if dataclasses.is_dataclass(value):
            known = before if isinstance(before, dict) else {}
            found += _differences(known, value, f"{dotted}.")
        elif value != before and dotted not in HARMLESS:
            found.append(f"{dotted} was {before} and is now {value}")
    return found


def _default(field: "dataclasses.Field[Any]") -> Any:  # noqa: ANN401  # of any type
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
