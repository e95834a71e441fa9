"""Checkpoints of a run, and how it goes on from one."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits
from experiments.progress import Progress
from experiments.setup import Setup
from utils.checkpoints import (
    AVERAGE_FILE,
    WEIGHTS_FILE,
    find_checkpoint,
    load_into,
    load_state,
    load_weights,
    save_checkpoint,
)
from utils.config import load_yaml, to_yaml
from utils.errors import ConfigError, problem_list
from utils.run_directory import CONFIG_FILE, RunDirectory

# Keys that may differ between the parts of a run without changing any number of it.
HARMLESS = (
    *("run.dir", "run.resume", "run.checkpoint_every", "run.profile", "train.log_every"),
    *("data.root", "data.workers", "data.prefetch"),
    *(f"model.{name}.grad_checkpointing" for name in ("backbone", "roi_backbone", "extra_roi_backbone")),
)

# Keys that may differ between the processes of a run: those, but for what decides when all of them meet.
MAY_DIFFER = tuple(key for key in HARMLESS if key != "train.log_every")


def save(folder: Path, config: Config, setup: Setup, progress: Progress) -> None:
    """Write a checkpoint of everything that a continued run needs."""
    training = setup.training
    scaler = training.accelerator.scaler
    state: dict[str, Any] = {
        "progress": progress.as_state(),
        "optimizer": training.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "config": to_yaml(config),
        "classes": list(setup.splits.train.classes.names),
        "fingerprint": setup.splits.fingerprint,
    }
    average = setup.average.module.state_dict() if setup.average is not None else None
    save_checkpoint(folder, setup.model.state_dict(), average, state)


def restore(run: RunDirectory, config: Config, setup: Setup) -> Progress | None:
    """Continue from the last checkpoint of an unfinished run; null where there is nothing to continue.

    Raises:
        ConfigError: configuration, classes or data differ from those of the run; lists what differs.
    """
    if not (run.path / CONFIG_FILE).is_file():
        run.refuse_unless_empty()
        return None
    refuse_other_configuration(run, config)
    folder = find_checkpoint(run.checkpoint_last)
    if folder is None:
        if setup.training.accelerator.is_main_process:
            run.truncate_log([])
        return Progress()
    state = load_state(folder)
    refuse_other_data(run, config, state, setup.splits)
    load_into(setup.model, load_weights(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    if setup.average is not None:
        load_into(setup.average.module, load_weights(folder / AVERAGE_FILE), folder / AVERAGE_FILE)
    setup.training.optimizer.load_state_dict(state["optimizer"])
    if setup.training.accelerator.scaler is not None:
        setup.training.accelerator.scaler.load_state_dict(state["scaler"])
    progress = Progress(**state["progress"])
    if setup.training.accelerator.is_main_process:
        run.truncate_log(progress.rows)
        print(f"continuing {run.path} after optimiser step {progress.step} ({progress.epoch} epochs completed)")
    return progress


def refuse_other_configuration(run: RunDirectory, config: Config) -> None:
    """Raise a ``ConfigError`` that lists what differs from the configuration that a run was started with."""
    recorded = load_yaml(run.path / CONFIG_FILE)
    differences = _differences(recorded, dataclasses.asdict(config))
    if differences:
        raise ConfigError(problem_list(f"run.resume: {run.path} was started with another configuration", differences))


def refuse_other_data(run: RunDirectory, config: Config, recorded_state: dict[str, Any], splits: Splits) -> None:
    """Raise a ``ConfigError`` where classes or pairs differ from those of a checkpoint's state or ``metrics.json``."""
    current = {"class list": list(splits.train.classes.names), "set of pairs": splits.fingerprint}
    recorded = {"class list": recorded_state.get("classes"), "set of pairs": recorded_state.get("fingerprint")}
    for what in current:
        if recorded[what] != current[what]:
            raise ConfigError(
                f"run.resume: the {what} under {config.data.root} changed since {run.path} was started; restore the "
                f"data, or start a new run"
            )


def _differences(recorded: dict[str, Any], current: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in current.items():
        dotted, before = prefix + key, recorded.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            found += _differences(before, value, f"{dotted}.")
        elif value != before and dotted not in HARMLESS:
            found.append(f"{dotted} was {before} and is now {value}")
    return found
