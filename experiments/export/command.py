"""What ``export.py`` does: a finished run in, a folder that needs no run out."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from experiments.export.card import model_card
from experiments.export.folder import describe_export, portable
from experiments.export.hub import check_push, push
from experiments.export.onnx import write_onnx
from experiments.export.options import BESIDE_TIMM_FILE, ONNX_FILE, README_FILE, ExportOptions, output_folder
from experiments.export.record import record_of
from experiments.kinds import Model
from experiments.prediction.description import EXPORT_FILE, SIZE_GUESSED, Description, describe
from experiments.runs import load_model
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.timm_folder import write_timm_folder
from utils.checkpoints import WEIGHTS_FILE
from utils.config import parse_config
from utils.errors import ConfigError
from utils.files import whole_folder, write_text
from utils.processes import refuse_several

SCRIPT = "export.py"


def export_command(argv: list[str]) -> None:
    """Parse the command line of ``export.py`` and run it."""
    options, _ = parse_config(ExportOptions, argv, program=SCRIPT, flags={})
    refuse_several(SCRIPT)
    folder = export_run(options)
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"exported: {folder} ({n_bytes / 1e6:,.1f} MB)")
    if options.push is not None:
        print(f"uploaded: {push(folder, options.push, public=options.public)}")


def export_run(options: ExportOptions) -> Path:
    """Write the folder of an exported model, whole or not at all, and return it; notes are printed.

    Raises:
        ConfigError: an option cannot be used, or the model cannot be written as asked.
        DataError: the run is unfinished or damaged.
        RunError: ONNX and PyTorch disagree.
    """
    if options.run is None:
        raise ConfigError("no run is named; add --run DIR, the folder that a train script wrote (run.dir)")
    out = output_folder(options)
    if options.push is not None:
        check_push(options.push)
    description = _sized(describe(options.run), options.size)
    record = record_of(description)
    model = load_model(
        description.kind,
        portable(description.config),
        len(description.classes),
        description.weights,
        torch.device("cpu"),
    )
    model.to(memory_format=torch.contiguous_format)
    for note in description.notes:
        print(f"note: {note}")
    with whole_folder(out) as folder:
        _fill(folder, options, description, model, record)
    return out


def _fill(
    folder: Path, options: ExportOptions, description: Description, model: Model, record: Mapping[str, Any]
) -> None:
    timm = _write_timm(folder, description, model) if options.hub == "timm" else []
    weights = folder / (BESIDE_TIMM_FILE if timm == ["."] else WEIGHTS_FILE)
    shutil.copyfile(description.weights, weights)
    document = describe_export(description, model.view_specs, folder, weights) | {"timm": timm}
    document["onnx"] = None
    if options.onnx:
        facts = {key: document[key] for key in ("name", "classes", "ambiguous", "views", "size", "temperature")}
        path = folder / ONNX_FILE
        document["onnx"] = write_onnx(model, path, given=options.onnx_input, opset=options.opset, facts=facts)
    document |= record
    write_text(folder / EXPORT_FILE, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(folder / README_FILE, model_card(document))


def _write_timm(folder: Path, description: Description, model: Model) -> list[str]:
    """Write what timm loads by itself: the model of one view as a whole, else each module; return the folders."""
    if not model.is_plain:
        raise ConfigError(
            f"--hub timm: {description.name} is more than models of timm and a head (a plug-in module, or a selector), "
            f"and timm's own would give other answers; leave --hub out"
        )
    if isinstance(model, OffTheShelf):
        classifier = cast(nn.Linear, cast(nn.Sequential, model.head)[-1])
        write_timm_folder(model.backbone, model.view_specs[model.view], folder, classifier, description.classes)
        return ["."]
    views = ["roi"] if model.tied else list(model.backbones)
    modules = {f"{view}_backbone": view for view in views}
    for name, view in modules.items():
        write_timm_folder(model.backbones[view], model.view_specs[view], folder / name)
    return list(modules)


def _sized(description: Description, size: int | None) -> Description:
    """Return a description whose size is a fact: recorded, or given by ``--size``."""
    if description.size_known:
        if size not in (None, description.size):
            raise ConfigError(
                f"--size is {size}, but {description.path} records {description.size} px (0 keeps the photo's size); "
                f"leave --size out"
            )
        return description
    if size is None:
        raise ConfigError(
            f"{description.path} does not say to what size its pairs were made, and its data.root, "
            f"{description.config.data.root}, is not there: run {SCRIPT} from where that folder is, or add --size N "
            f"(longer side in pixels; 0 for pairs that kept their photo's size)"
        )
    notes = [note for note in description.notes if note != SIZE_GUESSED]
    return replace(description, size=size, size_known=True, notes=notes)
