"""A run's folder: complete, or visibly incomplete."""

import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from utils.errors import ConfigError, DataError
from utils.files import write_text
from utils.scalar_log import ScalarLog, append_whole

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
LOG_FILE = "log.jsonl"
LOGITS_FILE = "logits.npz"
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "numpy",
    "pillow",
    "scikit-learn",
    "safetensors",
    "jsonargparse",
)


class RunDirectory:
    """Writes what a run leaves behind. ``metrics.json`` comes last: its presence means that the run finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scalars = ScalarLog(path / "tensorboard")

    @property
    def finished(self) -> bool:
        """Whether the run reached its end."""
        return (self.path / METRICS_FILE).is_file()

    @property
    def checkpoint_last(self) -> Path:
        """Folder of the newest checkpoint."""
        return self.path / "checkpoint_last"

    @property
    def checkpoint_best(self) -> Path:
        """Folder of the checkpoint with the best validation score."""
        return self.path / "checkpoint_best"

    def refuse_unless_empty(self) -> None:
        """Raise a ``ConfigError`` where the folder holds anything."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ConfigError(
                f"run.dir {self.path} is not empty; choose another --run.dir, delete it, or continue an unfinished "
                f"run with --run.resume auto"
            )

    def start(self, config_yaml: str, environment: Mapping[str, Any]) -> None:
        """Create the folder and record configuration and environment."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / CONFIG_FILE, config_yaml)
        self.write_json("env.json", environment)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``log.jsonl`` and its numbers to TensorBoard."""
        append_whole(self.path / LOG_FILE, (json.dumps(row) + "\n").encode("utf-8"))
        self._scalars.add(row)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the rows logged so far."""
        path = self.path / LOG_FILE
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        path = self.path / METRICS_FILE
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            metrics = None
        if not isinstance(metrics, dict) or "test" not in metrics:
            raise DataError(f"{path} is damaged; delete it and use --run.resume auto to score the run again")
        return metrics

    def truncate_log(self, rows: list[dict[str, Any]]) -> None:
        """Replace ``log.jsonl`` and TensorBoard's file by the rows that a checkpoint vouches for."""
        write_text(self.path / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))
        self._scalars.rewrite(rows)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all; numbers that are not finite are refused."""
        write_text(self.path / name, json.dumps(document, indent=2, allow_nan=False) + "\n")


def describe_environment(script: str, device: str) -> dict[str, Any]:
    """Return what a reader needs to repeat a run: command, versions, machine."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {
        "script": script,
        "arguments": sys.argv[1:],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "versions": versions,
    }
