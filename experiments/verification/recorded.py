"""What a run's own files say: hashes, and the scores that follow from predictions and logits. No model, no pictures."""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, precision_recall_fscore_support

from experiments.measures import PAIRS_FILE
from experiments.outcome import CONFUSION_FILE, PER_CLASS_FILE, PREDICTIONS_FILE, TOP, prediction_cells
from experiments.statistics import scores_with_intervals
from experiments.verification.checks import Check, file_differences, key_differences, score_differences, shortened
from experiments.verification.logged import check_log
from experiments.verification.measured import check_measures
from experiments.verification.reading import Recorded, read_table
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import RunError
from utils.metrics import top5_defined
from utils.run_directory import CONFIG_FILE, LOGITS_FILE

_HASHED = (PREDICTIONS_FILE, LOGITS_FILE, WEIGHTS_FILE)


def check_recorded(run: Recorded) -> list[Check]:
    """Compare what the files of a run say with each other."""
    return [
        _check_files(run),
        _check_config(run),
        _check_predictions(run),
        _check_logits(run),
        _check_lines(run),
        _check_per_class(run),
        _check_confusion(run),
        *check_measures(run),
        check_log(run),
    ]


def _check_files(run: Recorded) -> Check:
    named = run.metrics.get("computed_from", {}).get("files", {})
    if not named:
        return Check("files", "metrics.json names no files, as an earlier version wrote it", done=False)
    check = Check("files", f"{', '.join(named)} have the hashes that metrics.json names")
    check.differences += file_differences(run.path, named, "metrics.json was")
    hashed = [*_HASHED, PAIRS_FILE] if "measures" in run.metrics else _HASHED
    check.differences += [f"metrics.json names no hash of {name}" for name in hashed if name not in named]
    return check


def _check_config(run: Recorded) -> Check:
    expected = run.environment.get("config_sha256")
    if expected is None:
        return Check(CONFIG_FILE, "env.json holds no hash of it", done=False)
    check = Check(CONFIG_FILE, "is the configuration that the run was started with")
    if hashlib.sha256((run.path / CONFIG_FILE).read_bytes()).hexdigest() != expected:
        check.differences.append("was changed since the run was started: its hash is not the one in env.json")
    return check


def _check_predictions(run: Recorded) -> Check:
    if run.lines is None:
        return Check(PREDICTIONS_FILE, "", [run.damage[PREDICTIONS_FILE]])
    computed = _scores_of_lines(run.lines, run.classes, _ambiguous(run))
    recorded = run.metrics["test"]
    check = Check(PREDICTIONS_FILE, f"its {len(run.lines)} lines give the {len(computed)} scores of metrics.json")
    check.differences += score_differences(recorded, computed, PREDICTIONS_FILE)
    return check


def _scores_of_lines(
    lines: Sequence[Mapping[str, str]], classes: Sequence[str], ambiguous: Sequence[str] | None
) -> dict[str, Any]:
    """Score names of classes with scikit-learn alone; where ambiguous classes are not known, not theirs."""
    truth, predicted = ([line[column] for line in lines] for column in ("truth", "prediction"))
    occurring = sorted({*truth, *predicted})

    def macro_f1(labels: Sequence[str], rows: Sequence[int]) -> float:
        one, other = ([side[row] for row in rows] for side in (truth, predicted))
        return float(f1_score(one, other, labels=list(labels), average="macro", zero_division=0))

    every = range(len(lines))
    found: dict[str, Any] = {"n_pairs": len(lines), "n_classes": len(classes), "n_classes_averaged": len(occurring)}
    found["n_groups"] = len({line["group"] for line in lines})
    found["top1"] = sum(map(str.__eq__, truth, predicted)) / len(lines)
    found["macro_f1"], found["macro_f1_declared"] = macro_f1(occurring, every), macro_f1(classes, every)
    if top5_defined(len(classes)):
        hits = [line["truth"] in {line[f"top{rank}"] for rank in range(1, TOP + 1)} for line in lines]
        found["top5"] = sum(hits) / len(lines)
    if ambiguous is None:
        return found
    members = [row for row in every if truth[row] in ambiguous]
    found["ambiguous_f1"] = found["ambiguous_f1_subset"] = None
    if members:
        found["ambiguous_f1"] = macro_f1([name for name in occurring if name in ambiguous], every)
        inside = {side[row] for side in (truth, predicted) for row in members}
        found["ambiguous_f1_subset"] = macro_f1(sorted(inside & set(ambiguous)), members)
    return found


def _check_logits(run: Recorded) -> Check:
    if run.arrays is None:
        return Check(LOGITS_FILE, "", [run.damage[LOGITS_FILE]])
    names = {"test": "test", "val": "validation"}
    splits = {key: name for key, name in names.items() if key in run.metrics}
    check = Check(LOGITS_FILE, f"gives scores and intervals of {' and '.join(splits)} in metrics.json")
    check.differences += _absent_scores(run)
    for key, name in splits.items():
        if name not in run.arrays:
            check.differences.append(f"holds no logits of {name}, and metrics.json has its scores")
            continue
        try:
            computed = scores_with_intervals(
                run.arrays[f"{name}_label"],
                run.arrays[name],
                run.arrays[f"{name}_group"],
                run.arrays["ambiguous"].tolist(),
                resamples=run.resamples,
                seed=0,
            )
        except (RunError, ValueError) as error:
            check.differences.append(f"the logits of {name} cannot be scored: {error}")
            continue
        check.differences += score_differences(run.metrics[key], computed, LOGITS_FILE, key)
        check.differences += key_differences(run.metrics[key], computed, key)
    return check


