"""What ``study_grey_size.py`` does: the selector with grey copies of several sizes, beside its controls."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.kinds import Config
from experiments.loading import Splits, load_splits
from experiments.regions.facts import budget_facts, split_facts
from experiments.regions.grey_options import (
    GREY_DIFFERENCES_CSV,
    GREY_FILES,
    INTENDED,
    SHARES_CSV,
    STUDY_CSV,
    GreyOptions,
)
from experiments.regions.grey_page import console_text, write_pages
from experiments.regions.grey_tables import shares_table, study_table
from experiments.regions.models import MODELS, SALIENCE_WHOLE, RegionModel, make_config
from experiments.regions.options import RUNS, output_folder
from experiments.regions.scores import compare_with, over_seeds, read_logits, score_cells, score_models
from experiments.regions.shared import preview_pairs, run_study, take_pairs, write_results
from experiments.regions.tables import differences_table, write_rows
from experiments.regions.timing import measure_costs
from experiments.regions.training import PlannedRun, check_folders, check_models, plan_lines, train_runs
from utils.devices import resolve_device
from utils.provenance import describe_machine

SCRIPT = "study_grey_size.py"


def grey_command(argv: list[str]) -> None:
    """Parse the command line of ``study_grey_size.py`` and run it."""
    run_study(SCRIPT, GreyOptions, argv, _dry_lines, study_grey_size, console_text)


def study_grey_size(options: GreyOptions) -> dict[str, Any]:
    """Train what is missing, score all runs and write tables, the plot and ``results.json`` to ``options.out``.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: an option, a recipe, the data or a run that is there cannot be used; nothing was trained then.
        RunError, InterruptedRunError: as ``experiments.fit.fit``; the same command goes on.
    """
    folder = output_folder(options.out, GREY_FILES, "study")
    models = study_models(options)
    runs, notes = _plan(options, models, folder)
    check_folders(runs)
    for note in notes:
        print(f"note: {note}")
    train_runs(runs)
    document = _describe(options, models, runs, notes)
    write_pages(document, folder)
    write_rows(folder / STUDY_CSV, study_table(document)[0])
    write_rows(folder / SHARES_CSV, shares_table(document)[0])
    write_rows(folder / GREY_DIFFERENCES_CSV, differences_table(document)[0])
    write_results(document, folder)
    return document


def study_models(options: GreyOptions) -> list[RegionModel]:
    """Return the selector with each size of the grey copy, then the controls, whole and random.

    Raises:
        ConfigError: the recipe cannot be used.
    """
    grey = options.grey
    if grey is None:
        size = _config(options, MODELS["salience"], options.data.root, Path(options.out), 0).data.image_size
        grey = [side for side in INTENDED if size is None or side <= size] or [size or INTENDED[0]]
    learned = MODELS["salience"]
    sized = [
        dataclasses.replace(
            learned,
            key=f"grey{side}",
            name=f"grey copy of {side} px",
            options={**learned.options, "model.salience.grey_side": side},
        )
        for side in sorted(grey)
    ]
    return [*sized, SALIENCE_WHOLE, MODELS["salience_random"]]


def grey_side(model: RegionModel) -> int | None:
    """Return the side of a model's grey copies; None for a control."""
    side = model.options.get("model.salience.grey_side")
    return None if side is None else int(side)


def _config(options: GreyOptions, model: RegionModel, root: str, folder: Path, seed: int) -> Config:
    place: dict[str, Any] = {
        "data.root": root,
        "data.source": options.data.source,
        "model.salience.crop_fraction": options.crop_fraction,
        "data.splits": dataclasses.asdict(options.data.splits),
        "train.seed": seed,
        "run.resume": "auto",
        "run.dir": str(folder / RUNS / model.key / f"seed{seed}"),
    }
    if options.data.workers is not None:
        place["data.workers"] = options.data.workers
    return make_config(model, options.recipe, options.budget, place)


def _runs(
    options: GreyOptions, models: Sequence[RegionModel], root: str, folder: Path, splits: Splits
) -> list[PlannedRun]:
    return [
        PlannedRun(model.name, seed, model.kind, _config(options, model, root, folder, seed), splits)
        for seed in options.seeds
        for model in models
    ]


def _plan(options: GreyOptions, models: Sequence[RegionModel], folder: Path) -> tuple[list[PlannedRun], list[str]]:
    """Return the runs, seed by seed, and notes; the tree of largest regions is made where it is asked for."""
    root = options.data.root
    data = _config(options, models[0], root, folder, options.seeds[0]).data
    splits = load_splits(data, options.seeds[0])
    check_models(_runs(options, models, root, folder, splits))
    root, splits, notes = take_pairs(options.data.question, splits, data, folder)
    return _runs(options, models, root, folder, splits), notes


def _dry_lines(options: GreyOptions) -> list[str]:
    folder = output_folder(options.out, GREY_FILES, "study")
    models = study_models(options)
    root = options.data.root
    splits = load_splits(_config(options, models[0], root, folder, options.seeds[0]).data, options.seeds[0])
    runs = _runs(options, models, root, folder, splits)
    check_models(runs)
    train, test, notes = preview_pairs(options.data.question, splits)
    counts = f"{train:,} training and {test:,} test photos or pairs"
    return [counts, *(f"  note: {note}" for note in notes), *plan_lines(runs)]


def _describe(
    options: GreyOptions, models: Sequence[RegionModel], runs: Sequence[PlannedRun], notes: Sequence[str]
) -> dict[str, Any]:
    splits, config = runs[0].splits, runs[0].config
    test = splits.test
    named = {run.model: (run.kind, run.config) for run in runs if run.seed == options.seeds[0]}
    costs = measure_costs(named, len(splits.train.classes), options.timing_rounds)
    whole = costs[SALIENCE_WHOLE.name]
    scored = score_models(test.label, read_logits(runs), test.group, test.classes.ambiguous_indices, options.resamples)
    entries = []
    for model in models:
        mine = [run.directory for run in runs if run.model == model.name]
        cost = costs[model.name]
        entries.append(
            {
                "key": model.key,
                "name": model.name,
                "knows": model.knows,
                "grey": grey_side(model),
                "runs": [str(run.path) for run in mine],
                "scores": score_cells(scored[model.name]),
                "measures": over_seeds([run.read_metrics().get("measures") for run in mine]),
                "cost": cost.cells(),
                "selector": {
                    "parameters": cost.parameters - whole.parameters,
                    "operations": cost.operations - whole.operations,
                },
            }
        )
    return {
        "seeds": list(options.seeds),
        "resamples": options.resamples,
        "timing_rounds": options.timing_rounds,
        "timed_pairs": whole.batch,
        "budget": budget_facts(config, options.recipe.one_view),
        "data": dataclasses.asdict(options.data),
        **split_facts(splits, one_pair_each=options.data.source == "folders"),
        "models": entries,
        "differences": compare_with(scored, [models[-2].name, models[-1].name]),
        "notes": list(notes),
        "environment": {"script": SCRIPT} | describe_machine(resolve_device(config.train.device)),
    }
