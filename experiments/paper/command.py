"""``python -m experiments.paper``: plan, say what it costs, train, evaluate, report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.baselines.rows import baseline_rows
from experiments.changed_data import refuse_other_data
from experiments.continuation import refuse_other_configuration
from experiments.evaluation.command import evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.fit import fit
from experiments.named_run import named
from experiments.paper.cost import cost_lines, cost_of
from experiments.paper.evaluated import read_evaluation, stamp, suite_path
from experiments.paper.finished import load_finished
from experiments.paper.grid import load_grid
from experiments.paper.jobs import RUNS, Job, make_jobs
from experiments.paper.notes import save_train_counts
from experiments.paper.options import PaperOptions, chosen_items
from experiments.paper.published import load_published
from experiments.paper.report import BASELINES_FILE, ReportInput, write_paper_report
from experiments.settle import settle
from utils.config import parse_config
from utils.devices import resolve_device
from utils.errors import ConfigError, nearest
from utils.files import write_text
from utils.json_file import read_json_object
from utils.processes import refuse_several

PROGRAM = "python -m experiments.paper"
FLAGS = {
    "dry_run": "Print what would be run and what it would cost, and exit; nothing is written.",
    "report_only": "Write the report from the runs that are there, and train nothing.",
}


def paper_command(argv: list[str]) -> None:
    """Parse the command line and do what it asks."""
    refuse_several(PROGRAM)
    options, flags = parse_config(PaperOptions, argv, program=PROGRAM, flags=FLAGS)
    if flags["dry_run"] and flags["report_only"]:
        raise ConfigError("--dry_run and --report_only exclude each other: the first writes nothing")
    repeat_paper(options, dry_run=flags["dry_run"], report_only=flags["report_only"])


def repeat_paper(options: PaperOptions, *, dry_run: bool = False, report_only: bool = False) -> Path | None:
    """Run or resume the grid and write the report; return its page, None for a dry run.

    Raises:
        UserError: an option, a file, the data or a run cannot be used; names the run.
        InterruptedRunError: a signal stopped a run after its checkpoint; the same command goes on.
    """
    grid = load_grid(Path(options.grid))
    published = load_published(grid.tables)
    recipe = grid.recipe(options.recipe)
    items = chosen_items(options.tables, published.names)
    planned = grid.plan(recipe, published.runs_of(items))
    seeds = options.seeds or list(grid.seeds)
    folder = Path(options.out) / recipe.name
    for run in planned:
        suite_path(run.suite)
    if report_only:
        _refuse_empty(folder)
    else:
        jobs, impossible = make_jobs(planned, seeds, folder, options.overrides(), published, items)
        device = resolve_device(jobs[0].config.train.device)
        print("\n".join([*cost_lines(cost_of(jobs, probe=options.probe), device), *impossible]), flush=True)
        if dry_run:
            return None
        _check_finished(jobs)
        folder.mkdir(parents=True, exist_ok=True)
        save_train_counts(folder, jobs)
        _run_all(jobs, options.resamples)
        if any(published.tables[item].baselines for item in items if item in published.tables):
            _fit_baselines(folder, jobs, options.resamples)
    runs = load_finished(planned, seeds, folder, published, items, options.resamples)
    page, waiting = write_paper_report(
        ReportInput(folder, published, items, recipe, planned, seeds, runs, options.resamples)
    )
    print(f"report: {page}" + (f" ({waiting} cells wait for runs)" if waiting else ""))
    return page


def _refuse_empty(folder: Path) -> None:
    if not (folder / RUNS).is_dir():
        siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ConfigError(
            f"--report_only: {folder} holds no runs{nearest(folder.name, siblings)}; run the grid first, or name its "
            f"--out and --recipe"
        )


def _check_finished(jobs: Sequence[Job]) -> None:
    """Refuse finished runs of another configuration or of other data before anything is trained."""
    for job in jobs:
        if job.directory.finished:
            with named(job.name):
                refuse_other_configuration(job.directory, settle(job.config))
                refuse_other_data(job.directory, job.config, job.directory.read_metrics(), job.splits)


def _run_all(jobs: Sequence[Job], resamples: int) -> None:
    for number, job in enumerate(jobs, start=1):
        place = f"run {number} of {len(jobs)}: {job.name}"
        with named(job.name):
            if job.directory.finished:
                print(f"{place}: finished already", flush=True)
            else:
                print(place, flush=True)
                fit(job.run.kind, job.config)
            if job.suite is not None:
                evaluate_once(job, job.suite, resamples)


def evaluate_once(job: Job, suite: str, resamples: int) -> bool:
    """Evaluate a finished run under a suite unless that was done with these weights and this suite; say whether."""
    path = job.directory.path
    if read_evaluation(path, suite) is not None:
        return False
    train, data = job.config.train, job.config.data
    options = EvaluateOptions(
        run=[str(path)],
        data=EvaluationData(root=data.root, workers=data.workers),
        suite=str(suite_path(suite)),
        overwrite=True,
        device=train.device,
        precision=train.precision,
        resamples=resamples,
        baselines=False,
    )
    evaluate_runs(options)
    stamp(path, suite)
    return True


def _fit_baselines(folder: Path, jobs: Sequence[Job], resamples: int) -> None:
    """Fit the baselines on the grid's data, once."""
    job = next((job for job in jobs if job.run.exclude is None), None)
    path = folder / BASELINES_FILE
    if job is None:
        return
    wanted: dict[str, Any] = {"fingerprint": job.splits.fingerprint, "resamples": resamples}
    if path.is_file():
        stored = read_json_object(path, "table of baselines")
        if {key: stored.get(key) for key in wanted} == wanted:
            return
    print("baselines without a network", flush=True)
    rows = baseline_rows(job.splits.train, job.splits.test, resamples=resamples)
    write_text(path, json.dumps({**wanted, "rows": rows}, indent=2, allow_nan=False) + "\n")
