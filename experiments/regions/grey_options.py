"""What ``study_grey_size.py`` is asked to do."""

from dataclasses import dataclass, field
from typing import Literal

from experiments.regions.options import (
    LARGEST_TREE,
    REPORT_FILE,
    RESULTS_FILE,
    RUNS,
    TABLE_FILE,
    RegionData,
    TrialOptions,
)
from utils.errors import ConfigError, require

STUDY_CSV, SHARES_CSV, GREY_DIFFERENCES_CSV, GREY_PLOT = (
    "grey_size.csv",
    "shares.csv",
    "differences.csv",
    "grey_size.png",
)
GREY_FILES = (
    *(RUNS, LARGEST_TREE, RESULTS_FILE, TABLE_FILE, REPORT_FILE),
    *(STUDY_CSV, SHARES_CSV, GREY_DIFFERENCES_CSV, GREY_PLOT),
)
INTENDED = (32, 64, 128, 224)


@dataclass(frozen=True, kw_only=True)
class GreyData(RegionData):
    """The photos that every model takes.

    Attributes:
        source: ``pairs``, of which the whole photo is taken, or ``folders`` of photos without masks.
        root: tree of pairs, or the folder with ``<split>/<class>/<photo>``.
        question: ``every`` asks for the class of every pair, ``largest`` for that of each photo's largest region alone.
    """

    source: Literal["pairs", "folders"] = "pairs"
    root: str = "dataset_root"
    question: Literal["every", "largest"] = "every"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "folders" and self.question == "largest":
            raise ConfigError("data.question largest needs regions, which data.source folders lacks; leave it out")


@dataclass(frozen=True, kw_only=True)
class GreyRecipes:
    """Recipes of the models.

    Attributes:
        one_view: of ``train_Off-the-shelf.py``; its training section is the budget of all.
        salience: only its model section is taken, and its backbone from ``one_view``.
    """

    one_view: str = "Off_the_shelfs/train_cfgs/tiny_cpu.yaml"
    salience: str = "Off_the_shelfs/train_cfgs/salience_tiny_cpu.yaml"


@dataclass(frozen=True, kw_only=True)
class GreyOptions(TrialOptions):
    """Options of ``study_grey_size.py``.

    Attributes:
        data: which photos.
        out: folder to fill; runs that are in it and finished are taken as they are, unfinished ones go on.
        grey: sides in pixels of the grey copies that the selector sees, at most the classifier's input; null takes
            those of 32, 64, 128 and 224 that are not larger.
        seeds: training seeds.
        budget: departures from the recipes.
        crop_fraction: side of the parts that salience cuts over the picture's side, above 0 and below 1.
        recipe: the recipes.
        resamples: bootstrap resamples behind each interval over test photos.
        timing_rounds: how often a training step and an evaluation of each model are timed; 0 leaves times out.
    """

    data: GreyData = field(default_factory=GreyData)
    out: str = "runs/grey_size"
    grey: list[int] | None = None
    recipe: GreyRecipes = field(default_factory=GreyRecipes)

    def __post_init__(self) -> None:
        super().__post_init__()
        grey = self.grey
        usable = grey is None or (bool(grey) and min(grey) >= 1 and len(set(grey)) == len(grey))
        require(usable, "grey", grey, "null or different numbers of pixels, such as 16,32,64")
