"""Finished runs, read back: what was trained, on which classes, and the model itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from datasets.index import PairIndex
from datasets.sources import class_names_of, load_index_of, moved_to
from experiments.kinds import KINDS, Config, Kind, Model
from utils.batch import image_memory_format
from utils.checkpoints import WEIGHTS_FILE, check_weights, load_into, load_weights
from utils.config import from_mapping, load_yaml
from utils.errors import ConfigError, DataError, UserError, nearest
from utils.run_directory import CONFIG_FILE, METRICS_FILE, RunDirectory


@dataclass(frozen=True)
class RunRecord:
    """A finished run as its folder describes it; the model is loaded apart.

    Attributes:
        path: folder of the run.
        name: short name, different from that of every run read with it.
        kind: which script trained it.
        config: its resolved configuration.
        classes: names of the classes, in the order of its outputs.
        metrics: content of ``metrics.json``.
    """

    path: Path
    name: str
    kind: Kind
    config: Config
    classes: tuple[str, ...]
    metrics: dict[str, Any]

    @property
    def series(self) -> str:
        """Name shared by the runs of one folder of seeds; the run's own name elsewhere."""
        return self.name.rpartition("/")[0] if self.path.name.startswith("seed") else self.name

    def load_model(self, device: torch.device) -> Model:
        """Build the model with its scored weights, in eval mode; views and classes are as in training."""
        return load_model(self.kind, self.config, len(self.classes), self.path / WEIGHTS_FILE, device)

    def columns(self, index: PairIndex) -> list[int]:
        """Return the model's outputs that stand for the classes of an index, in that index's order."""
        return [self.classes.index(name) for name in index.classes.names]


def load_model(kind: Kind, config: Config, n_classes: int, weights: Path, device: torch.device) -> Model:
    """Build a model with weights from a file, in eval mode.

    Raises:
        DataError: the file is damaged, or holds the weights of another model.
    """
    model = kind.build(config, n_classes, False)
    load_into(model, load_weights(weights), weights)
    # As in training, down to how pictures lie in memory: the run's own logits come out bit for bit.
    model.to(device)
    model.to(memory_format=image_memory_format(device))
    return model.eval()


def is_pretraining(path: Path) -> bool:
    """Return whether a folder is that of a pre-training, of which there is a backbone and no classifier."""
    try:
        model = load_yaml(path / CONFIG_FILE).get("model")
    except UserError:
        return False
    return isinstance(model, dict) and isinstance(model.get("backbone"), str)


def find_runs(folders: Sequence[str | Path], option: str = "--run ") -> list[Path]:
    """Return the folders of runs, a folder of seeds (``--train.seeds``) replaced by its runs.

    ``option`` is what stands before a folder on the command line.

    Raises:
        ConfigError: a folder is not there, named twice, or not that of a run.
    """
    if not folders:
        raise ConfigError("no run is named; add --run DIR, the folder that a train script wrote (run.dir)")
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise ConfigError(f"{option}{folder} does not exist{nearest(folder.name, siblings)}")
        seeds = sorted(folder.glob("seed*"), key=lambda path: (len(path.name), path.name))
        seeds = [path for path in seeds if (path / CONFIG_FILE).is_file()]
        if not seeds and not (folder / CONFIG_FILE).is_file():
            raise ConfigError(
                f"{option}{folder} is not the folder of a run: it holds no {CONFIG_FILE}; name the run.dir of a train "
                f"script"
            )
        found += seeds or [folder]
    doubled = [str(path) for path in found if sum(path.resolve() == other.resolve() for other in found) > 1]
    if doubled:
        raise ConfigError(f"{option or 'the command '}names {doubled[0]} twice; name each run once")
    return found


