"""What commands that train several models and compare them do alike."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from experiments.loading import Splits, load_splits
from experiments.regions.facts import lossy_notes
from experiments.regions.largest import choose_largest, write_largest_tree
from experiments.regions.options import LARGEST_TREE, REPORT_FILE, RESULTS_FILE, Question
from utils.config import parse_config
from utils.data_sections import DataConfig
from utils.files import write_text
from utils.processes import refuse_several

Document = dict[str, Any]


class Filling(Protocol):
    """Options of a command that fills a folder."""

    @property
    def out(self) -> str:
        """The folder."""


Options = TypeVar("Options", bound=Filling)
_FLAGS = {"dry_run": "Print which runs are finished and which are to be trained, and exit; nothing is written."}


def run_study(
    script: str,
    options_class: type[Options],
    argv: list[str],
    dry_lines: Callable[[Options], list[str]],
    study: Callable[[Options], Document],
    text: Callable[[Document], str],
) -> None:
    """Parse the command line of a script, and print what would be done, or do it and print the results."""
    refuse_several(script)
    options, flags = parse_config(options_class, argv, program=script, flags=_FLAGS)
    if flags["dry_run"]:
        print("\n".join(dry_lines(options)))
        return
    started = time.perf_counter()
    document = study(options)
    print(f"\n{text(document)}\n")
    print(f"{time.perf_counter() - started:.0f} seconds\nreport: {Path(options.out) / REPORT_FILE}")


def take_pairs(question: Question, splits: Splits, data: DataConfig, folder: Path) -> tuple[str, Splits, list[str]]:
    """Return root and index of the pairs that a question is about, and what the user should know of them.

    The tree of largest regions is made in ``folder`` where it is asked for and not there.
    """
    notes = lossy_notes(splits)
    if question == "every":
        return data.root, splits, notes
    root = str(folder / LARGEST_TREE)
    notes += write_largest_tree(splits, folder / LARGEST_TREE)
    return root, load_splits(dataclasses.replace(data, root=root), 0), notes


def preview_pairs(question: Question, splits: Splits) -> tuple[int, int, list[str]]:
    """Return how many training and test pairs a question is about, and the notes of ``take_pairs``; write nothing."""
    notes = lossy_notes(splits)
    if question == "every":
        return len(splits.train), len(splits.test), notes
    chosen = choose_largest(splits)
    return len(chosen.train), len(chosen.test), notes + chosen.notes


def write_results(document: Mapping[str, Any], folder: Path) -> None:
    """Write ``results.json``."""
    write_text(folder / RESULTS_FILE, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
