"""One run of the grid under one seed: its configuration, its folder, and how far it has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits, load_splits
from experiments.paper.evaluated import read_evaluation
from experiments.paper.grid import PlannedRun
from experiments.paper.published import Published
from utils.errors import ConfigError
from utils.run_directory import RunDirectory

RUNS = "runs"


@dataclass(frozen=True, eq=False)
class Job:
    """A run of the grid under one seed.

    Attributes:
        run: what the grid says.
        seed: of training.
        config: its configuration.
        splits: the pairs.
        suite: suite to evaluate; None where no table asked for shows the run under changed inputs.
    """

    run: PlannedRun
    seed: int
    config: Config
    splits: Splits
    suite: str | None

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.run.key}, seed {self.seed}"

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        return RunDirectory(Path(self.config.run.dir or ""))

    @property
    def epochs_left(self) -> int:
        """Epochs that are still to be trained."""
        return 0 if self.directory.finished else max(0, self.config.train.epochs - len(self.directory.read_log()))

    @property
    def evaluation_left(self) -> bool:
        """Whether the run has a suite under which its weights were not evaluated."""
        path = self.directory.path
        return self.suite is not None and (not self.directory.finished or read_evaluation(path, self.suite) is None)

    @property
    def work_left(self) -> bool:
        """Whether training or evaluation is left."""
        return not self.directory.finished or self.evaluation_left

    @property
    def state(self) -> str:
        """``finished``, ``to evaluate``, ``unfinished`` or ``to do``."""
        if self.directory.finished:
            return "to evaluate" if self.evaluation_left else "finished"
        return "unfinished" if self.directory.checkpoint_last.exists() else "to do"


def run_folder(folder: Path, key: str, seed: int) -> Path:
    """Return where a run of the grid lies, so that its folder reads as a folder of seeds."""
    return folder / RUNS / key / f"seed{seed}"


def make_jobs(
    planned: Sequence[PlannedRun],
    seeds: Sequence[int],
    folder: Path,
    overrides: Mapping[str, Any],
    published: Published,
    items: list[str],
) -> tuple[list[Job], list[str]]:
    """Return the jobs, seed by seed, and a line for each run that this data cannot have.

    Every configuration and every split is read and checked here, before anything is trained.

    Raises:
        UserError: names the run.
    """
    cache: dict[tuple[object, ...], Splits] = {}
    jobs, impossible = [], []
    for seed in seeds:
        for run in planned:
            place = {"run.dir": str(run_folder(folder, run.key, seed)), "run.resume": "auto", "train.seed": seed}
            given = {**overrides, **place}
            if run.exclude is not None:
                config = run.config({**given, "data.exclude": []})
                classes = _splits(config, cache).train.classes.names
                name = published.find_class(run.exclude, classes)
                if name is None:
                    impossible.append(f"{run.key}: the data has no class '{run.exclude}' to leave out")
                    continue
                given["data.exclude"] = [name]
            config = run.config(given)
            if config.train.seeds is not None:
                raise ConfigError(f"run {run.key}: train.seeds is set in its files; use --seeds for the whole grid")
            suite = run.suite if run.exclude is None and published.conditions_shown(items, run.base) else None
            jobs.append(Job(run, seed, config, _splits(config, cache), suite))
    return jobs, list(dict.fromkeys(impossible))


def _splits(config: Config, cache: dict[tuple[object, ...], Splits]) -> Splits:
    data = config.data
    seed = config.train.seed if data.validation_fraction or data.train_fraction < 1 else None
    where = (data.source, data.root, repr(data.archive), data.splits)
    key = (*where, tuple(data.exclude), data.validation_fraction, data.train_fraction, seed)
    if key not in cache:
        cache[key] = load_splits(data, config.train.seed)
    return cache[key]
