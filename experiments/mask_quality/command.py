"""What ``compare_masks.py`` does: an archive, runs and trees in, a folder of results out."""

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from experiments.mask_quality import archive_part, sweep, two_by_two
from experiments.mask_quality.gallery import save_edits, save_worst
from experiments.mask_quality.options import REPORT_FILE, RESULTS_FILE, CompareOptions, output_folder
from experiments.mask_quality.page import console_text, write_pages
from experiments.mask_quality.plan import Plan, make_plan, plan_lines
from experiments.mask_quality.scored import Scoring
from segmenters.options import open_segmenter
from utils.config import parse_config
from utils.devices import make_accelerator
from utils.errors import ConfigError
from utils.files import whole_folder, write_text
from utils.processes import refuse_several
from utils.provenance import describe_machine
from utils.sections import TrainConfig

SCRIPT = "compare_masks.py"
FLAGS = {"dry_run": "Print what would be computed and, from up to three photos, how long prompts would take, and exit."}


def compare_command(argv: list[str]) -> None:
    """Parse the command line of ``compare_masks.py`` and run it."""
    refuse_several(SCRIPT)
    options, flags = parse_config(CompareOptions, argv, program=SCRIPT, flags=FLAGS)
    if flags["dry_run"]:
        _print_plan(options)
        return
    started = time.perf_counter()
    document = compare_masks(options)
    print(f"\n{console_text(document)}\n")
    print(f"{time.perf_counter() - started:.0f} seconds\nreport: {Path(document['folder']) / REPORT_FILE}")


def _print_plan(options: CompareOptions) -> None:
    """Print what would be computed, how long prompts would take, and where the results would go."""
    plan = make_plan(options)
    print("\n".join(plan_lines(plan)), flush=True)
    if plan.archive is not None:
        print(archive_part.estimate_line(plan, open_segmenter(options.segmenter)))
    print(f"results  {plan.folder}")
    try:
        output_folder(options)
    except ConfigError as error:
        print(f"note: so they could not be written: {error}")


def compare_masks(options: CompareOptions) -> dict[str, Any]:
    """Compare masks as the options ask and write tables, pictures and ``results.json``.

    The folder appears whole, under its final name, when everything is written. Only notes and progress are printed.

    Returns:
        The content of ``results.json``, and ``folder``, where it was written.

    Raises:
        ConfigError: an option, a device, a segmenter's weights or the output folder cannot be used.
        DataError: archive, runs or trees cannot be used, or do not fit each other.
    """
    output_folder(options)
    plan = make_plan(options)
    matched_notes = plan.matched.notes if plan.matched is not None else []
    for note in [*plan.notes, *matched_notes]:
        print(f"note: {note}")
    document: dict[str, Any] = {
        "resamples": options.resamples,
        "seed": options.seed,
        "prompted": None,
        "trees": None,
        "sweep": [],
        "notes": plan.notes,
        "environment": {"script": SCRIPT},
    }
    scoring = Scoring(_accelerator(options), options.batch_size, options.workers) if plan.sides else None
    with whole_folder(plan.folder) as folder:
        if plan.archive is not None:
            document["prompted"] = _prompted(plan, folder)
        if scoring is not None:
            document["trees"] = _trees(plan, scoring, folder) if plan.matched is not None else None
            document["sweep"] = _sweep(plan, scoring, folder) if plan.edits else []
        device = "cpu" if scoring is None else scoring.accelerator.device.type
        document["environment"] |= describe_machine(device)
        write_pages(document, folder)
        write_text(folder / RESULTS_FILE, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return document | {"folder": str(plan.folder)}


def _prompted(plan: Plan, folder: Path) -> dict[str, Any]:
    segmenter = open_segmenter(plan.options.segmenter)
    compared = archive_part.compare_archive(plan, segmenter)
    _write_csv(folder / "iou.csv", *archive_part.csv_rows(plan, compared))
    save_worst(plan, segmenter, compared, folder / "worst.png")
    return archive_part.describe_archive(plan, segmenter, compared)


def _trees(plan: Plan, scoring: Scoring, folder: Path) -> dict[str, Any]:
    matched = plan.matched
    assert matched is not None
    logits = two_by_two.compute_cells(plan.sides, matched, scoring)
    names = list(matched.trees)
    ious = two_by_two.mask_ious(*map(matched.of_tree, names)) if len(names) > 1 else None
    _write_csv(folder / "trees.csv", *two_by_two.csv_rows(matched, logits, ious))
    return two_by_two.describe_cells(plan.sides, matched, logits, ious, plan.options.resamples)


def _sweep(plan: Plan, scoring: Scoring, folder: Path) -> list[dict[str, Any]]:
    entries = []
    for side in plan.sides:
        swept = sweep.run_sweep(side, plan.swept[side.name], plan.edits, scoring)
        entries.append(sweep.describe_sweep(side, plan.edits, swept, plan.options.resamples))
    _write_csv(folder / "sweep.csv", *sweep.csv_rows(entries))
    first = plan.sides[0]
    save_edits(plan.swept[first.name][first.records[0].name], plan.edits, folder / "edits.png")
    return entries


def _write_csv(path: Path, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _accelerator(options: CompareOptions) -> Accelerator:
    train = replace(TrainConfig(), device=options.device, precision=options.precision)
    return make_accelerator(train, section="")
