"""What ``verify.py`` does: runs in, a verdict on each out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.changes import SUMMARY_KEYS
from experiments.runs import find_runs, read_runs
from experiments.verification.checks import Check
from experiments.verification.reading import read_recorded
from experiments.verification.recomputed import check_recomputed
from experiments.verification.recorded import check_recorded
from experiments.verification.seeds import check_seeds
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import ConfigError, DataError
from utils.files import write_text
from utils.processes import refuse_several
from utils.run_directory import METRICS_FILE, RunDirectory

_METRICS = {"model": str, "classes": list, "selected_epoch": int, "test": dict}
_LATER_METRICS = dict.fromkeys(("val", "train", "data", "computed_from", "fingerprint", "measures"), dict)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Options of ``verify.py``.

    Attributes:
        runs: folders of finished runs; a folder of seeds stands for all its runs and for its means.
        root: pairs or archive to read; None takes what each run was trained on.
        scores_only: leave the model and the pairs alone.
        json: file for what was found; None writes none.
    """

    runs: list[Path]
    root: Path | None = None
    scores_only: bool = False
    json: Path | None = None


def verify(options: VerifyOptions) -> bool:
    """Compare what runs recorded with what follows from their files and models; print a verdict on each.

    Returns:
        Whether all agrees.

    Raises:
        ConfigError: a folder is not that of a run; an option, device or precision cannot be used.
        DataError: a run is unfinished; the pairs cannot be read, or are of other classes.
    """
    refuse_several("verify.py")
    if options.scores_only and options.root is not None:
        raise ConfigError("--root names pairs, which --scores_only leaves alone; leave one of the two out")
    paths = find_runs(options.runs, option="")
    metrics = [_metrics_of(path) for path in paths]  # before anything is computed
    verdicts = {}
    for path, recorded in zip(paths, metrics, strict=True):
        verdicts[str(path)] = _verify_run(options, path, recorded)
        _tell(path, verdicts[str(path)])
    for folder in options.runs:
        if folder not in paths and (folder / METRICS_FILE).is_file():
            verdicts[str(folder)] = [check_seeds(folder)]
            _tell(folder, verdicts[str(folder)])
    right = sum(_agree(checks) for checks in verdicts.values())
    print(f"{right} of {len(verdicts)} agree")
    if options.json is not None:
        write_text(options.json, json.dumps(_document(verdicts), indent=2, ensure_ascii=False) + "\n")
    return right == len(verdicts)


def _metrics_of(path: Path) -> dict[str, Any]:
    run = RunDirectory(path)
    if not run.finished:
        read_runs([path])  # says what to do
    metrics = run.read_metrics()
    wrong = [key for key, kind in _METRICS.items() if not isinstance(metrics.get(key), kind)]
    wrong += [key for key, kind in _LATER_METRICS.items() if not isinstance(metrics.get(key, kind()), kind)]
    files = metrics.get("computed_from", {}).get("files", {}) if "computed_from" not in wrong else {}
    if not isinstance(files, dict) or not all(_has(one, {"sha256", "bytes"}) for one in files.values()):
        wrong.append("computed_from")
    if "classes" not in wrong and not all(isinstance(name, str) for name in metrics["classes"]):
        wrong.append("classes")
    if "data" not in wrong and not all(_has(one, SUMMARY_KEYS) for one in metrics.get("data", {}).values()):
        wrong.append("data")
    if wrong:
        raise DataError(
            f"{path / METRICS_FILE} is damaged: {', '.join(wrong)} is missing or of another kind; train again"
        )
    return metrics


def _has(value: object, keys: Collection[str]) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def _verify_run(options: VerifyOptions, path: Path, metrics: dict[str, Any]) -> list[Check]:
    run = read_recorded(path, metrics)
    checks = check_recorded(run)
    if options.scores_only:
        return checks
    if not (path / WEIGHTS_FILE).is_file():
        return [*checks, Check("model", f"{WEIGHTS_FILE} is not there; nothing was computed", done=False)]
    try:
        (record,) = read_runs([path])
    except DataError as error:  # damaged weights are a finding
        return [*checks, Check("model", "", [str(error)])]
    return checks + check_recomputed(run, record, options.root)


def _tell(path: Path, checks: Sequence[Check]) -> None:
    print(f"{path} {'agrees' if _agree(checks) else 'DISAGREES'}")
    print("\n".join(line for check in checks for line in check.lines()), flush=True)


def _agree(checks: Sequence[Check]) -> bool:
    return all(check.agrees for check in checks)


def _document(verdicts: Mapping[str, Sequence[Check]]) -> dict[str, Any]:
    runs = {
        path: {"agrees": _agree(checks), "checks": [check.as_json() for check in checks]}
        for path, checks in verdicts.items()
    }
    return {"agrees": all(run["agrees"] for run in runs.values()), "runs": runs}
