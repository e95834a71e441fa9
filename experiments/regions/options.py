"""What ``compare_regions.py`` is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.output_folder import check_output
from utils.data_sections import SplitNames
from utils.errors import ConfigError, nearest, require, require_seeds
from utils.sections import Device, Precision

RESULTS_FILE, TABLE_FILE, REPORT_FILE = "results.json", "table.md", "report.html"
RUNS, LARGEST_TREE = "runs", "pairs_largest"
TABLE_CSV, DIFFERENCES_CSV, PLOT_FILE = "comparison.csv", "differences.csv", "comparison.png"
OWN_FILES = (RUNS, LARGEST_TREE, RESULTS_FILE, TABLE_FILE, REPORT_FILE, TABLE_CSV, DIFFERENCES_CSV, PLOT_FILE)
KEYS = ("roi", "rvernet", "pim", "salience", "salience_random", "photo")

Question = Literal["every", "largest"]


@dataclass(frozen=True, kw_only=True)
class RegionData:
    """The pairs that every model takes; also the common part of the grey-size study's.

    Attributes:
        root: tree of pairs, stored large enough for the parts that salience cuts.
        splits: names of its train and test folders.
        workers: loader processes; ``auto`` measures how many are needed; null takes the recipes' own.
    """

    root: str = "dataset_root"
    splits: SplitNames = field(default_factory=SplitNames)
    workers: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        require(bool(self.root.strip()), "data.root", f"'{self.root}'", "the folder that holds the pairs")
        number = self.workers
        require(not isinstance(number, int) or number >= 0, "data.workers", number, "null, 'auto' or a number from 0")


@dataclass(frozen=True, kw_only=True)
class RegionRecipes:
    """Recipes of the models; the training section of ``one_view`` is the budget of all.

    Attributes:
        one_view: of ``train_Off-the-shelf.py``, for the roi, the whole photo and, but for their model section, for PIM
            and salience.
        two_views: of ``train_RveRNet.py``, with the same training section.
        pim: only its model section is taken, and its backbone from ``one_view``.
        salience: the same.
    """

    one_view: str = "Off_the_shelfs/train_cfgs/tiny_cpu.yaml"
    two_views: str = "RveRNets/train_cfgs/tiny_cpu.yaml"
    pim: str = "Off_the_shelfs/train_cfgs/pim_tiny_cpu.yaml"
    salience: str = "Off_the_shelfs/train_cfgs/salience_tiny_cpu.yaml"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may depart from the recipes, for all models alike; null keeps it.

    Attributes:
        backbone: timm name of every backbone.
        pretrained: whether the backbones begin with their published weights.
        image_size: side in pixels of every classifier's square input.
        epochs: passes over the training pairs.
        batch_size: pairs per optimiser step.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
    """

    backbone: str | None = None
    pretrained: bool | None = None
    image_size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    device: Device | None = None
    precision: Precision | None = None

    def overrides(self) -> dict[str, Any]:
        """Return what is said here as dotted keys of a configuration, but for the backbones' keys."""
        given = {
            "data.image_size": self.image_size,
            "train.epochs": self.epochs,
            "train.batch_size": self.batch_size,
            "train.device": self.device,
            "train.precision": self.precision,
        }
        return {key: value for key, value in given.items() if value is not None}

    def of_backbone(self) -> dict[str, Any]:
        """Return what is said of every backbone."""
        given = {"name": self.backbone, "pretrained": self.pretrained}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """What both commands that train several models are asked to do; their own classes say what each field means."""

    out: str
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    budget: Budget = field(default_factory=Budget)
    crop_fraction: float = 2 / 3
    resamples: int = 2000
    timing_rounds: int = 9

    def __post_init__(self) -> None:
        require_seeds("seeds", self.seeds)
        require(bool(self.out.strip()), "out", f"'{self.out}'", "the folder to fill")
        require(self.resamples >= 100, "resamples", self.resamples, "at least 100")
        require(0 < self.crop_fraction < 1, "crop_fraction", self.crop_fraction, "above 0 and below 1, such as 0.6667")
        require(self.timing_rounds >= 0, "timing_rounds", self.timing_rounds, "at least 0")


@dataclass(frozen=True, kw_only=True)
class RegionOptions(TrialOptions):
    """Options of ``compare_regions.py``.

    Attributes:
        data: which pairs.
        out: folder to fill; runs that are in it and finished are taken as they are, unfinished ones go on.
        models: which are compared, some of ``roi``, ``rvernet``, ``pim``, ``salience``, ``salience_random`` (the
            control that looks at a part at random) and ``photo``.
        question: ``every`` asks for the class of every pair, ``largest`` for that of each photo's largest roi alone.
        seeds: training seeds.
        budget: departures from the recipes.
        largest_epochs: passes over the fewer pairs of ``largest``; null takes as many as for ``every``.
        crop_fraction: side of the parts that salience cuts over the picture's side, above 0 and below 1.
        recipe: the recipes.
        resamples: bootstrap resamples behind each interval over test photos.
        timing_rounds: how often a training step and an evaluation of each model are timed; 0 leaves times out.
    """

    data: RegionData = field(default_factory=RegionData)
    out: str = "runs/regions"
    models: list[str] = field(default_factory=lambda: list(KEYS))
    question: Literal["every", "largest", "both"] = "both"
    largest_epochs: int | None = None
    recipe: RegionRecipes = field(default_factory=RegionRecipes)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in self.models:
            if key not in KEYS:
                raise ConfigError(f"--models {key}: there is no such model{nearest(key, KEYS)}; of {', '.join(KEYS)}")
        require(len(set(self.models)) == len(self.models), "models", self.models, "without repetition")
        epochs = self.largest_epochs
        require(epochs is None or epochs >= 1, "largest_epochs", epochs, "null or at least 1")
        if epochs is not None and self.question == "every":
            raise ConfigError("largest_epochs belongs to the question largest, which --question every leaves out")
        require(len(self.models) >= 2, "models", self.models, f"two or more of {', '.join(KEYS)}")

    @property
    def questions(self) -> list[Question]:
        """The questions asked."""
        return ["every", "largest"] if self.question == "both" else [self.question]


def output_folder(out: str, own: tuple[str, ...] = OWN_FILES, what: str = "comparison") -> Path:
    """Return the folder to fill; a ``ConfigError`` where it is a file or holds what no such command wrote."""
    return check_output(Path(out), own, (), what, overwrite=True)
