"""A run's folder, looked through: is everything there, whole, and still about the same data?"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from datasets.changes import describe_change, describe_photo_change
from datasets.doctor.findings import Finding, finding
from datasets.doctor.report import Report
from datasets.two_views.photos import index_photos
from experiments.kinds import KINDS, Config
from experiments.loading import load_splits
from experiments.runs import is_pretraining
from R2O.config import R2OConfig
from utils.checkpoints import BEST, FOLDERS, WEIGHTS_FILE, check_checkpoint, check_weights, find_checkpoint
from utils.config import from_mapping, load_yaml
from utils.errors import DataError, UserError
from utils.files import is_temporary, sha256
from utils.json_file import read_json_object
from utils.locks import FileLock
from utils.run_directory import CONFIG_FILE, ENVIRONMENT_FILE, LOCK_FILE, LOGITS_FILE, METRICS_FILE, RunDirectory

_FINISHED_FILES = (WEIGHTS_FILE, LOGITS_FILE, "predictions.csv")


def examine_run(folder: Path) -> Report:
    """Check the folder of a run, or of the runs of several seeds; reads, and writes nothing."""
    seeds = sorted((path.parent for path in folder.glob(f"seed*/{CONFIG_FILE}")), key=lambda p: (len(p.name), p.name))
    findings = [one for path in seeds for one in _examine(path)]
    if seeds:
        findings += _readable(folder)
        if _holder(folder) is None:
            findings += [*_seeds_finished(folder, seeds), *_temporary(folder, folder.glob("*"))]
    else:
        findings += _examine(folder)
    looked_at = f"{len(seeds)} runs" if seeds else "1 run"
    return Report(folder, "run", looked_at, findings)


def _examine(path: Path) -> list[Finding]:
    run = RunDirectory(path)
    findings = list(_readable(path))
    holder = _holder(path)
    if holder is not None:
        findings.append(finding("unfinished", path, f"is being written by {holder}", "look again when it has ended"))
        return findings
    metrics: dict[str, Any] = {}
    scored = not is_pretraining(path)
    if run.finished:
        try:
            metrics = run.read_metrics(scored=scored)
        except UserError as error:
            findings.append(_damaged(path / METRICS_FILE, error))
        findings += [*_finished(path, metrics, scored=scored)]
    else:
        findings.append(_how_to_go_on(path))
    findings += [*_checkpoints(path), *_unfinished_checkpoints(path), *_temporary(path, path.rglob("*"))]
    config = _config(path, metrics, findings)
    if config is not None:
        findings += _data(path, config, metrics.get("data") or run.read_environment().get("data"), metrics)
    return findings


def _readable(path: Path) -> Iterator[Finding]:
    for name in (ENVIRONMENT_FILE, CONFIG_FILE):
        if not (path / name).is_file():
            yield finding("missing-file", path / name, "is missing", "restore it; without it nobody can repeat the run")
    try:
        if (path / ENVIRONMENT_FILE).is_file():
            read_json_object(path / ENVIRONMENT_FILE)
    except DataError:
        yield finding("damaged-run", path / ENVIRONMENT_FILE, "is no JSON file that can be read", "restore it")


def _holder(path: Path) -> str | None:
    """Return who writes to a run at this moment, in words; null where nobody does. Writes nothing."""
    try:
        with (path / LOCK_FILE).open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return FileLock(path / LOCK_FILE).holder()
    except OSError:  # there is none, or it may not be read, or the file system has no locks
        return None
    return None


def _config(path: Path, metrics: dict[str, Any], findings: list[Finding]) -> Config | R2OConfig | None:
    """Read a run's configuration; of an unfinished run of a classifier every kind of model is tried."""
    if not (path / CONFIG_FILE).is_file():
        return None
    known = KINDS.get(str(metrics.get("model")))
    kinds = KINDS.values() if known is None else (known,)
    classes: list[type[Config | R2OConfig]] = [R2OConfig] if is_pretraining(path) else [k.config_class for k in kinds]
    errors = []
    for config_class in classes:
        try:
            config = from_mapping(config_class, load_yaml(path / CONFIG_FILE), path / CONFIG_FILE)
        except UserError as error:
            errors.append(error)
        else:
            return config
    findings.append(_damaged(path / CONFIG_FILE, errors[0]))
    return None


def _finished(path: Path, metrics: dict[str, Any], *, scored: bool) -> Iterator[Finding]:
    fix = "restore the file, or train again"
    files = (metrics.get("computed_from") or {}).get("files") or {}
    for name in dict.fromkeys([*(_FINISHED_FILES if scored else (WEIGHTS_FILE,)), *files]):
        if not (path / name).is_file():
            yield finding("missing-file", path / name, "is missing from a finished run", fix)
    if (path / WEIGHTS_FILE).is_file():
        try:
            check_weights(path / WEIGHTS_FILE)
        except UserError as error:
            yield _damaged(path / WEIGHTS_FILE, error)
    for name, written in files.items():
        file = path / name
        if file.is_file() and (file.stat().st_size != written.get("bytes") or sha256(file) != written.get("sha256")):
            yield finding("damaged-run", file, f"is not the file that {METRICS_FILE} was computed from", fix)


