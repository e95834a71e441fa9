"""What ``study_pretraining.py`` does: pre-train, read off, fine-tune, compare."""

from pathlib import Path
from typing import Any

from datasets.two_views.photos import index_photos
from experiments.loading import load_splits
from experiments.named_run import named
from experiments.pretraining.setup import refuse_small_batches
from experiments.pretraining.study.frozen import Frozen, read_frozen
from experiments.pretraining.study.longer import plan_longer
from experiments.pretraining.study.options import FROZEN, STUDY_CSV, STUDY_FILES, StudyOptions
from experiments.pretraining.study.page import console_text, write_pages
from experiments.pretraining.study.photos import check_photos
from experiments.pretraining.study.plan import Finetuning, Plan, PretrainRun, plan_finetunings
from experiments.pretraining.study.recipes import PRETRAINED, RANDOM, START_NAMES, read_recipes
from experiments.pretraining.study.results import Results, describe
from experiments.pretraining.study.tables import csv_rows
from experiments.regions.facts import lossy_notes
from experiments.regions.options import output_folder
from experiments.regions.shared import run_study, write_results
from experiments.regions.tables import write_rows
from experiments.regions.training import check_folders, check_models, plan_lines, train_runs
from R2O.trunk import build_trunk
from utils.checkpoints import WEIGHTS_FILE

SCRIPT = "study_pretraining.py"


def study_command(argv: list[str]) -> None:
    """Parse the command line of ``study_pretraining.py`` and run it."""
    run_study(SCRIPT, StudyOptions, argv, _dry_lines, study_pretraining, console_text)


def study_pretraining(options: StudyOptions) -> dict[str, Any]:
    """Do what is missing, seed by seed, and write tables, plots and ``results.json`` to ``options.out``.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: an option, a recipe, photos, pairs or a part that is there cannot be used; nothing was trained then.
        RunError, InterruptedRunError: as the trainings raise them; the same command goes on.
    """
    folder = output_folder(options.out, STUDY_FILES, "study")
    plan = make_plan(options, folder)
    for pretraining in plan.pretrainings:
        pretraining.check()
    check_folders(plan.finetunings)
    for note in plan.notes:
        print(f"note: {note}")
    results = Results(plan)
    for pretraining in plan.pretrainings:
        pretraining.train()
        seed = pretraining.seed
        for start in (RANDOM, PRETRAINED):
            results.frozen[start, seed] = _read(plan, seed, start)
        runs = [run for run in plan.finetunings if run.seed == seed]
        train_runs(runs)
        results.finetunings += runs
        if options.equal_compute:
            longer = plan_longer(plan.recipes, pretraining, runs)
            check_folders(longer)
            train_runs(longer)
            results.finetunings += longer
    document = describe(options, results, SCRIPT)
    write_pages(document, folder)
    write_rows(folder / STUDY_CSV, csv_rows(document))
    write_results(document, folder)
    return document


def make_plan(options: StudyOptions, folder: Path) -> Plan:
    """Return what is run; recipes, photos and pairs are checked.

    Raises:
        UserError: what cannot be used.
    """
    recipes = read_recipes(options, folder)
    first, tuned = recipes.pretraining, recipes.finetuning
    splits = load_splits(tuned.data, options.seeds[0])
    photos = index_photos(first.data, "photos")
    notes = [*check_photos(photos, splits), *lossy_notes(splits)]
    refuse_small_batches(first, photos, 1)
    build_trunk(first.model, first.data.image_size, initialise=False)
    finetunings, lengths = plan_finetunings(recipes, splits)
    check_models(finetunings)
    if first.data.image_size != tuned.data.image_size:
        notes.append(
            f"backbones are pre-trained on views of {first.data.image_size} px and fine-tuned on pictures of "
            f"{tuned.data.image_size or 'their own number of'} px"
        )
    runs = [PretrainRun(seed, recipes.pretrain(seed), photos) for seed in options.seeds]
    return Plan(recipes, runs, finetunings, splits, notes + lengths)


def _read(plan: Plan, seed: int, start: str) -> Frozen:
    recipes = plan.recipes
    weights = recipes.pretrain_folder(seed) / WEIGHTS_FILE if start == PRETRAINED else None
    path = recipes.folder / FROZEN / start / f"seed{seed}"
    with named(f"frozen backbone, {START_NAMES[start]}, seed {seed}"):
        return read_frozen(path, recipes.finetune(seed, start), recipes.options.frozen, plan.splits, weights)


def _dry_lines(options: StudyOptions) -> list[str]:
    folder = output_folder(options.out, STUDY_FILES, "study")
    plan = make_plan(options, folder)
    first = plan.pretrainings[0]
    states: dict[str, list[str]] = {}
    for run in plan.pretrainings:
        run.check()
        state = "finished" if run.directory.finished else "unfinished" if run.directory.begun else "to do"
        states.setdefault(state, []).append(str(run.seed))
    epochs, batch = first.config.train.epochs, first.config.train.batch_size
    done = "; ".join(f"seeds {', '.join(seeds)} {state}" for state, seeds in states.items())
    lines = [f"note: {note}" for note in plan.notes]
    lines.append(
        f"pre-training of {first.config.model.backbone}: {epochs * (len(first.photos) // batch)} steps; {done}"
    )
    lines += _lengths(plan.finetunings, options.seeds[0])
    lines += plan_lines(plan.finetunings)
    if options.equal_compute:
        lines.append("  random start, trained longer: planned once its seed's other trainings have been timed")
    return lines


def _lengths(runs: list[Finetuning], seed: int) -> list[str]:
    shown = {run.fraction: run for run in runs if run.seed == seed}
    return [
        f"fine-tuning with {fraction:.4g} of the labels: {len(run.splits.train)} pairs, {run.config.train.epochs} "
        f"passes, {run.steps} steps of at most {run.config.train.batch_size}"
        for fraction, run in shown.items()
    ]
