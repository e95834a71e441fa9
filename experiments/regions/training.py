"""The runs of a comparison: one for each model and seed, checked before the first is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.pairs import PairDataset
from experiments.changed_data import refuse_other_data
from experiments.continuation import refuse_other_configuration
from experiments.fit import fit
from experiments.kinds import Config, Kind
from experiments.loading import Splits
from experiments.named_run import named
from experiments.settle import settle
from utils.run_directory import RunDirectory


@dataclass(frozen=True)
class PlannedRun:
    """One run: the name of its model, its seed, and how it is trained on which pairs."""

    model: str
    seed: int
    kind: Kind
    config: Config
    splits: Splits

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.model}, seed {self.seed}"

    @property
    def directory(self) -> RunDirectory:
        """The run's folder, which its configuration names."""
        assert self.config.run.dir is not None
        return RunDirectory(Path(self.config.run.dir))

    @property
    def state(self) -> str:
        """``finished``, ``unfinished`` or ``to do``."""
        if self.directory.finished:
            return "finished"
        return "unfinished" if self.directory.begun else "to do"


def check_models(runs: Sequence[PlannedRun]) -> None:
    """Refuse what some run could not be trained with; seeds of one model do not differ in that.

    Raises:
        UserError: names the run: its model cannot be built, or pictures are too small for it.
    """
    for run in {run.model: run for run in reversed(runs)}.values():
        with named(run.name):
            model = run.kind.build(run.config, len(run.splits.train.classes), False)
            for index in (run.splits.train, run.splits.test):
                PairDataset(index, model.view_specs, run.config.data, training=False, seed=0)


def check_folders(runs: Sequence[PlannedRun]) -> None:
    """Refuse what some run that is there was not started with.

    Raises:
        UserError: names the run: its folder holds a run of another configuration or of other data.
    """
    for run in runs:
        with named(run.name):
            if run.directory.begun:
                refuse_other_configuration(run.directory, settle(run.config))
            if run.directory.finished:
                refuse_other_data(run.directory, run.config, run.directory.read_metrics(), run.splits)


def train_runs(runs: Sequence[PlannedRun]) -> None:
    """Train what is not finished, in the order given; a line says where one is.

    Raises:
        UserError, RunError, InterruptedRunError: as ``experiments.fit.fit``, with the name of the run.
    """
    for number, run in enumerate(runs, start=1):
        place = f"run {number} of {len(runs)}: {run.name}"
        if run.directory.finished:
            print(f"{place}: finished already", flush=True)
            continue
        print(place, flush=True)
        with named(run.name):
            fit(run.kind, run.config)


def plan_lines(runs: Sequence[PlannedRun]) -> list[str]:
    """Return a line for each model: which seeds are finished, unfinished or to do."""
    by_model: dict[str, dict[str, list[int]]] = {}
    for run in runs:
        by_model.setdefault(run.model, {}).setdefault(run.state, []).append(run.seed)
    return [f"  {model}: {_states(states)}" for model, states in by_model.items()]


def _states(states: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"seeds {', '.join(map(str, seeds))} {state}" for state, seeds in states.items())