def _absent_scores(run: Recorded) -> list[str]:
    if "val" in run.metrics:
        return []
    if run.setting("data", "validation_fraction"):
        return [f"metrics.json has no scores of validation, and {CONFIG_FILE} holds pairs out for it"]
    if run.arrays is not None and "validation" in run.arrays:
        return ["has logits of validation, and metrics.json has no scores of it"]
    return []


def _check_lines(run: Recorded) -> Check:
    name = f"{PREDICTIONS_FILE} and {LOGITS_FILE}"
    if run.lines is None or run.arrays is None:
        return Check(name, "one of the two cannot be read", done=False)
    check = Check(name, "say the same of each pair")
    if len(run.lines) != len(run.arrays["test"]):
        check.differences = [f"{len(run.lines)} lines and logits of {len(run.arrays['test'])} pairs"]
        return check
    found: list[str] = []
    cells = prediction_cells(run.arrays["test_label"], run.arrays["test"], run.classes)
    for number, (line, expected) in enumerate(zip(run.lines, cells, strict=True), start=2):
        columns = list(line)[4:]
        for column, cell in zip_longest(columns, expected):
            if column is None or line[column] != cell:
                found.append(f"line {number}: {column} is {line.get(column)}, and {LOGITS_FILE} gives {cell}")
        if line["class"] != line["truth"]:
            found.append(f"line {number}: the pair's class is {line['class']} and its truth is {line['truth']}")
    check.differences = shortened(found, "cells")
    groups: dict[str, int] = {}
    own = [groups.setdefault(line["group"], row) for row, line in enumerate(run.lines)]
    first: dict[int, int] = {}
    if own != [first.setdefault(code, row) for row, code in enumerate(run.arrays["test_group"].tolist())]:
        check.differences.append("the pairs are grouped otherwise in the two files")
    return check


def _check_per_class(run: Recorded) -> Check:
    if run.lines is None:
        return Check(PER_CLASS_FILE, f"{PREDICTIONS_FILE} cannot be read", done=False)
    check = Check(PER_CLASS_FILE, f"has the counts and fractions that {PREDICTIONS_FILE} gives")
    try:
        table = read_table(run.path / PER_CLASS_FILE)
    except (OSError, ValueError, csv.Error) as error:
        check.differences.append(f"cannot be read ({error})")
        return check
    truth, predicted = ([line[column] for line in run.lines] for column in ("truth", "prediction"))
    fractions = precision_recall_fscore_support(
        truth, predicted, labels=run.classes, average=None, zero_division=np.nan
    )
    found = [] if len(table) == len(run.classes) else [f"has {len(table)} lines for {len(run.classes)} classes"]
    for row, (line, name) in enumerate(zip(table, run.classes, strict=False)):
        counts = {"class": name, "support": str(truth.count(name)), "predicted": str(predicted.count(name))}
        for column, values in zip(("precision", "recall", "f1"), fractions[:3], strict=True):
            counts[column] = "" if np.isnan(values[row]) else f"{values[row]:.6f}"
        found += [
            f"{name}: {column} is {line.get(column)}, and {PREDICTIONS_FILE} gives {value}"
            for column, value in counts.items()
            if line.get(column) != value
        ]
    check.differences = shortened(found, "cells")
    return check


def _check_confusion(run: Recorded) -> Check:
    check = Check(CONFUSION_FILE, f"counts the lines of {PREDICTIONS_FILE}")
    if run.lines is None:
        return Check(CONFUSION_FILE, f"{PREDICTIONS_FILE} cannot be read", done=False)
    try:
        with (run.path / CONFUSION_FILE).open(encoding="utf-8", newline="") as file:
            found = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        return Check(CONFUSION_FILE, "is not there, as an earlier version wrote none", done=False)
    except (OSError, ValueError, csv.Error) as error:
        check.differences.append(f"cannot be read ({error})")
        return check
    counts = Counter((line["truth"], line["prediction"]) for line in run.lines)
    wanted = [["truth", *run.classes]]
    wanted += [[truth, *(str(counts[truth, predicted]) for predicted in run.classes)] for truth in run.classes]
    wrong = [number for number, pair in enumerate(zip_longest(found, wanted), start=1) if pair[0] != pair[1]]
    check.differences = shortened([f"line {number} is not what {PREDICTIONS_FILE} gives" for number in wrong], "lines")
    return check


def _ambiguous(run: Recorded) -> list[str] | None:
    return None if run.arrays is None else [run.classes[place] for place in run.arrays["ambiguous"].tolist()]
