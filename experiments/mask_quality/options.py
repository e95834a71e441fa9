"""What ``compare_masks.py`` is asked to do, and where its answer goes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.decode import MaskOrientation
from experiments.mask_quality.edits import EDIT_KINDS, EditKind
from experiments.mask_quality.prompted import Asking
from segmenters.options import SegmenterOptions, check_idle
from utils.errors import ConfigError, require, require_pixels
from utils.sections import Device, Precision

RESULTS_FILE, TABLE_FILE, REPORT_FILE = "results.json", "table.md", "report.html"
OWN_FILES = (
    *(RESULTS_FILE, TABLE_FILE, REPORT_FILE, "iou.csv", "trees.csv", "sweep.csv"),
    *("iou.png", "iou_by_class.png", "worst.png", "two_by_two.png", "sweep.png", "edits.png"),
)
DEFAULT_FOLDER = Path("runs") / "mask_comparison"
_MOST_SIDES = 2


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of ``compare_masks.py``, whose three parts are computed on request.

    ``--src`` compares prompted masks with the annotation of an archive; ``--run`` with ``--trees`` scores trained runs
    on the pairs of other masks; ``--sweep`` with ``--run`` scores them on masks that were made worse.

    Attributes:
        src: archive with annotation.
        split: splits of the archive; none takes all.
        groups: CSV with the columns split, image, group, for photos that belong together.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        max_megapixels: largest picture that is decoded, in million pixels; null takes each run's own limit, and 180
            for an archive.
        photos: compare so many photos, spread evenly over the archive; null takes all.
        prompts: how objects are asked for: ``box``, ``center``, ``points<number>``, each also moved at random, as in
            ``box~0.1`` (a part of the box's sides, or of the radius of the largest circle in the object), and
            ``everything``, the best of all that the segmenter finds by itself.
        segmenter: answers the prompts.
        run: folders of finished runs, a folder of seeds for all its runs; with ``trees`` one or two: trained on
            annotated masks, trained on prompted masks.
        trees: one or two trees or archives of the same photos: with annotated masks, with prompted masks.
        test_split: folder name of the split that runs are scored on; null takes each run's test split.
        sweep: score the runs on masks that were made worse: those of the first of ``trees``, or each run's own.
        edits: how they are made worse.
        levels: by how much, parts of the square root of the mask's area.
        seed: of the draws of prompts and edits.
        out: folder to write; null takes ``runs/mask_comparison/NAME``, with the name of the
            archive or of the runs.
        overwrite: replace what an earlier comparison left in that folder.
        batch_size: pairs per forward pass; null takes each run's own.
        workers: loader processes; ``auto`` takes the processor cores, at most 8.
        device: of the runs; ``auto`` takes a GPU where there is one.
        precision: of the runs; ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        resamples: bootstrap resamples behind each interval.
    """

    src: str | None = None
    split: list[str] = field(default_factory=list)
    groups: str | None = None
    mask_orientation: MaskOrientation | None = None
    max_megapixels: float | None = None
    photos: int | None = None
    prompts: list[str] = field(
        default_factory=lambda: ["box", "box~0.1", "center", "points1", "points3", "points5", "everything"]
    )
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)
    run: list[str] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)
    test_split: str | None = None
    sweep: bool = False
    edits: list[EditKind] = field(default_factory=lambda: list(EDIT_KINDS))
    levels: list[float] = field(default_factory=lambda: [0.02, 0.05, 0.1, 0.2])
    seed: int = 0
    out: str | None = None
    overwrite: bool = False
    batch_size: int | None = None
    workers: int | Literal["auto"] = "auto"
    device: Device = "auto"
    precision: Precision = "auto"
    resamples: int = 2000

    def __post_init__(self) -> None:
        check_idle(self.segmenter)
        require_pixels("max_megapixels", self.max_megapixels)
        require(self.photos is None or self.photos >= 1, "photos", self.photos, "null or at least 1")
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, "null or at least 1")
        require(self.workers == "auto" or self.workers >= 0, "workers", self.workers, "'auto' or a number from 0")
        require(self.resamples >= 100, "resamples", self.resamples, "at least 100")
        require(bool(self.prompts), "prompts", self.prompts, "at least one kind of prompt")
        for text in self.prompts:
            Asking.parse(text)
        for option, values in (("prompts", self.prompts), ("edits", self.edits), ("levels", self.levels)):
            require(len(set(values)) == len(values), option, values, "without repetition")
        usable = bool(self.levels) and all(0 < level <= 1 for level in self.levels)
        require(usable, "levels", self.levels, "numbers above 0 up to 1")
        require(bool(self.edits), "edits", self.edits, f"at least one of {', '.join(EDIT_KINDS)}")
        self._check_parts()

    @property
    def asks(self) -> list[Asking]:
        """The ways of asking, in their order."""
        return [Asking.parse(text) for text in self.prompts]

    @property
    def folder(self) -> Path:
        """Where the results go: what ``out`` says, else a folder that is called like the archive or the runs."""
        if self.out is not None:
            return Path(self.out)
        named = [self.src] if self.src is not None else self.run[:_MOST_SIDES]
        return DEFAULT_FOLDER / "-".join(filter(None, map(_short_name, named)))

    @property
    def crosses(self) -> bool:
        """Whether runs are scored on trees."""
        return bool(self.run and self.trees)

    def _check_parts(self) -> None:
        if self.sweep and not self.run:
            raise ConfigError("--sweep needs a trained run to score; add --run DIR")
        if self.trees and not self.run:
            raise ConfigError("--trees needs trained runs to score; add --run RUN_ANNOTATED [RUN_PROMPTED]")
        if self.run and not self.trees and not self.sweep:
            raise ConfigError("--run needs what to score it on; add --trees TREE_ANNOTATED TREE_PROMPTED, or --sweep")
        if self.src is None and not self.run:
            raise ConfigError(
                "nothing to compare; give --src ARCHIVE for prompted masks against annotation, --run with --trees for "
                "trained runs on both, or --run with --sweep"
            )
        if self.src is None and (self.split or self.groups or self.photos):
            raise ConfigError("--split, --groups and --photos choose photos of an archive; add --src ARCHIVE")
        if self.trees and len(self.run) > _MOST_SIDES:
            raise ConfigError(f"--run names {len(self.run)} folders; with --trees one or two can be compared")
        if len(self.trees) > _MOST_SIDES:
            raise ConfigError(f"--trees names {len(self.trees)} folders; give one, or the annotated and the prompted")


def _short_name(folder: str) -> str:
    """Return the last part of a path; of one run of a series, also the series: "plates-seed0"."""
    path = Path(folder).resolve()
    return f"{path.parent.name}-{path.name}" if path.name.startswith("seed") else path.name


def output_folder(options: CompareOptions) -> Path:
    """Return the folder that the comparison fills, checked before anything is computed.

    Raises:
        ConfigError: it is a file, holds something else, or may not be replaced.
    """
    folder = options.folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return folder
    if not (folder / RESULTS_FILE).is_file():
        raise ConfigError(
            f"--out {folder} is not empty and no comparison filled it (it has no {RESULTS_FILE}); name another folder"
        )
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in OWN_FILES)
    if foreign:
        raise ConfigError(
            f"--out {folder} holds, beside an earlier comparison, what none wrote ({', '.join(foreign[:3])}); name "
            f"another folder, or move that away"
        )
    if not options.overwrite:
        raise ConfigError(
            f"--out {folder} holds an earlier comparison; add --overwrite, or name another folder with --out"
        )
    return folder
