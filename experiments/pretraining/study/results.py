"""What a study found: ``results.json`` from its finished parts."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.evaluation.statistics import add_holm
from experiments.pretraining.study.frozen import NEIGHBOURS, PROBE, Floats, Frozen
from experiments.pretraining.study.longer import training_seconds
from experiments.pretraining.study.options import StudyOptions
from experiments.pretraining.study.plan import Finetuning, Plan, PretrainRun
from experiments.pretraining.study.recipes import LONGER, PRETRAINED, RANDOM
from experiments.regions.facts import budget_facts, split_facts
from experiments.regions.scores import difference_of, read_logits, score_cells, score_models
from utils.devices import resolve_device
from utils.metrics import SCORE_NAMES
from utils.provenance import describe_machine

Entry = dict[str, Any]


@dataclass
class Results:
    """Finished parts.

    Attributes:
        plan: what was run.
        frozen: answers by (start, seed).
        finetunings: of all seeds.
    """

    plan: Plan
    frozen: dict[tuple[str, int], Frozen] = field(default_factory=dict)
    finetunings: list[Finetuning] = field(default_factory=list)


def describe(options: StudyOptions, results: Results, script: str) -> dict[str, Any]:
    """Return the content of ``results.json``."""
    plan = results.plan
    config = plan.finetunings[0].config
    entries = [*_frozen_entries(options, results), *_finetuned_entries(options, results)]
    for pair in ("difference", "difference_longer"):
        for name in SCORE_NAMES:
            cells = [entry[pair][name] for entry in entries if entry.get(pair)]
            add_holm(cells, "p_seeds", "p_seeds_holm")
            add_holm(cells, "p_value", "p_holm")
    pretraining = plan.pretrainings[0].config
    return {
        "seeds": list(options.seeds),
        "fractions": list(options.fractions),
        "resamples": options.resamples,
        "equal_compute": options.equal_compute,
        "frozen": dataclasses.asdict(options.frozen),
        "budget": budget_facts(config, options.finetune.recipe),
        "recalibration_pairs": config.eval.recalibration_pairs,
        **split_facts(plan.splits),
        "most_frequent_class": float(plan.splits.test.class_counts().max() / len(plan.splits.test)),
        "pretraining": {
            "recipe": options.pretrain.recipe,
            "photos": str(plan.pretrainings[0].photos.root),
            "n_photos": len(plan.pretrainings[0].photos),
            "backbone": pretraining.model.backbone,
            "image_size": pretraining.data.image_size,
            "batch_size": pretraining.train.batch_size,
            "epochs": pretraining.train.epochs,
            "runs": [_pretrained(run) for run in plan.pretrainings],
        },
        "entries": entries,
        "notes": list(plan.notes),
        "environment": {"script": script} | describe_machine(resolve_device(config.train.device)),
    }


def _pretrained(run: PretrainRun) -> dict[str, Any]:
    metrics = run.directory.read_metrics(scored=False)
    return {
        "seed": run.seed,
        "run": str(run.directory.path),
        "steps": metrics["steps"],
        "seconds": training_seconds(run.directory),
        "loss": metrics["train"]["loss"],
        "spread": metrics["train"]["spread"],
        "log": run.directory.read_log(),
    }


def _frozen_entries(options: StudyOptions, results: Results) -> list[Entry]:
    entries = []
    for view in options.frozen.views:
        for method in (PROBE, NEIGHBOURS):
            answers = {start: [results.frozen[start, seed] for seed in options.seeds] for start in (RANDOM, PRETRAINED)}
            stacks = {start: np.stack([one.logits[method, view] for one in found]) for start, found in answers.items()}
            entry: Entry = {"kind": "frozen", "method": method, "view": view, "name": f"{method}, {view}"}
            entry |= {"fraction": 1.0, "n_train": len(results.plan.splits.train)}
            if method == PROBE:
                entry["iterations"] = {
                    start: [one.iterations[view] for one in found] for start, found in answers.items()
                }
                entry["converged"] = all(one.converged[view] for found in answers.values() for one in found)
            entries.append(entry | _compared(options, results, stacks))
    return entries


def _finetuned_entries(options: StudyOptions, results: Results) -> list[Entry]:
    entries = []
    for fraction in options.fractions:
        runs = [run for run in results.finetunings if run.fraction == fraction]
        by_start = {start: [run for run in runs if run.start == start] for start in (RANDOM, PRETRAINED, LONGER)}
        by_start = {start: mine for start, mine in by_start.items() if mine}
        stacks = {start: read_logits(mine)[mine[0].model] for start, mine in by_start.items()}
        entry: Entry = {"kind": "finetuned", "method": "RveRNet", "view": "both", "fraction": fraction}
        entry |= {"name": f"RveRNet, {100 * fraction:.4g} % of the labels", "n_train": len(runs[0].splits.train)}
        compared = _compared(options, results, stacks)
        for start, mine in by_start.items():
            compared["starts"][start] |= {
                "steps": [run.steps for run in mine],
                "epochs": [run.config.train.epochs for run in mine],
                "seconds": [training_seconds(run.directory) for run in mine],
                "runs": [str(run.directory.path) for run in mine],
            }
        entries.append(entry | compared)
    return entries


def _compared(options: StudyOptions, results: Results, stacks: Mapping[str, Floats]) -> dict[str, Any]:
    """Score each start's logits S×N×C, and compare the pre-trained one with the others, seed by seed."""
    test = results.plan.splits.test
    scored = score_models(test.label, stacks, test.group, test.classes.ambiguous_indices, options.resamples)
    found: dict[str, Any] = {"starts": {start: {"scores": score_cells(one)} for start, one in scored.items()}}
    for key, other in (("difference", RANDOM), ("difference_longer", LONGER)):
        if other in scored:
            found[key] = {name: difference_of(scored[PRETRAINED], scored[other], name) for name in SCORE_NAMES}
    return found
