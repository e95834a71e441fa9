"""What ``python -m experiments.paper`` is asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.errors import ConfigError, nearest, require, require_seeds
from utils.sections import Device, Precision

GRID = "configs/grids/paper.yaml"


@dataclass(frozen=True, kw_only=True)
class PaperData:
    """Which pairs every run of the grid takes.

    Attributes:
        root: tree of pairs; null takes the recipe's own.
        workers: loader processes; ``auto`` takes the processor cores, at most 8; null takes the recipe's own.
    """

    root: str | None = None
    workers: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        number = self.workers
        require(not isinstance(number, int) or number >= 0, "data.workers", number, "'auto' or a number from 0")


@dataclass(frozen=True, kw_only=True)
class PaperTraining:
    """What may depart from the recipe; null keeps it.

    Attributes:
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        micro_batch: pairs that one process takes at once, for small memories.
        epochs: passes over the training pairs, for a trial; the report says how many were made.
    """

    device: Device | None = None
    precision: Precision | None = None
    micro_batch: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        require(self.micro_batch is None or self.micro_batch >= 1, "train.micro_batch", self.micro_batch, "at least 1")
        require(self.epochs is None or self.epochs >= 1, "train.epochs", self.epochs, "at least 1")


@dataclass(frozen=True, kw_only=True)
class PaperOptions:
    """Options of ``python -m experiments.paper``.

    Attributes:
        grid: YAML file of runs and recipes.
        recipe: one of the grid's recipes; null takes its first.
        out: folder to fill; each recipe gets a folder of its own in it.
        tables: tables and figures to repeat, such as ``2,3,figure6``; null takes all.
        seeds: training seeds, each of which repeats the whole grid; null takes the grid's.
        data: which pairs.
        train: departures from the recipe.
        resamples: bootstrap resamples behind each interval and p-value.
        probe: measure a few training steps of each network to estimate the time.
    """

    grid: str = GRID
    recipe: str | None = None
    out: str = "runs/paper"
    tables: list[int | str] | None = None
    seeds: list[int] | None = None
    data: PaperData = field(default_factory=PaperData)
    train: PaperTraining = field(default_factory=PaperTraining)
    resamples: int = 2000
    probe: bool = True

    def __post_init__(self) -> None:
        require_seeds("seeds", self.seeds)
        require(self.resamples >= 100, "resamples", self.resamples, "at least 100")
        require(bool(self.out.strip()), "out", f"'{self.out}'", "the folder to fill")

    def overrides(self) -> dict[str, Any]:
        """Return what the command line says about every run, as dotted keys of a training configuration."""
        given = {
            "data.root": self.data.root,
            "data.workers": self.data.workers,
            "train.device": self.train.device,
            "train.precision": self.train.precision,
            "train.micro_batch": self.train.micro_batch,
            "train.epochs": self.train.epochs,
        }
        return {key: value for key, value in given.items() if value is not None}


def chosen_items(given: Sequence[int | str] | None, known: Sequence[str]) -> list[str]:
    """Return the names of tables and figures (``2``, ``figure6``) that are asked for, in the paper's order.

    Raises:
        ConfigError: one that the paper's file does not hold.
    """
    if given is None:
        return list(known)
    wanted = [str(item).lower().removeprefix("table") for item in given]
    for item in wanted:
        if item not in known:
            raise ConfigError(
                f"--tables {item}: there is no such table{nearest(item, known)}; one of {', '.join(known)}"
            )
    if not wanted:
        raise ConfigError(f"--tables names no table; some of {', '.join(known)}")
    return [item for item in known if item in wanted]


def project_file(name: str | Path, beside: Path | None = None) -> Path:
    """Return a file named in a grid: where it is, beside the grid, or in the project's folder."""
    for folder in (Path(), *([beside] if beside else []), Path(__file__).parents[2]):
        if (folder / name).is_file():
            return folder / name
    return Path(name)
