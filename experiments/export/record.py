"""What an exported folder says of its model's past: its test scores, and where it came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.export.entries import damaged, number, read_document, text
from experiments.prediction.description import EXPORT_FILE, Description
from utils.errors import DataError
from utils.json_file import read_json_object
from utils.provenance import describe_machine
from utils.run_directory import METRICS_FILE

_FACTS = ("seed", "epochs", "selection", "selected_epoch", "fingerprint")


def record_of(description: Description) -> dict[str, Any]:
    """Return ``scores`` and ``origin`` of ``export.json``, as the run or an earlier export recorded them.

    Raises:
        DataError: that record is damaged.
    """
    if (description.path / EXPORT_FILE).is_file():
        scores, origin = _of_export(description.path / EXPORT_FILE)
    else:
        scores, origin = _of_run(description)
    machine = describe_machine("cpu")
    code = {key: machine["code"][key] for key in ("commit", "dirty")}
    here = {"started": machine["started"], "code": code, "python": machine["python"], "versions": machine["versions"]}
    return {"scores": scores, "origin": {**origin, "exported": here}}


def _of_export(path: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    document = read_document(path)
    scores, origin = document.get("scores"), document.get("origin")
    if scores is not None and not _is_scores(scores):
        raise damaged(path, "scores", "null, or scores by name: numbers, and intervals of two")
    if not isinstance(origin, dict):
        raise damaged(path, "origin", "where the model came from, by name")
    return scores, _facts(origin, ("run", *_FACTS), path)


def _of_run(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    path = description.path / METRICS_FILE
    metrics = read_json_object(path)
    if not _is_scores(metrics.get("test")):
        raise DataError(f"{path} is damaged: it holds no test scores; train again")
    return metrics["test"], {"run": description.name, **_facts(metrics, _FACTS, path)}


def _facts(document: Mapping[str, Any], keys: tuple[str, ...], path: Path) -> dict[str, Any]:
    """Return the entries of these names and no others."""
    found = {key: document.get(key) for key in keys}
    for key, value in found.items():
        # Fingerprints are those of the splits, by name.
        texts = [*value, *value.values()] if key == "fingerprint" and isinstance(value, dict) else [value]
        if not all(one is None or text(one) is not None or _is_number(one) for one in texts):
            raise damaged(path, key, "null, a number, or lines of text")
    return found


def _is_scores(scores: object) -> bool:
    """Say whether these are scores by name: a number or null each, an interval under ``_ci`` two numbers or null."""
    return isinstance(scores, dict) and all(
        text(name) is not None and (value is None or (_is_pair if name.endswith("_ci") else _is_number)(value))
        for name, value in scores.items()
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return number(value) is not None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)
