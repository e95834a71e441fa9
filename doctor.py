"""Looks for whatever makes scores untrue: in archives, trees of pairs, class folders and runs. Changes nothing.

python doctor.py FoodSeg103 dataset_root runs/first

Exit status: 0 where nothing is worse than a note, 1 with a warning, 2 with an error. docs/doctor.md has every finding.
"""

import argparse
import math
import sys
from pathlib import Path

from datasets.archive import PICTURE_FOLDER
from datasets.doctor.archive_check import LookOptions
from datasets.doctor.check import Examiner, refuse_interrupted
from datasets.doctor.counts import TRAIN_SPLIT
from datasets.doctor.findings import check_codes
from datasets.doctor.near_duplicates import NEAR_BITS
from datasets.doctor.report import Report, publish
from datasets.doctor.tree_check import TREE_FILES
from datasets.folder_listing import class_folder_splits
from datasets.listing import VIEW_FOLDERS
from datasets.picture_size import PixelLimit
from datasets.workers import StopSignals
from utils.arguments import Parser
from utils.errors import ConfigError, nearest, run_script

RUN_FILES = ("config.yaml", "metrics.json", "env.json")


def _codes(text: str) -> list[str]:
    return [code.strip() for code in text.split(",") if code.strip()]


def _parser() -> Parser:
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "paths",
        type=Path,
        nargs="*",
        metavar="PATH",
        help="folder of an archive, of pairs, of class folders or of a run",
    )
    add("--json", type=Path, metavar="FILE", help="one file for all findings (default: PATH.doctor.json beside each)")
    add(
        "--near_duplicates",
        type=int,
        default=NEAR_BITS,
        metavar="BITS",
        help=f"of 64 bits may differ between photos that look the same; 0 looks for none (default: {NEAR_BITS})",
    )
    add("--mask_orientation", choices=("stored", "upright"), help="how masks lie that fit a turned photo both ways")
    add(
        "--groups",
        type=Path,
        metavar="FILE",
        help="CSV with split,image,group: photos of an archive that belong together",
    )
    add("--train_split", default=TRAIN_SPLIT, metavar="NAME", help="the split that is trained on (default: train)")
    add("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
    add("--max_megapixels", type=float, default=180.0, metavar="M", help="refuse larger pictures (default: 180)")
    add("--accept", type=_codes, default=[], metavar="CODES", help="comma-separated codes of findings that are fine")
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    options = _parser().read(arguments)
    if not options.paths:
        raise ConfigError("no folder is named; give an archive, a tree of pairs or a run, as in: doctor.py FoodSeg103")
    if options.workers is not None and options.workers < 1:
        raise ConfigError(f"--workers {options.workers}: at least 1")
    if not 0 < options.max_megapixels < math.inf:
        raise ConfigError(f"--max_megapixels {options.max_megapixels}: million pixels, more than 0")
    return options


def _kind(path: Path) -> str:
    """Say what a folder is: ``archive``, ``pairs``, ``folders`` or ``run``; a ``ConfigError`` where it is none."""
    if not path.is_dir():
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"{path} is not a folder{nearest(path.name, siblings)}")
    if (path / PICTURE_FOLDER).is_dir():
        return "archive"
    if any((path / name).is_file() for name in RUN_FILES):
        return "run"
    if any((path / name).is_file() for name in TREE_FILES) or any(path.glob(f"*/{VIEW_FOLDERS[0]}")):
        return "pairs"
    if class_folder_splits(path):
        return "folders"
    raise ConfigError(
        f"{path} is no archive (with {PICTURE_FOLDER}/), no tree of pairs (with train/{VIEW_FOLDERS[0]}/), no class "
        f"folders (train/<class>/<photo>) and no run (with {RUN_FILES[0]}); name one of them"
    )


def main(arguments: list[str]) -> None:
    """Parse the command line, look at every folder and exit with the status of the worst finding."""
    options = _parse(arguments)
    accept = check_codes(options.accept, "--accept")
    look = LookOptions(
        options.groups,
        options.mask_orientation,
        options.near_duplicates,
        PixelLimit(options.max_megapixels),
        options.train_split,
    )
    examiner = Examiner(look, options.workers)
    kinds = {path: _kind(path) for path in options.paths}
    for name in ("groups", "mask_orientation"):
        if getattr(options, name) is not None and "archive" not in kinds.values():
            raise ConfigError(f"--{name} is for archives, and none of the folders is one; name one or leave it out")
    reports: list[Report] = []
    look_at = {"archive": examiner.archive, "pairs": examiner.tree, "folders": examiner.folders}
    with StopSignals() as stop:
        for path, kind in kinds.items():
            if kind == "run":
                from experiments.run_diagnosis import examine_run  # torch takes seconds to load

                reports.append(examine_run(path))
            else:
                report, _ = look_at[kind](path, stop)
                reports.append(report)
            refuse_interrupted(stop)
    sys.exit(publish(reports, print, json_file=options.json, accept=accept))


if __name__ == "__main__":
    run_script(main)
