"""The exported folder: what ``export.json`` says, written and read back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from datasets.classes import ClassMap
from experiments.analysis.calibration import COLDEST, HOTTEST
from experiments.export.options import BESIDE_TIMM_FILE
from experiments.kinds import KINDS, OFF_THE_SHELF, Config, Kind
from experiments.prediction.description import EXPORT_FILE, Description
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig
from utils.batch import ViewSpec
from utils.checkpoints import WEIGHTS_FILE, check_weights
from utils.config import from_mapping
from utils.errors import ConfigError, DataError
from utils.files import sha256
from utils.json_file import read_json_object
from utils.names import shown

FORMAT = 1
# What of a data section decides how a pair becomes the pictures of a model.
PICTURE_KEYS = ("view", "image_size", "bars", "normalise")
LARGEST_SIDE = 16_384
MOST_CLASSES = 100_000
_LONGEST_TEXT = 1000
_BARS = {"black": 0, "grey": 125}
_REMEDY = "export the run again"

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


def describe_export(
    description: Description, specs: Mapping[str, ViewSpec], folder: Path, weights: Path
) -> dict[str, Any]:
    """Return what ``export.json`` holds of a model: everything needed to use it, and nothing of this machine.

    Args:
        description: the model.
        specs: what each of its views is.
        folder: the exported one, in which ``weights`` lies.
        weights: the file whose hash is recorded.
    """
    config, classes = portable(description.config), description.class_map
    data = asdict(config.data)
    return {
        "format": FORMAT,
        "kind": description.kind.name,
        "name": description.name,
        "model": asdict(config.model),
        "data": {key: data[key] for key in PICTURE_KEYS if key in data},
        "classes": [
            {"name": name, "folder": folder} for name, folder in zip(classes.names, classes.folders, strict=True)
        ],
        "ambiguous": list(description.ambiguous),
        "size": description.size,
        "views": {
            name: {**asdict(spec), "channels": "RGB", "bars": _BARS[config.data.bars]} for name, spec in specs.items()
        },
        "temperature": description.temperature,
        "calibration": description.calibration,
        "weights": {
            "file": weights.relative_to(folder).as_posix(),
            "bytes": weights.stat().st_size,
            "sha256": sha256(weights),
        },
        "notes": [note.replace(str(description.path), description.name) for note in description.notes],
    }


def portable(config: Config) -> Config:
    """Return a configuration that builds the same network anywhere: no file, no download, nothing of training."""

    def bare(backbone: BackboneConfig) -> BackboneConfig:
        return replace(
            backbone, pretrained=False, weights=None, allow_mismatch=False, frozen=False, grad_checkpointing=False
        )

    if isinstance(config, OffTheShelfConfig):
        return replace(config, model=replace(config.model, backbone=bare(config.model.backbone)))
    roi, extra_roi = bare(config.model.roi_backbone), bare(config.model.extra_roi_backbone)
    return replace(config, model=replace(config.model, roi_backbone=roi, extra_roi_backbone=extra_roi))


def read_export(folder: Path) -> Description:
    """Read the description of an exported model and check that its weights are those that were written.

    Whoever wrote the folder: no other file is opened, no code is run, and what is read is no larger than the weights.

    Raises:
        ConfigError: the model cannot be built as described.
        DataError: the description is damaged, of another version, or the weights are not the ones it names.
    """
    path = folder / EXPORT_FILE
    document = read_json_object(path, "description of an exported model")
    if document.get("format") != FORMAT:
        raise DataError(
            f"{path} has the format {shown(str(document.get('format')))} where this version of the project reads "
            f"{FORMAT}; use the version that wrote it, or {_REMEDY}"
        )
    kind = KINDS.get(str(document.get("kind")))
    if kind is None:
        raise _damaged(path, "kind", f"one of {', '.join(KINDS)}")
    classes = _classes(document, path)
    temperature = _within(document, "temperature", _number, COLDEST, HOTTEST, path)
    size = _within(document, "size", _whole, 0, LARGEST_SIDE, path)
    name, calibration = (_get(document, key, _text, "a line of text", path) for key in ("name", "calibration"))
    notes = document.get("notes")
    if not isinstance(notes, list) or None in map(_text, notes):
        raise _damaged(path, "notes", "a list of lines")
    weights, config = _weights(document, folder), _config(document, kind, path)
    _check_head(weights, config, len(classes))
    return Description(
        path=folder,
        name=name,
        kind=kind,
        config=config,
        classes=classes.names,
        ambiguous=classes.ambiguous,
        size=size,
        temperature=temperature,
        calibration=calibration,
        weights=weights,
        notes=notes,
    )


def _classes(document: Mapping[str, Any], path: Path) -> ClassMap:
    rows, ambiguous = document.get("classes"), document.get("ambiguous")
    if (
        not isinstance(rows, list)
        or not 2 <= len(rows) <= MOST_CLASSES
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise _damaged(path, "classes", f'2 to {MOST_CLASSES:,} of \'{{"name": …, "folder": …}}\'')
    if not isinstance(ambiguous, list) or None in map(_text, ambiguous):
        raise _damaged(path, "ambiguous", "a list of class names")
    names, folders = (
        tuple(_get(row, key, _text, "a line of text", path) for row in rows) for key in ("name", "folder")
    )
    try:
        return ClassMap(names, folders, tuple(ambiguous))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _config(document: Mapping[str, Any], kind: Kind, path: Path) -> Config:
    """Rebuild the configuration from its model section and the part of its data section that decides pictures."""
    model, data = document.get("model"), document.get("data")
    if not isinstance(model, dict):
        raise _damaged(path, "model", "the model section of a configuration")
    known = PICTURE_KEYS if kind is OFF_THE_SHELF else PICTURE_KEYS[1:]
    if not isinstance(data, dict) or set(data) != set(known):
        raise _damaged(path, "data", f"a section of {', '.join(known)}")
    try:
        return portable(from_mapping(kind.config_class, {"model": model, "data": data}, path))
    except ConfigError as error:
        raise ConfigError(f"{error}; {_REMEDY}") from None


def _weights(document: Mapping[str, Any], folder: Path) -> Path:
    """Return the file of the weights after a look at every byte of it."""
    path, entry = folder / EXPORT_FILE, document.get("weights")
    names = (WEIGHTS_FILE, BESIDE_TIMM_FILE)
    if not isinstance(entry, dict) or entry.get("file") not in names:
        raise _damaged(path, "weights", f"the name, size and hash of one of {', '.join(names)}")
    file = folder / str(entry["file"])
    if not file.is_file():
        raise DataError(f"{folder} has no {file.name}, the weights of the exported model; restore the file")
    if file.stat().st_size != entry.get("bytes"):
        raise DataError(
            f"{file} has {file.stat().st_size:,} bytes, not those that were exported; restore it, or {_REMEDY}"
        )
    if sha256(file) != entry.get("sha256"):
        raise DataError(
            f"{file} is not what was exported: its SHA-256 differs from that in {path}; restore it, or {_REMEDY}"
        )
    check_weights(file)
    return file


def _check_head(weights: Path, config: Config, n_classes: int) -> None:
    """Compare the head with its tensors before it is built, since a description can ask for any width."""
    one_view = isinstance(config, OffTheShelfConfig)
    key, width = ("head.1.weight", None) if one_view else ("head.4.weight", getattr(config.model, "hidden_width", None))
    try:
        with safe_open(weights, framework="pt") as file:
            shape = file.get_slice(key).get_shape() if key in file.keys() else None  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise DataError(f"{weights} is damaged or not a safetensors file: {error}") from None
    if shape is None or len(shape) != 2 or shape[0] != n_classes or width not in (None, shape[1]):
        found = "no such tensor" if shape is None else "×".join(map(str, shape))
        wanted = f"{n_classes}×{'D' if width is None else width}"
        raise DataError(f"the weights in {weights} do not fit {EXPORT_FILE}: {key} is {found}, not {wanted}; {_REMEDY}")


def _get(document: Mapping[str, Any], key: str, read: Callable[[Any], Value | None], allowed: str, path: Path) -> Value:
    value = read(document.get(key))
    if value is None:
        raise _damaged(path, key, allowed)
    return value


def _within(
    document: Mapping[str, Any], key: str, read: Callable[[Any], Number | None], least: float, most: float, path: Path
) -> Number:
    allowed = f"a number from {least:g} to {most:g}"
    value = _get(document, key, read, allowed, path)
    if not least <= value <= most:
        raise _damaged(path, key, allowed)
    return value


def _text(value: Any) -> str | None:  # noqa: ANN401  # whatever JSON holds
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def _whole(value: Any) -> int | None:  # noqa: ANN401
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:  # noqa: ANN401
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None  # JSON knows NaN and whole numbers of any size


def _damaged(path: Path, key: str, allowed: str) -> DataError:
    return DataError(f"{path} is damaged: '{key}' must be {allowed}; restore it, or {_REMEDY}")
