"""What ``explain.py`` is asked to do, and where its answer goes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.explanation.gallery import CLASSES_FILE, PAGE_FILE, SHEETS, SUMMARY_FILE, TABLE_FILE
from experiments.explanation.methods import check_any_method
from experiments.output_folder import check_output
from Off_the_shelfs.own_maps import OWN_METHODS
from utils.errors import ConfigError, require, require_pixels
from utils.sections import Device

Selection = Literal["first", "random", "all", "wrong", "confidently_wrong", "disagree"]


@dataclass(frozen=True, kw_only=True)
class ExplainData:
    """Which pairs there are.

    Attributes:
        root: tree of pairs; null takes the one that the first run was trained on.
        split: folder name of the split; null takes each run's test split.
        max_megapixels: largest picture that is decoded, in million pixels; null takes each run's own limit.
    """

    root: str | None = None
    split: str | None = None
    max_megapixels: float | None = None

    def __post_init__(self) -> None:
        require_pixels("data.max_megapixels", self.max_megapixels)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Options of ``explain.py``.

    Attributes:
        run: folders of finished runs; each pair gets a row of maps for each.
        data: which pairs there are.
        method: gradcam, gradcam++, hirescam, layercam, xgradcam, gradcamelementwise, eigencam or eigengradcam; for a
            plug-in module also its own maps of each level: energy, score or kept.
        target: the class that maps speak of: the ``predicted`` one, or the ``truth``.
        select: which pairs are shown: the ``first``, a ``random`` sample, ``all``, a sample of those that the first
            run gets ``wrong``, those that it gets wrong with the highest probability (``confidently_wrong``), or
            those that one of two runs gets right and the other wrong, in both directions (``disagree``).
        classes: only pairs of these classes; none takes all.
        keys: exactly these pairs, "split/class/stem".
        count: pairs shown, for ``disagree`` in each direction.
        seed: of the samples.
        least_cells: smallest wanted number of cells on a map's shorter side; 1 takes the last map before pooling,
            more an earlier layer where the last one is coarser: sharper pictures, whose sums follow the logit less.
        per_sheet: pairs on one picture; 1 makes a picture per pair.
        batch_size: pairs per forward pass.
        out: folder to write; null takes ``<run>/explanations`` of the first run.
        device: ``auto`` takes a GPU where there is one.
    """

    run: list[str] = field(default_factory=list)
    data: ExplainData = field(default_factory=ExplainData)
    method: str = "gradcam"
    target: Literal["predicted", "truth"] = "predicted"
    select: Selection = "random"
    classes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    count: int = 24
    seed: int = 0
    least_cells: int = 1
    per_sheet: int = 6
    batch_size: int = 16
    out: str | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_any_method(self.method)
        self._check_own_method()
        require(self.count >= 1, "count", self.count, "at least 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        require(1 <= self.least_cells <= 64, "least_cells", self.least_cells, "1 to 64 cells")
        require(1 <= self.per_sheet <= 40, "per_sheet", self.per_sheet, "1 to 40 pairs")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        if self.keys and self.classes:
            raise ConfigError("--keys names the pairs already; leave out --classes")

    def _check_own_method(self) -> None:
        """Maps of a model's own have a fixed grid, and most know of no class."""
        if self.method not in OWN_METHODS:
            return
        if self.least_cells != 1:
            raise ConfigError(
                f"--least_cells {self.least_cells}: maps of --method {self.method} have the cells of the model's "
                f"levels; leave it out"
            )
        if self.target == "truth" and self.method != "score":
            raise ConfigError(
                f"--target truth: maps of --method {self.method} know of no class; leave it out, or use --method score"
            )


def output_folder(options: ExplainOptions, overwrite: bool) -> Path:
    """Return the folder to fill.

    Raises:
        ConfigError: it is a file, or not empty; ``overwrite`` allows a folder that holds nothing but explanations.
    """
    folder = Path(options.out) if options.out is not None else Path(options.run[0]) / "explanations"
    own = (TABLE_FILE, SUMMARY_FILE, PAGE_FILE, CLASSES_FILE, SHEETS)
    return check_output(folder, own, (SHEETS,), "explanation", overwrite=overwrite)
