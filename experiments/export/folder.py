"""The exported folder: what ``export.json`` says, written and read back."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from datasets.classes import ClassMap
from experiments.analysis.calibration import COLDEST, HOTTEST
from experiments.export.entries import REMEDY, damaged, entry, entry_within, number, read_document, text, whole
from experiments.export.network import check_network, short
from experiments.export.options import BESIDE_TIMM_FILE, LARGEST_SIDE
from experiments.kinds import KINDS, OFF_THE_SHELF, Config, Kind
from experiments.prediction.description import EXPORT_FILE, Description
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig
from utils.batch import ViewSpec
from utils.checkpoints import WEIGHTS_FILE, check_weights
from utils.config import from_mapping
from utils.errors import ConfigError, DataError
from utils.files import sha256
from utils.names import shown

FORMAT = 1
# What of a data section decides how a pair becomes the pictures of a model.
PICTURE_KEYS = ("view", "image_size", "bars", "normalise")
MOST_CLASSES = 100_000
_LONGEST_BACKBONE = 200
_BARS = {"black": 0, "grey": 125}


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
            name: {**_numbers(spec), "channels": "RGB", "bars": _BARS[config.data.bars]} for name, spec in specs.items()
        },
        "temperature": description.temperature,
        "calibration": description.calibration,
        "weights": {
            "file": weights.relative_to(folder).as_posix(),
            "bytes": weights.stat().st_size,
            "sha256": sha256(weights),
        },
        "notes": list(description.notes),
    }


def _numbers(spec: ViewSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(spec).items() if key != "too_small_advice"}


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

    Whoever wrote the folder: no other file is opened, no code is run, and what is read or built is no larger than the
    weights.

    Raises:
        ConfigError: the model cannot be built as described.
        DataError: the description is damaged, of another version, or the weights are not the ones it names.
    """
    path = folder / EXPORT_FILE
    document = read_document(path)
    if document.get("format") != FORMAT:
        raise DataError(
            f"{path} has the format {shown(str(document.get('format')))} where this version of the project reads "
            f"{FORMAT}; use the version that wrote it, or {REMEDY}"
        )
    kind = KINDS.get(str(document.get("kind")))
    if kind is None:
        raise damaged(path, "kind", f"one of {', '.join(KINDS)}")
    classes = _classes(document, path)
    temperature = entry_within(document, "temperature", number, COLDEST, HOTTEST, path)
    size = entry_within(document, "size", whole, 0, LARGEST_SIDE, path)
    name, calibration = (entry(document, key, text, "a line of text", path) for key in ("name", "calibration"))
    notes = document.get("notes")
    if not isinstance(notes, list) or None in map(text, notes):
        raise damaged(path, "notes", "a list of lines")
    weights, config = _weights(document, folder), _config(document, kind, path)
    check_network(weights, kind, config, len(classes))
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
        folders=classes.folders,
    )


def _classes(document: Mapping[str, Any], path: Path) -> ClassMap:
    rows, ambiguous = document.get("classes"), document.get("ambiguous")
    if (
        not isinstance(rows, list)
        or not 2 <= len(rows) <= MOST_CLASSES
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise damaged(path, "classes", f'2 to {MOST_CLASSES:,} of \'{{"name": …, "folder": …}}\'')
    if not isinstance(ambiguous, list) or None in map(text, ambiguous):
        raise damaged(path, "ambiguous", "a list of class names")
    names, folders = (
        tuple(entry(row, key, text, "a line of text", path) for row in rows) for key in ("name", "folder")
    )
    try:
        return ClassMap(names, folders, tuple(ambiguous))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _config(document: Mapping[str, Any], kind: Kind, path: Path) -> Config:
    """Rebuild the configuration from its model section and the part of its data section that decides pictures."""
    model, data = document.get("model"), document.get("data")
    if not isinstance(model, dict):
        raise damaged(path, "model", "the model section of a configuration")
    known = PICTURE_KEYS if kind is OFF_THE_SHELF else PICTURE_KEYS[1:]
    if not isinstance(data, dict) or set(data) != set(known):
        raise damaged(path, "data", f"a section of {', '.join(known)}")
    try:
        config = portable(from_mapping(kind.config_class, {"model": model, "data": data}, path))
    except ConfigError as error:
        raise ConfigError(f"{short(str(error))}; {REMEDY}") from None
    if (config.data.image_size or 0) > LARGEST_SIDE:
        raise damaged(path, "image_size", f"null or at most {LARGEST_SIDE}")
    for backbone in vars(config.model).values():
        if isinstance(backbone, BackboneConfig) and len(backbone.name) > _LONGEST_BACKBONE:
            raise ConfigError(f"{path}: unknown backbone {shown(backbone.name)}; {REMEDY}")
    return config


def _weights(document: Mapping[str, Any], folder: Path) -> Path:
    """Return the file of the weights after a look at every byte of it."""
    path, named = folder / EXPORT_FILE, document.get("weights")
    names = (WEIGHTS_FILE, BESIDE_TIMM_FILE)
    if not isinstance(named, dict) or named.get("file") not in names:
        raise damaged(path, "weights", f"the name, size and hash of one of {', '.join(names)}")
    file = folder / str(named["file"])
    if not file.is_file():
        raise DataError(f"{folder} has no {file.name}, the weights of the exported model; restore the file")
    if file.stat().st_size != named.get("bytes"):
        raise DataError(
            f"{file} has {file.stat().st_size:,} bytes, not those that were exported; restore it, or {REMEDY}"
        )
    if sha256(file) != named.get("sha256"):
        raise DataError(
            f"{file} is not what was exported: its SHA-256 differs from that in {path}; restore it, or {REMEDY}"
        )
    check_weights(file)
    return file
