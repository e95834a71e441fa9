"""Which evaluation of a run is its own: the one made of these weights under this suite."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from experiments.evaluation.options import RESULTS_FILE, EvaluateOptions, suite_file
from experiments.paper.options import project_file
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import DataError
from utils.files import sha256, write_text
from utils.json_file import read_json, read_json_object

STAMP_FILE = "made_from.json"


def suite_path(suite: str) -> Path:
    """Return the file of a suite named in a grid; a ``ConfigError`` where there is none."""
    found = suite_file(EvaluateOptions(suite=str(project_file(suite))))
    assert found is not None
    return found


def evaluation_folder(run: Path, suite: str) -> Path:
    """Return where a run's evaluation under a suite lies, ``evaluate.py``'s own place."""
    return run / "evaluation" / suite_path(suite).stem


def stamp(run: Path, suite: str) -> None:
    """Record what an evaluation was made from: hashes of the run's weights and of the suite's file."""
    write_text(evaluation_folder(run, suite) / STAMP_FILE, json.dumps(_sources(run, suite), indent=2) + "\n")


def read_evaluation(run: Path, suite: str) -> dict[str, Any] | None:
    """Return ``results.json`` of a run under a suite; None where there is none of these weights and this suite.

    Raises:
        DataError: the file is damaged.
    """
    folder = evaluation_folder(run, suite)
    if not (folder / RESULTS_FILE).is_file() or not (folder / STAMP_FILE).is_file():
        return None
    try:
        if read_json(folder / STAMP_FILE) != _sources(run, suite):
            return None
        return read_json_object(folder / RESULTS_FILE)
    except DataError:
        raise DataError(f"{folder} holds a damaged {RESULTS_FILE}; delete the folder and repeat the command") from None


def _sources(run: Path, suite: str) -> dict[str, str]:
    return {"weights": _hash(run / WEIGHTS_FILE), "suite": _hash(suite_path(suite))}


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_once(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_once(path: Path, _size: int, _changed: int) -> str:
    """Hash a file once per process as long as it stays the same; weights can hold a gigabyte."""
    return sha256(path)
