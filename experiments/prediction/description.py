"""What is needed to use a trained model, read from a finished run or from an exported folder."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.classes import ClassMap
from datasets.tree import RECORD_FILE, TreeRecord
from experiments.analysis.calibration import fit_temperature
from experiments.kinds import Config, Kind
from experiments.runs import RunRecord, read_runs
from utils.arrays import read_arrays
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import ConfigError, DataError
from utils.run_directory import LOGITS_FILE, METRICS_FILE

EXPORT_FILE = "export.json"
HUB_PREFIX = "hf-hub:"
_USUAL_SIZE = 224
# It travels with an exported model, so it names no folder.
SIZE_GUESSED = (
    f"the run does not say to what size its pairs were made, and their folder is not there: {_USUAL_SIZE} pixels are "
    f"taken, the default of preprocessing"
)


@dataclass(frozen=True)
class Description:
    """A trained model as its folder describes it; nothing is loaded.

    Attributes:
        path: its folder.
        name: its short name.
        kind: which script trained it.
        config: what builds it; of its data section, only what decides a pair's pictures counts.
        classes: names in the order of the outputs.
        ambiguous: those that cannot be told apart without their surroundings.
        size: longer side in pixels to which photo and mask are resized before they are cut; 0 keeps the photo's.
        temperature: by which logits are divided before the softmax; 1 where none was fitted.
        calibration: how the temperature was found, in words.
        weights: file of the weights.
        notes: what a user should know, one line each.
        folders: the classes' folder names, in the same order; null where they follow from the names.
        size_known: whether ``size`` was recorded, and not guessed.
    """

    path: Path
    name: str
    kind: Kind
    config: Config
    classes: tuple[str, ...]
    ambiguous: tuple[str, ...]
    size: int
    temperature: float
    calibration: str
    weights: Path
    notes: list[str] = field(default_factory=list)
    folders: tuple[str, ...] | None = None
    size_known: bool = True

    @property
    def whole_photos(self) -> bool:
        """Whether the model looks at the photo as a whole, so that no mask changes its answer."""
        return getattr(self.config.data, "view", None) == "photo"

    @property
    def class_map(self) -> ClassMap:
        """The classes with their folder names."""
        if self.folders is not None:
            return ClassMap(self.classes, self.folders, self.ambiguous)
        return ClassMap.from_names(self.classes, self.ambiguous)


def describe(source: str | Path) -> Description:
    """Read the description of a model.

    Args:
        source: folder of a finished run or one that ``export.py`` wrote, or ``hf-hub:USER/NAME``.

    Raises:
        ConfigError: there is no such folder, it is neither, or it holds several runs.
        DataError: it is unfinished or damaged.
    """
    if str(source).startswith(HUB_PREFIX):
        from experiments.export.hub import pull  # the client of the hub takes a second to import

        folder = pull(str(source).removeprefix(HUB_PREFIX))
        found = describe(folder)
        return replace(found, notes=[*found.notes, f"{source} at revision {folder.name}"])
    folder = Path(source)
    if (folder / EXPORT_FILE).is_file():
        from experiments.export.folder import read_export

        return read_export(folder)
    records = read_runs([folder])
    if len(records) > 1:
        raise ConfigError(
            f"--run {folder} holds {len(records)} runs, one for each seed; name one of them, such as {records[0].path}"
        )
    return _of_run(records[0])


def _of_run(record: RunRecord) -> Description:
    names = [f"{split}{ending}" for split in ("test", "validation") for ending in ("", "_label")]
    arrays = read_arrays(record.path / LOGITS_FILE, [*names, "ambiguous"], optional=True)
    temperature, calibration = _temperature(record, arrays)
    size = _size(record)
    return Description(
        path=record.path,
        name=record.name,
        kind=record.kind,
        config=record.config,
        classes=record.classes,
        ambiguous=_ambiguous(record, arrays),
        size=_USUAL_SIZE if size is None else size,
        temperature=temperature,
        calibration=calibration,
        weights=record.path / WEIGHTS_FILE,
        notes=[SIZE_GUESSED] if size is None else [],
        size_known=size is not None,
    )


def _temperature(record: RunRecord, arrays: dict[str, NDArray[Any]]) -> tuple[float, str]:
    """Fit the temperature on validation pairs, or on test pairs: new photos are among neither."""
    split = "validation" if "validation" in arrays else "test"
    if split not in arrays or f"{split}_label" not in arrays:
        raise DataError(f"{record.path / LOGITS_FILE} holds no logits of a split; restore it, or train again")
    found = fit_temperature(arrays[f"{split}_label"], arrays[split])
    if isinstance(found, str):
        return 1.0, found if split == "validation" else found.replace("validation pair", "test pair")
    return found, f"fitted on the run's {len(arrays[split]):,} {split} pairs"


def _ambiguous(record: RunRecord, arrays: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    return tuple(record.classes[place] for place in arrays.get("ambiguous", np.zeros(0, np.int64)).tolist())


def _size(record: RunRecord) -> int | None:
    """Return the longer side of a run's pairs in pixels, 0 where they kept their photos'; null where nothing tells."""
    data, root = record.config.data, Path(record.config.data.root)
    if data.source == "archive":
        return data.archive.size
    if data.source == "folders":
        return 0
    side = record.metrics.get("pair_side")
    if isinstance(side, int) and side >= 0:
        return side
    if side is not None:
        raise DataError(f"{record.path / METRICS_FILE} is damaged: 'pair_side' must be a number of pixels; restore it")
    return TreeRecord.load(root / RECORD_FILE).size if (root / RECORD_FILE).is_file() else None
