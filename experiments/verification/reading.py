"""The files of a finished run, read without trust in what they hold."""

import csv
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.outcome import PREDICTIONS_FILE, TOP
from utils.config import load_yaml
from utils.errors import ConfigError
from utils.run_directory import CONFIG_FILE, LOGITS_FILE, RunDirectory

Arrays = Mapping[str, NDArray[Any]]
_RESAMPLES = 2000


@dataclass(frozen=True)
class Recorded:
    """The files of a finished run.

    Attributes:
        path: folder of the run.
        metrics: content of ``metrics.json``.
        environment: content of ``env.json``; empty where there is none.
        settings: content of ``config.yaml``, section by section.
        lines: rows of ``predictions.csv`` by column; None where the file cannot be read.
        arrays: those of ``logits.npz``; None where the file cannot be read.
        damage: by file, why it cannot be read.
    """

    path: Path
    metrics: dict[str, Any]
    environment: dict[str, Any]
    settings: dict[str, Any]
    lines: list[dict[str, str]] | None
    arrays: Arrays | None
    damage: dict[str, str]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return list(self.metrics["classes"])

    def setting(self, section: str, name: str, otherwise: object = None) -> Any:  # noqa: ANN401  # as YAML has it
        """Return a value of the configuration."""
        values = self.settings.get(section)
        return values.get(name, otherwise) if isinstance(values, dict) else otherwise

    @property
    def resamples(self) -> int:
        """Resamples behind each interval."""
        return int(self.setting("eval", "resamples", _RESAMPLES))


def read_recorded(path: Path, metrics: dict[str, Any]) -> Recorded:
    """Read the files of a run; one that is damaged or missing is a finding, not an error.

    Raises:
        ConfigError: ``config.yaml`` cannot be read, so that nothing can be computed as the run did.
    """
    settings = load_yaml(path / CONFIG_FILE)
    damage: dict[str, str] = {}
    lines = arrays = None
    try:
        lines = _read_lines(path / PREDICTIONS_FILE, len(metrics["classes"]))
    except (OSError, ValueError, csv.Error) as error:
        damage[PREDICTIONS_FILE] = f"{PREDICTIONS_FILE} cannot be read ({error})"
    try:
        with np.load(path / LOGITS_FILE, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        _check_arrays(arrays, len(metrics["classes"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        arrays, damage[LOGITS_FILE] = None, f"{LOGITS_FILE} cannot be read ({error})"
    run = Recorded(path, metrics, RunDirectory(path).read_environment(), settings, lines, arrays, damage)
    resamples = run.setting("eval", "resamples", _RESAMPLES)
    if type(resamples) is not int or resamples < 1:
        raise ConfigError(
            f"{path / CONFIG_FILE}: eval.resamples is {resamples!r}, and has to be a whole number from 1; restore it"
        )
    return run


def _check_arrays(arrays: Arrays, classes: int) -> None:
    """Raise a ``ValueError`` where arrays are missing or do not fit each other and the classes."""
    splits = ["test", "validation"] if "validation" in arrays else ["test"]
    for name in ["ambiguous", *(split + part for split in splits for part in ("", "_label", "_group"))]:
        if name not in arrays:
            raise ValueError(f"it holds no array '{name}'")
    for split in splits:
        logits, label, group = (arrays[split + part] for part in ("", "_label", "_group"))
        if logits.ndim != 2 or logits.shape[1] != classes or not label.shape == group.shape == logits.shape[:1]:
            raise ValueError(f"the arrays of {split} do not fit each other or the {classes} classes of metrics.json")
        if not _are_classes(label, classes):
            raise ValueError(f"the labels of {split} are not those of {classes} classes")
    if not _are_classes(arrays["ambiguous"], classes):
        raise ValueError(f"the ambiguous classes are not among the {classes} of metrics.json")


def _are_classes(values: NDArray[Any], classes: int) -> bool:
    return values.dtype.kind in "iu" and bool(((values >= 0) & (values < classes)).all())


def _read_lines(path: Path, classes: int) -> list[dict[str, str]]:
    lines = read_table(path)
    if not lines:
        raise ValueError("it holds no line")
    wanted = {"class", "group", "truth", "prediction", *(f"top{rank}" for rank in range(1, min(TOP, classes) + 1))}
    absent = wanted - lines[0].keys()
    if absent:
        raise ValueError(f"it has no column {', '.join(sorted(absent))}")
    return lines


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file by the names of its columns; a ``ValueError`` or ``csv.Error`` tells of lines that do not fit."""
    with path.open(encoding="utf-8", newline="") as file:
        lines: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise ValueError(f"line {number} has another number of cells than the first")
    return lines
