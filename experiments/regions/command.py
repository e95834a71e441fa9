"""What ``compare_regions.py`` does: plan, train or take what is there, score, report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits, load_splits
from experiments.regions.facts import budget_facts, split_facts
from experiments.regions.models import MODELS, differences, make_config, refuse_unequal_budgets
from experiments.regions.options import (
    DIFFERENCES_CSV,
    RUNS,
    TABLE_CSV,
    Question,
    RegionOptions,
    output_folder,
)
from experiments.regions.page import console_text, write_pages
from experiments.regions.scores import compare_with, over_seeds, read_logits, score_cells, score_models
from experiments.regions.shared import preview_pairs, run_study, take_pairs, write_results
from experiments.regions.tables import differences_table, models_table, write_rows
from experiments.regions.timing import Cost, measure_costs
from experiments.regions.training import PlannedRun, check_folders, check_models, plan_lines, train_runs
from utils.devices import resolve_device
from utils.provenance import describe_machine

SCRIPT = "compare_regions.py"
TITLES: dict[Question, str] = {"every": "Every pair", "largest": "The largest region of each photo"}
ASKS: dict[Question, str] = {
    "every": "What is this pair's class?",
    "largest": "What is the largest thing in the photo? Of each photo only the pair with the largest region is left.",
}
REFERENCES = ("roi only", "whole photo")


@dataclass(frozen=True)
class Plan:
    """The runs of each question, and what the user should know of it."""

    runs: dict[Question, list[PlannedRun]]
    notes: dict[Question, list[str]]

    @property
    def every_run(self) -> list[PlannedRun]:
        """All runs, seed by seed, so that an interrupted comparison holds whole seeds."""
        runs = [run for runs in self.runs.values() for run in runs]
        seeds = list(dict.fromkeys(run.seed for run in runs))
        return sorted(runs, key=lambda run: seeds.index(run.seed))


def regions_command(argv: list[str]) -> None:
    """Parse the command line of ``compare_regions.py`` and run it."""
    run_study(SCRIPT, RegionOptions, argv, _dry_lines, compare_regions, console_text)


def compare_regions(options: RegionOptions) -> dict[str, Any]:
    """Train what is missing, score all runs and write tables, the plot and ``results.json`` to ``options.out``.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: an option, a recipe, the data or a run that is there cannot be used; nothing was trained then.
        RunError, InterruptedRunError: as ``experiments.fit.fit``; the same command goes on.
    """
    folder = output_folder(options.out)
    plan = make_plan(options, folder)
    check_folders(plan.every_run)
    for notes in plan.notes.values():
        for note in notes:
            print(f"note: {note}")
    train_runs(plan.every_run)
    document = _describe(options, plan)
    write_pages(document, folder)
    write_rows(
        folder / TABLE_CSV,
        [_with_question(part, row) for part in document["questions"] for row in models_table(part)[0]],
    )
    write_rows(
        folder / DIFFERENCES_CSV,
        [_with_question(part, row) for part in document["questions"] for row in differences_table(part)[0]],
    )
    write_results(document, folder)
    return document


def _with_question(part: dict[str, Any], row: Any) -> dict[str, Any]:  # noqa: ANN401  # a row of a table
    return {"question": part["question"], **row}


def make_plan(options: RegionOptions, folder: Path) -> Plan:
    """Return the runs, their configurations and data checked; the tree of largest regions is made where it is asked.

    Raises:
        ConfigError: a recipe cannot be used, or models would be trained under different budgets.
        DataError: the pairs cannot be used.
    """
    configs = _configs(options, "every", options.data.root, folder, options.seeds[0])
    refuse_unequal_budgets(configs, options.recipe)
    first = next(iter(configs.values()))
    splits = load_splits(first.data, options.seeds[0])
    plan = Plan({}, {})
    check_models(_runs(options, "every", options.data.root, folder, splits))
    for question in options.questions:
        root, pairs, notes = take_pairs(question, splits, first.data, folder)
        plan.runs[question] = _runs(options, question, root, folder, pairs)
        plan.notes[question] = notes
    return plan


def _configs(options: RegionOptions, question: Question, root: str, folder: Path, seed: int) -> dict[str, Config]:
    place: dict[str, Any] = {
        "data.root": root,
        "data.source": "pairs",
        "data.splits": dataclasses.asdict(options.data.splits),
        "train.seed": seed,
        "run.resume": "auto",
    }
    if options.data.workers is not None:
        place["data.workers"] = options.data.workers
    if question == "largest" and options.largest_epochs is not None:
        place["train.epochs"] = options.largest_epochs
    configs = {}
    for key in options.models:
        run: dict[str, Any] = {"run.dir": str(folder / RUNS / question / key / f"seed{seed}")}
        if MODELS[key].recipe == "salience":
            run["model.salience.crop_fraction"] = options.crop_fraction
        configs[key] = make_config(MODELS[key], options.recipe, options.budget, place | run)
    return configs


def _runs(options: RegionOptions, question: Question, root: str, folder: Path, splits: Splits) -> list[PlannedRun]:
    return [
        PlannedRun(MODELS[key].name, seed, MODELS[key].kind, config, splits)
        for seed in options.seeds
        for key, config in _configs(options, question, root, folder, seed).items()
    ]


def _dry_lines(options: RegionOptions) -> list[str]:
    folder = output_folder(options.out)
    configs = _configs(options, "every", options.data.root, folder, options.seeds[0])
    refuse_unequal_budgets(configs, options.recipe)
    splits = load_splits(next(iter(configs.values())).data, options.seeds[0])
    check_models(_runs(options, "every", options.data.root, folder, splits))
    lines = []
    for question in options.questions:
        runs = _runs(options, question, options.data.root, folder, splits)
        train, test, notes = preview_pairs(question, splits)
        lines.append(f"{TITLES[question]}: {train:,} training and {test:,} test pairs")
        lines += [*(f"  note: {note}" for note in notes), *plan_lines(runs)]
    return lines


def _describe(options: RegionOptions, plan: Plan) -> dict[str, Any]:
    first = plan.every_run[0]
    costs = _costs(options, plan)
    document: dict[str, Any] = {
        "root": options.data.root,
        "seeds": list(options.seeds),
        "resamples": options.resamples,
        "timing_rounds": options.timing_rounds,
        "crop_fraction": options.crop_fraction,
        "timed_pairs": next(iter(costs.values())).batch,
        "budget": budget_facts(first.config, options.recipe.one_view),
        "questions": [_question(options, plan, question, costs) for question in plan.runs],
        "notes": _data_notes(next(iter(plan.runs.values()))),
        "environment": {"script": SCRIPT} | describe_machine(resolve_device(first.config.train.device)),
    }
    return document


def _costs(options: RegionOptions, plan: Plan) -> dict[str, Cost]:
    runs = next(iter(plan.runs.values()))
    models = {run.model: (run.kind, run.config) for run in runs if run.seed == options.seeds[0]}
    return measure_costs(models, len(runs[0].splits.train.classes), options.timing_rounds)


def _data_notes(runs: Sequence[PlannedRun]) -> list[str]:
    """Say where a model's pictures are changed in training otherwise than those of the first."""
    notes = []
    for run in {run.model: run for run in runs}.values():
        found = differences(runs[0].config, run.config)
        if found:
            notes.append(f"Otherwise than {runs[0].model}, {run.model} is trained with {', '.join(found)}.")
    return notes


def _question(options: RegionOptions, plan: Plan, question: Question, costs: dict[str, Cost]) -> dict[str, Any]:
    runs = plan.runs[question]
    test = runs[0].splits.test
    scored = score_models(test.label, read_logits(runs), test.group, test.classes.ambiguous_indices, options.resamples)
    entries: list[dict[str, Any]] = []
    for key in options.models:
        model = MODELS[key]
        mine = [run.directory for run in runs if run.model == model.name]
        entry: dict[str, Any] = {
            "key": key,
            "name": model.name,
            "knows": model.knows,
            "runs": [str(run.path) for run in mine],
        }
        entry |= {"scores": score_cells(scored[model.name]), "cost": costs[model.name].cells()}
        entry["measures"] = over_seeds([run.read_metrics().get("measures") for run in mine])
        entries.append(entry)
    return {
        "question": question,
        "title": TITLES[question],
        "asks": ASKS[question],
        "seeds": list(options.seeds),
        "epochs": runs[0].config.train.epochs,
        **split_facts(runs[0].splits),
        "models": entries,
        "differences": compare_with(scored, REFERENCES),
        "notes": plan.notes[question],
    }
