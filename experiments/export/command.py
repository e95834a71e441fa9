"""What ``export.py`` does: a finished run in, a folder that needs no run out."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from experiments.export.card import model_card
from experiments.export.folder import describe_export, portable
from experiments.export.hub import check_push, push
from experiments.export.onnx import write_onnx
from experiments.export.options import BESIDE_TIMM_FILE, ONNX_FILE, README_FILE, ExportOptions, output_folder
from experiments.kinds import Model
from experiments.prediction.description import EXPORT_FILE, Description, describe
from experiments.runs import load_model
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.timm_folder import write_timm_folder
from utils.checkpoints import WEIGHTS_FILE
from utils.config import parse_config
from utils.errors import ConfigError, DataError
from utils.files import whole_folder, write_text
from utils.json_file import read_json_object
from utils.processes import refuse_several
from utils.provenance import describe_machine
from utils.run_directory import METRICS_FILE

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
    description = describe(options.run)
    scores, came_from = _record(description)
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
        _fill(folder, options, description, model, {"scores": scores, "origin": came_from})
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
    if isinstance(model, OffTheShelf):
        classifier = cast(nn.Linear, cast(nn.Sequential, model.head)[-1])
        write_timm_folder(model.backbone, model.view_specs[model.view], folder, classifier, description.classes)
        return ["."]
    views = ["roi"] if model.tied else list(model.backbones)
    modules = {f"{view}_backbone": view for view in views}
    for name, view in modules.items():
        write_timm_folder(model.backbones[view], model.view_specs[view], folder / name)
    return list(modules)


def _record(description: Description) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the test scores of a model and where it came from, as its run or its export recorded them."""
    machine = describe_machine("cpu")
    code = {key: machine["code"][key] for key in ("commit", "dirty")}
    here = {"started": machine["started"], "code": code, "python": machine["python"], "versions": machine["versions"]}
    exported = description.path / EXPORT_FILE
    if exported.is_file():
        document = read_json_object(exported)
        scores, origin = document.get("scores"), document.get("origin")
        return scores if _is_scores(scores) else None, {"exported_again": here, "origin": origin}
    metrics = read_json_object(description.path / METRICS_FILE)
    if not _is_scores(metrics.get("test")):
        raise DataError(f"{description.path / METRICS_FILE} is damaged: it holds no test scores; train again")
    facts = {key: metrics.get(key) for key in ("seed", "epochs", "selection", "selected_epoch", "fingerprint")}
    return metrics["test"], {"run": description.name, **facts, "exported": here}


def _is_scores(scores: object) -> bool:
    """Say whether these are scores by name: numbers, their intervals, and null where there is none."""
    if not isinstance(scores, dict):
        return False
    values = [item for value in scores.values() for item in (value if isinstance(value, list) else [value])]
    return all(item is None or (isinstance(item, int | float) and abs(item) < 1e12) for item in values)
