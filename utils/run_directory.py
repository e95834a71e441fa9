"""A run's folder: complete, or visibly incomplete."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.checkpoints import BEST, FOLDERS, LAST, PREVIOUS
from utils.errors import ConfigError, DataError, os_error_text
from utils.files import is_temporary, sweep, write_text
from utils.json_file import read_json_object
from utils.locks import FileLock
from utils.scalar_log import ScalarLog, append_whole

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "env.json"
LOCK_FILE = ".lock"
_PATIENCE = 1.0  # seconds: as long as another process may only look whether it is taken
METRICS_FILE = "metrics.json"
LOG_FILE = "log.jsonl"
LOGITS_FILE = "logits.npz"


class RunDirectory:
    """Writes what a run leaves behind. ``metrics.json`` comes last: its presence means that the run finished."""

    def __init__(self, path: Path, named: Path | None = None) -> None:
        """Take the folder of a run, and the one that the command names: that of all seeds, where it is one of them."""
        self.path = path
        self.named = named or path
        self._scalars = ScalarLog(path / "tensorboard")

    @property
    def how_to_go_on(self) -> str:
        """A sentence for the end of messages about a run that stopped."""
        return f"Continue with the same command and --run.dir {self.named} --run.resume auto"

    @property
    def finished(self) -> bool:
        """Whether the run reached its end."""
        return (self.path / METRICS_FILE).is_file()

    @property
    def begun(self) -> bool:
        """Whether a run was started here, finished or not."""
        return (self.path / CONFIG_FILE).is_file()

    @property
    def checkpoint_last(self) -> Path:
        """Folder of the newest checkpoint."""
        return self.path / LAST

    @property
    def checkpoint_best(self) -> Path:
        """Folder of the weights with the best validation score."""
        return self.path / BEST

    def checkpoint_of(self, epoch: int) -> Path:
        """Return the folder of the checkpoint that is kept after an epoch, counted from 1."""
        return self.path / f"{FOLDERS}epoch_{epoch:04d}"

    def lock(self) -> FileLock:
        """Make the folder where it is missing and keep other processes out until the lock is released, or they are.

        Raises:
            ConfigError: another process writes to this run, which it names; or the folder cannot be written to.
        """
        lock = FileLock(self.path / LOCK_FILE)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if lock.take(patience=_PATIENCE):
                for folder in (self.path, self.checkpoint_best):
                    sweep(folder)
                return lock
        except OSError as error:
            raise ConfigError(f"run.dir {self.path} cannot be written to: {os_error_text(error)}") from None
        raise ConfigError(
            f"run.dir {self.path} is being written by another run ({lock.holder()}); wait until that one ends, or "
            f"choose another --run.dir"
        )

    def refuse_unless_empty(self) -> None:
        """Raise a ``ConfigError`` where the folder holds anything but what a start that was killed left in it."""
        if self.path.exists() and (not self.path.is_dir() or any(map(self._matters, self.path.iterdir()))):
            raise ConfigError(
                f"run.dir {self.path} is not empty; choose another --run.dir, delete it, or continue an unfinished "
                f"run with --run.resume auto"
            )

    def refuse_if_locked(self) -> None:
        """Raise a ``ConfigError`` where another process writes to this run; changes nothing."""
        if (self.path / LOCK_FILE).is_file():
            self.lock().release()

    def discard_unless_begun(self) -> None:
        """Remove a folder in which a run was about to start, but did not."""
        if self.path.is_dir() and not any(map(self._matters, self.path.iterdir())):
            shutil.rmtree(self.path)

    def tidy(self) -> None:
        """Remove what a finished run needs no more, as far as the system lets it: what it would fall back to."""
        shutil.rmtree(self.path / PREVIOUS, ignore_errors=True)
        with suppress(OSError):
            for folder in (self.path, self.checkpoint_best):
                sweep(folder)

    def _matters(self, path: Path) -> bool:
        return path.name not in (LOCK_FILE, ENVIRONMENT_FILE) and not is_temporary(path.name)

    def record(self, config_yaml: str, environment: Mapping[str, Any]) -> None:
        """Write environment and, last of all, configuration: with it a run has begun."""
        digest = hashlib.sha256(config_yaml.encode("utf-8")).hexdigest()
        self.write_json(ENVIRONMENT_FILE, {**environment, "config_sha256": digest})
        write_text(self.path / CONFIG_FILE, config_yaml)

    def read_environment(self) -> dict[str, Any]:
        """Return the content of ``env.json``; nothing where it is missing or damaged."""
        with suppress(DataError):
            return read_json_object(self.path / ENVIRONMENT_FILE)
        return {}

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``log.jsonl`` and its numbers to TensorBoard."""
        append_whole(self.path / LOG_FILE, (json.dumps(row) + "\n").encode("utf-8"))
        self._scalars.add(row)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the rows logged so far."""
        path = self.path / LOG_FILE
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def read_metrics(self, *, scored: bool = True) -> dict[str, Any]:
        """Return the content of ``metrics.json``.

        Raises:
            DataError: it is damaged; or it has no test scores, where ``scored`` asks for them.
        """
        path = self.path / METRICS_FILE
        try:
            metrics = read_json_object(path)
        except DataError:
            metrics = {}
        if scored and "test" not in metrics and "backbone" in metrics:
            raise DataError(
                f"{self.path} is a pre-training, which has neither classes nor scores; train a classifier from it, "
                f"such as train_Off-the-shelf.py --model.backbone.weights {self.path}"
            )
        if not metrics or (scored and "test" not in metrics):
            raise DataError(f"{path} is damaged; delete that file and use --run.resume auto to score the run again")
        return metrics

    def truncate_log(self, rows: list[dict[str, Any]]) -> None:
        """Replace ``log.jsonl`` and TensorBoard's file by the rows that a checkpoint vouches for."""
        write_text(self.path / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))
        self._scalars.rewrite(rows)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all; numbers that are not finite are refused."""
        write_text(self.path / name, json.dumps(document, indent=2, allow_nan=False) + "\n")
