"""Whether the scores of a finished run fit the log of its epochs."""

from collections.abc import Mapping
from typing import Any

from experiments.verification.checks import Check, alike
from experiments.verification.reading import Recorded
from utils.run_directory import CONFIG_FILE, LOG_FILE, RunDirectory

_SELECTION = {
    "best": "the first with the highest validation macro_f1",
    "last": "the last",
}


def check_log(run: Recorded) -> Check:
    """Compare training and validation scores with the row of the selected epoch, and the choice of that epoch."""
    epoch = run.metrics["selected_epoch"]
    splits = "training and validation scores" if "val" in run.metrics else "training scores"
    check = Check(LOG_FILE, f"its row of epoch {epoch} holds the {splits} of metrics.json")
    try:
        rows = [dict(row) for row in RunDirectory(run.path).read_log()]
        row = next(row for row in reversed(rows) if row["epoch"] == epoch)
        check.differences += _training(run, dict(row["train"]))
        check.differences += _validation(run, row)
        told, differences = _selection(run, rows)
    except (OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        check.differences.append(f"has no readable row of epoch {epoch} ({type(error).__name__})")
        return check
    check.said += told
    check.differences += differences
    return check


def _training(run: Recorded, logged: Mapping[str, Any]) -> list[str]:
    recorded = run.metrics.get("train", {})
    found = [
        f"{name} is {value}, and metrics.json says {recorded.get(name)}"
        for name, value in logged.items()
        if not alike(recorded.get(name), value)
    ]
    unknown = [name for name in recorded if name not in logged and name != "n_pairs"]
    return found + [f"has no training {name}, and metrics.json says {recorded[name]}" for name in unknown]


def _validation(run: Recorded, row: Mapping[str, Any]) -> list[str]:
    """Compare the point scores at the end of the epoch with those of the weights that were kept."""
    recorded = run.metrics.get("val")
    if recorded is None:
        return []  # whether it ought to be there is another check's matter
    if "val" not in row:
        return [f"its row of epoch {row['epoch']} has no validation scores, and metrics.json has"]
    logged = dict(row["val"])
    reach = 0.0 if _one_cpu(run) else max(0.01, 2 / max(1, int(logged["n_pairs"])))
    return [
        f"val {name} of epoch {row['epoch']} is {value}, and metrics.json says {recorded.get(name)}"
        for name, value in logged.items()
        if not alike(recorded.get(name), value) and not _is_rounding(name, recorded.get(name), value, reach)
    ]


def _one_cpu(run: Recorded) -> bool:
    """Return whether the same bits were computed at the end of the epoch and of the run."""
    parts = run.environment.get("parts")
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
        return False
    return parts[0].get("device") == "cpu"


def _is_rounding(name: str, one: object, other: object, reach: float) -> bool:
    """Return whether a few pairs whose best classes are all but equal explain a difference."""
    if reach == 0:
        return False
    if name in ("top1", "top5"):
        return isinstance(one, int | float) and isinstance(other, int | float) and abs(one - other) <= reach
    return name not in ("n_pairs", "n_classes")  # one pair of a rare class moves a mean over classes far


def _selection(run: Recorded, rows: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return what was selected, in words, and what is wrong with it."""
    epoch, settled = run.metrics["selected_epoch"], run.setting("eval", "selection")
    selection = run.metrics.get("selection", settled)
    settled = settled or selection
    if selection != settled:
        return "", [f"metrics.json says that the epoch was selected as '{selection}', and {CONFIG_FILE} '{settled}'"]
    if selection == "best":
        scored = [(float(row["val"]["macro_f1"]), -int(row["epoch"])) for row in rows if "val" in row]
        right = -max(scored)[1]
    elif selection == "last":
        right = max(int(row["epoch"]) for row in rows)
    else:
        return "", []  # as an earlier version wrote it
    if epoch != right:
        return "", [f"epoch {right} is {_SELECTION[selection]}, and metrics.json says that {epoch} was selected"]
    return f", and it is {_SELECTION[selection]}", []
