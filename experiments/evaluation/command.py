"""What ``evaluate.py`` does: runs and a suite in, a folder of results out."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from experiments.baselines.rows import baseline_rows
from experiments.evaluation.comparisons import compare_runs, compare_series
from experiments.evaluation.notes import passes_line
from experiments.evaluation.one_run import RunResult, compute_run, write_run
from experiments.evaluation.options import RESULTS_FILE, EvaluateOptions
from experiments.evaluation.page import REPORT_FILE, VIEWS_FILE, console_text, write_pages
from experiments.evaluation.plan import Plan, make_plan
from experiments.evaluation.statistics import over_runs
from experiments.robustness.picture import save_transformed_views
from experiments.statistics import minimum_detectable_difference
from utils.checkpoints import WEIGHTS_FILE
from utils.config import parse_config
from utils.devices import make_accelerator
from utils.files import sha256, whole_folder, write_text
from utils.processes import refuse_disagreement, refuse_several
from utils.provenance import describe_machine
from utils.watch import watched

SCRIPT = "evaluate.py"
FLAGS = {"dry_run": "Print what would be computed, and exit."}
_DRAWN_PAIRS, _MANY_CONDITIONS = 3, 12  # a suite of more conditions than that is drawn on one pair


def evaluate_command(argv: list[str]) -> None:
    """Parse the command line of ``evaluate.py`` and run it."""
    options, flags = parse_config(EvaluateOptions, argv, program=SCRIPT, flags=FLAGS)
    if flags["dry_run"]:
        refuse_several(f"{SCRIPT} --dry_run")
        print("\n".join(plan_lines(make_plan(options))))
        return
    started = time.perf_counter()
    document = evaluate_runs(options)
    if not document:
        return  # another process writes
    print(f"\n{console_text(document)}\n")
    print(f"{time.perf_counter() - started:.0f} seconds\nreport: {Path(document['folder']) / REPORT_FILE}")


def evaluate_runs(options: EvaluateOptions) -> dict[str, Any]:
    """Score finished runs under the conditions of a suite and write tables, pictures, predictions and ``results.json``.

    The folder appears whole, under its final name, when everything is written. Only notes and progress are printed.
    Several processes share the pairs; the main one scores, prints and writes.

    Returns:
        The content of ``results.json``, and ``folder``, where it was written; nothing but in the main process.

    Raises:
        ConfigError: an option, a suite, a device or the output folder cannot be used.
        DataError: a run or the pairs cannot be used, or the runs do not see the same pairs.
    """
    plan = make_plan(options)
    accelerator = _accelerator(plan)
    with watched(accelerator, "Start the evaluation again"):
        _refuse_disagreement(plan, accelerator)
        if accelerator.is_main_process:
            return _evaluate(plan, accelerator)
        for record, index in zip(plan.records, plan.indices, strict=True):
            compute_run(plan, record, index, accelerator)
    return {}


def _evaluate(plan: Plan, accelerator: Accelerator) -> dict[str, Any]:
    for note in plan.notes:
        print(f"note: {note}")
    with whole_folder(plan.folder) as folder:
        _draw_views(plan, folder / VIEWS_FILE)
        results: dict[str, RunResult] = {}
        for number, (record, index) in enumerate(zip(plan.records, plan.indices, strict=True), start=1):
            print(f"{record.name} ({number} of {len(plan.records)})", flush=True)
            outcome = compute_run(plan, record, index, accelerator)
            specs = plan.designs[number - 1].specs
            results[record.name] = write_run(plan, record, index, specs, outcome, folder / record.name)
            entry = results[record.name].entry
            for note in entry["notes"]:
                print(f"note: {note}")
            if len(entry["conditions"]) > 1:
                print(passes_line(entry))
        document = _document(plan, accelerator, results)
        write_pages(document, folder)
        write_text(folder / RESULTS_FILE, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return document | {"folder": str(plan.folder)}


def _refuse_disagreement(plan: Plan, accelerator: Accelerator) -> None:
    """Raise a ``ConfigError`` in every process where they evaluate other runs, pairs or conditions."""
    if accelerator.num_processes == 1:
        return  # nothing is hashed
    facts: dict[str, str | Mapping[str, Any]] = {"options": asdict(plan.options)}
    facts["conditions of the suite"] = str((plan.suite.conditions, plan.suite.seeds, plan.suite.letterbox))
    facts["set of pairs"] = " ".join(index.fingerprint() for index in plan.indices)
    facts["weights of the runs"] = " ".join(sha256(record.path / WEIGHTS_FILE) for record in plan.records)
    refuse_disagreement(accelerator, facts, may_differ=("run", "out", "data.root", "data.workers", "overwrite"))


def plan_lines(plan: Plan) -> list[str]:
    """Return what an evaluation would compute and where it would put the results."""
    index = plan.index
    classes = f"{len(index.classes)} classes"
    lines = [
        *(f"note: {note}" for note in plan.notes),
        f"pairs       {len(index)} of {len(index.group_names)} groups in {classes} ({index.root}, split {index.split})",
        f"conditions  {len(plan.suite.conditions)} of the suite {plan.suite.name}, identity included; perturbation "
        f"seeds {', '.join(map(str, plan.suite.seeds))}; {plan.resamples:,} resamples",
    ]
    for record, design in zip(plan.records, plan.designs, strict=True):
        saved = f"{design.distinct_passes} module passes per pair instead of {design.naive_passes}"
        lines.append(f"run         {record.name}: {saved}")
    smallest = minimum_detectable_difference(index.group)
    if smallest is not None:
        lines.append(f"test noise  two runs must differ by about {smallest:.3f} in top-1 to be told apart (80 % power)")
    return [*lines, f"results     {plan.folder}"]


def _document(plan: Plan, accelerator: Accelerator, results: Mapping[str, RunResult]) -> dict[str, Any]:
    index, options = plan.index, plan.options
    contenders = [result.contender for result in results.values()]
    runs = {name: result.entry for name, result in results.items()}
    rows = baseline_rows(plan.train, index, resamples=plan.resamples) if plan.train is not None else []
    return {
        "suite": plan.suite.name,
        "suite_file": None if plan.suite_file is None else str(plan.suite_file),
        "suite_sha256": None if plan.suite_file is None else sha256(plan.suite_file),
        "conditions": [condition.name for condition in plan.suite.conditions],
        "letterbox": plan.suite.letterbox,
        "data_root": str(index.root),
        "split": index.split,
        "exclude": sorted({*options.exclude, *plan.records[0].config.data.exclude}),
        "n_pairs": len(index),
        "n_groups": len(set(index.group.tolist())),
        "classes": list(index.classes.names),
        "ambiguous": list(index.classes.ambiguous),
        "fingerprint": index.fingerprint(),
        "data": index.summary(),
        "resamples": plan.resamples,
        "side": _common_sides(list(runs.values())),
        "runs": runs,
        "series": _series(runs),
        "comparisons": compare_runs(contenders, index.group),
        "series_comparisons": compare_series(contenders),
        "baselines": rows,
        "notes": plan.notes,
        "environment": _environment(accelerator),
    }


def _draw_views(plan: Plan, path: Path) -> None:
    """Draw some pairs under every condition, as the first of the runs with the most views gets them."""
    if len(plan.suite.conditions) == 1:
        return
    chosen = max(range(len(plan.records)), key=lambda place: len(plan.designs[place].specs))
    index, data = plan.indices[chosen], plan.records[chosen].config.data
    # The squarest photo holds the most patches: where any pair can be permuted, this one can.
    squarest = int(np.argmax(index.size.min(axis=1) / index.size.max(axis=1)))
    pairs = 1 if len(plan.suite.conditions) > _MANY_CONDITIONS else _DRAWN_PAIRS
    spread = np.linspace(0, len(index) - 1, pairs + 1).round().astype(int)[:-1]
    ambiguous = np.flatnonzero(np.isin(index.label, index.classes.ambiguous_indices))[:1]
    rows = list(dict.fromkeys([squarest, *ambiguous.tolist(), *spread.tolist()[::-1]]))[:pairs]
    save_transformed_views(plan.designs[chosen].specs, data, index, plan.suite, rows, path)


def _series(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each series the mean over its runs of every condition that applies to all of them."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs.values():
        members.setdefault(run["series"], []).append(run["conditions"])
    result: dict[str, dict[str, Any]] = {}
    for series, conditions in members.items():
        shared = [name for name in conditions[0] if all(name in other for other in conditions)]
        result[series] = {}
        for name in shared:
            entries = [one[name] for one in conditions]
            found = {"scores": over_runs([entry["scores"] for entry in entries])}
            if "change" in entries[0]:
                found["change"] = over_runs([entry["change"] for entry in entries])
            result[series][name] = found | {key: entries[0][key] for key in ("pixels", "content_kept")}
    return result


def _common_sides(runs: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Return the side of each view's pictures in pixels; None where runs differ in it."""
    sides: dict[str, set[int]] = {}
    for run in runs:
        for view, side in run["side"].items():
            sides.setdefault(view, set()).add(side)
    return {view: found.pop() if len(found) == 1 else None for view, found in sides.items()}


def _environment(accelerator: Accelerator) -> dict[str, Any]:
    return {"script": SCRIPT, "precision": _precision(accelerator), **describe_machine(accelerator.device.type)}


def _precision(accelerator: Accelerator) -> str:
    mixed = str(accelerator.mixed_precision)
    return "fp32" if mixed == "no" else mixed


def _accelerator(plan: Plan) -> Accelerator:
    options = plan.options
    # What the run's own device had does not bind this one.
    train = plan.records[0].config.train
    train = replace(train, device=options.device, precision=options.precision, tf32="auto")
    return make_accelerator(train, section="")