def read_runs(folders: Sequence[str | Path]) -> list[RunRecord]:
    """Read the records of finished runs; ``find_runs`` says which folders are taken.

    Raises:
        ConfigError: as ``find_runs``.
        DataError: a run is unfinished, has no weights, or is damaged; says which and what to do.
    """
    paths = find_runs(folders)
    return [_read(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]


def load_index(
    record: RunRecord,
    root: str | Path | None = None,
    split: str | None = None,
    exclude: Iterable[str] = (),
    max_megapixels: float | None = None,
) -> PairIndex:
    """List the pairs of a split for a finished run, without the classes it was trained without.

    Args:
        record: the run.
        root: tree of pairs or archive; null takes the one that the run was trained on. Folder pairs and archives may
            stand for each other, which the index's notes then say; an archive is read with the run's options.
        split: folder name of the split; null takes the run's test split.
        exclude: further classes to leave out, of the pairs and of the run's outputs (``RunRecord.columns``).
        max_megapixels: largest picture that is decoded, in million pixels; null takes the run's own limit.

    Raises:
        DataError: the data cannot be read, a class to exclude is unknown, no pair is left, or the data's classes are
            not the run's; lists the differences on both sides.
    """
    folder = Path(root or record.config.data.root)
    split = split or record.config.data.splits.test
    data, notes = moved_to(record.config.data, folder, split)
    if max_megapixels is not None:
        data = replace(data, max_megapixels=max_megapixels)
    further = [name for name in exclude if name not in data.exclude]
    for name in further:
        if name not in record.classes:
            raise DataError(f"--exclude: no class of {record.path} is called '{name}'{nearest(name, record.classes)}")
    if len(record.classes) - len(further) < 2:
        raise DataError(
            f"--exclude leaves {len(record.classes) - len(further)} classes of {record.path}; keep two or more"
        )
    # Data that lack a class which is left out anyway are as good as data that have it.
    excluded = [*data.exclude, *further]
    if excluded:
        declared = class_names_of(data, split, split_option="--data.split")
        excluded = [name for name in excluded if name in declared]
    index = load_index_of(data, split, exclude=excluded, split_option="--data.split")
    index.notes[:0] = notes
    wanted = [name for name in record.classes if name not in further]
    if list(index.classes.names) != wanted:
        _refuse_classes(record, folder, index.classes.names, wanted)
    if len(index) == 0:
        raise DataError(f"the split {split} of {folder} holds no pair of the remaining classes; name another split")
    return index


def _refuse_classes(record: RunRecord, folder: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    only_data = [name for name in found if name not in wanted]
    only_run = [name for name in wanted if name not in found]
    if only_data or only_run:
        parts = [
            f"only in {folder}: {', '.join(only_data) or 'none'}",
            f"only in the run: {', '.join(only_run) or 'none'}",
        ]
        detail = "; ".join(parts)
    else:
        place = next(i for i, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
        detail = (
            f"the order differs from position {place} on: '{found[place]}' in {folder}, '{wanted[place]}' in the run"
        )
    raise DataError(
        f"the classes of {folder} are not those of the run {record.path} ({detail}); use the data that the run was "
        f"trained on, or leave classes out with --exclude"
    )


def _read(path: Path, name: str) -> RunRecord:
    run = RunDirectory(path)
    if not run.finished:
        of_seeds = path.name.startswith("seed") and (path.parent / CONFIG_FILE).is_file()
        raise DataError(
            f"{path} is an unfinished run (it has no {METRICS_FILE}); finish it with its training command and "
            f"--run.dir {path.parent if of_seeds else path} --run.resume auto"
        )
    metrics = run.read_metrics()
    if not (path / WEIGHTS_FILE).is_file():
        raise DataError(f"{path} has no {WEIGHTS_FILE}: its weights were removed; restore the file, or train again")
    check_weights(path / WEIGHTS_FILE)
    kind, classes = KINDS.get(str(metrics.get("model"))), metrics.get("classes")
    if kind is None or not classes:
        raise DataError(f"{path / METRICS_FILE} is damaged: it names no known model and classes; train again")
    config = from_mapping(kind.config_class, load_yaml(path / CONFIG_FILE), path / CONFIG_FILE)
    return RunRecord(path, name, kind, config, tuple(classes), metrics)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return names of one path part, or two for a run of a folder of seeds, lengthened until no two are alike."""
    parts = [path.resolve().parts[1:] for path in paths]
    lengths = [2 if path.name.startswith("seed") else 1 for path in paths]
    while True:
        names = ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        alike = [i for i, name in enumerate(names) if names.count(name) > 1]
        if not alike:
            return names
        for i in alike:
            lengths[i] += 1
