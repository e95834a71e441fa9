"""What ``evaluate.py`` is asked to do, and where its answer goes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from utils.errors import ConfigError, DataError, nearest, require, require_pixels
from utils.json_file import read_json
from utils.sections import Device, Precision

SUITES = Path(__file__).parents[2] / "configs" / "suites"
RESULTS_FILE = "results.json"
_OWN_FILES = (RESULTS_FILE, "table.md", "report.html", "views.png", "conditions.png", "severity", "made_from.json")

_LEAST_RESAMPLES = 2000
# With k conditions Holm multiplies the smallest p-value, 2 / (resamples + 1), by k; it is kept at 0.01.
_RESAMPLES_PER_CONDITION = 200


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Which pairs are scored.

    Attributes:
        root: tree of pairs; null takes the one that each run was trained on.
        split: folder name of the split; null takes each run's test split.
        max_megapixels: largest picture that is decoded, in million pixels; null takes each run's own limit.
        workers: loader processes; ``auto`` takes the processor cores, at most 8; null takes each run's own setting.
    """

    root: str | None = None
    split: str | None = None
    max_megapixels: float | None = None
    workers: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        require_pixels("data.max_megapixels", self.max_megapixels)
        number = self.workers
        require(not isinstance(number, int) or number >= 0, "data.workers", number, "'auto' or a number from 0")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``evaluate.py``.

    Attributes:
        run: folders of finished runs; a folder of seeds stands for all its runs.
        data: which pairs.
        suite: YAML file of conditions, or the bare name of one in ``configs/suites``; null scores unchanged pairs.
        exclude: classes to leave out of the pairs and of the runs' outputs, besides those left out in training.
        out: folder to write; null takes ``<run>/evaluation/<suite>``, which needs a single ``run``.
        overwrite: replace what an earlier evaluation left in that folder.
        batch_size: pairs per forward pass; null takes each run's own.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        resamples: bootstrap resamples behind each interval; ``auto`` takes 2,000, or as many as a suite of many
            conditions needs for p-values that can survive Holm's correction.
        baselines: fit the baselines without a network on the training split and give them rows.
    """

    run: list[str] = field(default_factory=list)
    data: EvaluationData = field(default_factory=EvaluationData)
    suite: str | None = None
    exclude: list[str] = field(default_factory=list)
    out: str | None = None
    overwrite: bool = False
    batch_size: int | None = None
    device: Device = "auto"
    precision: Precision = "auto"
    resamples: int | Literal["auto"] = "auto"
    baselines: bool = True

    def __post_init__(self) -> None:
        size, number = self.batch_size, self.resamples
        require(size is None or size >= 1, "batch_size", size, "null or at least 1")
        require(number == "auto" or number >= 100, "resamples", number, "'auto' or at least 100")


def suite_file(options: EvaluateOptions) -> Path | None:
    """Return the file of the suite, None where only unchanged pairs are scored.

    Raises:
        ConfigError: there is no such file; names the nearest.
    """
    if options.suite is None:
        return None
    given = Path(options.suite)
    if given.is_file():
        return given
    shipped = sorted(path.stem for path in SUITES.glob("*.yaml"))
    if str(given) in shipped:
        return SUITES / f"{given}.yaml"
    siblings = [path.name for path in given.parent.glob("*.yaml")] if given.parent.is_dir() else []
    hint = nearest(given.name, siblings) or nearest(given.stem, shipped)
    known = ", ".join(shipped) or "none"
    raise ConfigError(f"--suite {given} does not exist{hint}; a YAML file, or one of the shipped suites: {known}")


def output_folder(options: EvaluateOptions, suite_name: str) -> Path:
    """Return the folder that the evaluation fills, checked before anything is computed.

    Raises:
        ConfigError: several runs without ``out``; the folder is not empty and may not be replaced.
    """
    if options.out is None and len(options.run) != 1:
        raise ConfigError(
            f"--run names {len(options.run)} folders, which share no place for the results; say where with --out DIR"
        )
    folder = Path(options.out) if options.out is not None else Path(options.run[0]) / "evaluation" / suite_name
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    if not any(folder.iterdir()):
        return folder
    if not (folder / RESULTS_FILE).is_file():
        raise ConfigError(
            f"--out {folder} is not empty and no evaluation filled it (it has no {RESULTS_FILE}); name another folder"
        )
    foreign = _foreign(folder)
    if foreign:
        raise ConfigError(
            f"--out {folder} holds, beside an earlier evaluation, what no evaluation wrote ({', '.join(foreign[:3])}); "
            f"name another folder, or move that away"
        )
    if not options.overwrite:
        raise ConfigError(f"--out {folder} holds an earlier evaluation; add --overwrite, or name another folder")
    return folder


def _foreign(folder: Path) -> list[str]:
    """Return what lies in the folder of an evaluation and does not belong to it."""
    try:
        runs = read_json(folder / RESULTS_FILE)["runs"]
    except (DataError, KeyError, TypeError):
        runs = {}  # a damaged file vouches for no folder
    own = {name.partition("/")[0] for name in runs}
    return sorted(
        path.name
        for path in folder.iterdir()
        if (path.name not in own if path.is_dir() else not path.name.startswith(_OWN_FILES))
    )


def resamples_for(options: EvaluateOptions, conditions: int) -> int:
    """Return the number of bootstrap resamples for a table of so many changed conditions."""
    if options.resamples == "auto":
        return max(_LEAST_RESAMPLES, _RESAMPLES_PER_CONDITION * conditions)
    return options.resamples