def _how_to_go_on(path: Path) -> Finding:
    try:
        found = find_checkpoint(path)
    except UserError as error:
        return _damaged(path, error)
    if found.damaged and found.folder is None:
        fix = "restore one, or delete the folder and train again"
        return finding("damaged-run", path, "is an unfinished run without a checkpoint that is whole", fix)
    start = "from its beginning" if found.folder is None else f"from {found.folder.name}"
    fix = f"its training command with --run.dir {path} --run.resume auto goes on {start}"
    return finding("unfinished", path, f"is an unfinished run (it has no {METRICS_FILE})", fix)


def _seeds_finished(folder: Path, seeds: list[Path]) -> Iterator[Finding]:
    if not (folder / METRICS_FILE).is_file():
        fix = f"its training command with --run.dir {folder} --run.resume auto goes on"
        yield finding("unfinished", folder, f"has {len(seeds)} seeds and no {METRICS_FILE} over them yet", fix)
        return
    try:
        RunDirectory(folder).read_metrics()
    except UserError as error:
        yield _damaged(folder / METRICS_FILE, error)


def _checkpoints(path: Path) -> Iterator[Finding]:
    for folder in sorted(path.glob(f"{FOLDERS}*")):
        if not folder.is_dir() or folder.suffix in (".new", ".old"):
            continue
        if folder.name != BEST:
            try:
                problem = check_checkpoint(folder)
            except UserError as error:
                yield _damaged(folder, error)
                continue
            fix = "delete it; a run goes on from the newest that is whole"
            if problem is not None:
                yield finding("damaged-checkpoint", folder, f"is damaged: {problem}", fix)
            continue
        try:
            check_weights(folder / WEIGHTS_FILE)
        except UserError as error:
            yield _damaged(folder / WEIGHTS_FILE, error)


def _unfinished_checkpoints(path: Path) -> Iterator[Finding]:
    """Tell of folders that a killed process was about to rename, but for one that a run needs to go on."""
    try:
        newest = find_checkpoint(path).folder
    except UserError:  # nothing can be said of what is older
        return
    for folder in sorted(path.glob(f"{FOLDERS}*")):
        half_written = folder.suffix == ".new" and folder != newest
        replaced = folder.suffix == ".old" and newest not in (None, folder)
        if half_written or replaced:
            yield _left(folder)


def _temporary(path: Path, files: Iterable[Path]) -> Iterator[Finding]:
    left = [file for file in files if is_temporary(file.name) or file.suffix in (".unfinished", ".replaced")]
    left += path.parent.glob(f".{path.name}.*.unfinished")
    yield from map(_left, sorted(left))


def _left(path: Path) -> Finding:
    return finding("leftovers", path, "was left by a process that was killed", "delete it")


def _data(
    path: Path, config: Config | R2OConfig, recorded: dict[str, Any] | None, metrics: dict[str, Any]
) -> Iterator[Finding]:
    """Compare the data with the summary that a run recorded or, of an older run, with its fingerprint."""
    if not Path(config.data.root).is_dir():
        what = f"{config.data.root}, on which {path} was trained, is not there"
        yield finding("missing-data", path / CONFIG_FILE, what, "mount it, or set data.root in commands that need it")
        return
    try:
        changes = _changes(config, recorded, metrics)
    except UserError as error:
        what = f"the data of {path} cannot be read any more: {' '.join(str(error).split())}"
        yield finding("changed-data", config.data.root, what, "restore them")
        return
    for line in changes:
        what = f"is not what {path} was trained on: {line}"
        yield finding("changed-data", config.data.root, what, "restore the data, or train again")


def _changes(config: Config | R2OConfig, recorded: dict[str, Any] | None, metrics: dict[str, Any]) -> list[str]:
    if isinstance(config, R2OConfig):
        return describe_photo_change(recorded["photos"], index_photos(config.data).summary()) if recorded else []
    now = load_splits(config.data, config.train.seed)
    if recorded:
        return describe_change(recorded, now.summary)
    return ["the set of pairs is another"] * (metrics.get("fingerprint") not in (None, now.fingerprint))


def _damaged(path: Path, error: Exception) -> Finding:
    text = " ".join(str(error).split())
    what, _, fix = text.removeprefix(f"{path} ").removeprefix(f"{path}: ").partition("; ")
    return finding("damaged-run", path, what, fix or "restore the file, or train again")
