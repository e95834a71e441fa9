"""Data that are not what they were when a run began."""

from typing import Any

from datasets.changes import describe_change
from experiments.kinds import Config
from experiments.loading import Splits
from utils.errors import ConfigError, problem_list
from utils.run_directory import RunDirectory


def refuse_other_data(run: RunDirectory, config: Config, recorded: dict[str, Any], splits: Splits) -> None:
    """Raise a ``ConfigError`` that lists how classes or pairs differ from those of a checkpoint or ``metrics.json``."""
    differences: list[str] = []
    before, now = list(recorded.get("classes") or []), list(splits.train.classes.names)
    if before != now:
        gone, new = [name for name in before if name not in now], [name for name in now if name not in before]
        parts = [f"without {', '.join(gone)}"] if gone else []
        parts += [f"with {', '.join(new)} besides"] if new else []
        differences.append(f"the class list is now {' and '.join(parts) or 'in another order'}")
    elif recorded.get("data"):
        differences += describe_change(recorded["data"], splits.summary)
    elif recorded.get("fingerprint") != splits.fingerprint:
        differences.append("the set of pairs is another")
    if differences:
        raise ConfigError(
            problem_list(
                f"run.resume: the data under {config.data.root} changed since {run.path} was started; restore them, or "
                f"start a new run",
                differences,
            )
        )
