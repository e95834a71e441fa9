"""Explain many pairs with one or several runs: sheets of pictures, a table, means, and a page that links them."""

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.pairs import VIEWS
from experiments.explanation.maps import WITHOUT_EVIDENCE
from experiments.explanation.methods import check_any_method, definitions, heading_of, key_of
from experiments.explanation.opened import ANSWER, KEY, Answer, OpenRun
from experiments.explanation.page import save_class_shares, write_page
from experiments.explanation.pictures import Frame, load_frames
from experiments.explanation.runs import open_runs
from experiments.explanation.sheets import PairPicture, SheetWriter
from experiments.runs import RunRecord
from Off_the_shelfs.own_maps import OWN_METHODS
from utils.errors import DataError
from utils.files import write_atomic, write_text

TABLE_FILE, SUMMARY_FILE, PAGE_FILE, SHEETS = "explanations.csv", "summary.json", "index.html", "sheets"
CLASSES_FILE = "evidence_by_class.png"
_MOST_CUTS = 128  # cuts of other pairs that each map is held against


@dataclass(frozen=True)
class Section:
    """Rows of the index that belong together, with a heading; empty where there is only one section."""

    title: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """How pairs are explained.

    Attributes:
        method: key of ``METHODS`` or of ``OWN_METHODS``.
        target: the class that maps speak of: the predicted one, or the truth.
        least_cells: smallest wanted number of cells on a map's shorter side; 1 takes the last map before pooling.
        per_sheet: pairs on one picture.
        batch_size: pairs per forward pass.
    """

    method: str = "gradcam"
    target: Literal["predicted", "truth"] = "predicted"
    least_cells: int = 1
    per_sheet: int = 6
    batch_size: int = 16


def explain_runs(
    records: Sequence[RunRecord],
    index: PairIndex,
    rows: Sequence[int],
    folder: Path,
    *,
    method: str = "gradcam",
    device: torch.device,
    target: Literal["predicted", "truth"] = "predicted",
    batch_size: int = 16,
    least_cells: int = 1,
    per_sheet: int = 6,
) -> dict[str, Any]:
    """Explain some pairs with every run and write sheets, ``explanations.csv``, ``summary.json`` and ``index.html``.

    Args:
        records: finished runs; a row of maps each.
        index: pairs whose classes are those of all runs.
        rows: of the index.
        folder: to fill; made where it is missing.
        method: key of ``METHODS`` or of ``OWN_METHODS``.
        device: where the models run.
        target: ``predicted`` or ``truth``.
        batch_size: pairs per forward pass.
        least_cells: as in ``explaining``.
        per_sheet: pairs on one picture.

    Returns:
        The content of ``summary.json``.
    """
    settings = Settings(method, target, least_cells, per_sheet, batch_size)
    return write_gallery(records, index, [Section("", np.asarray(rows, np.int64))], folder, settings, device)


def write_gallery(
    records: Sequence[RunRecord],
    index: PairIndex,
    sections: Sequence[Section],
    folder: Path,
    settings: Settings,
    device: torch.device,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the gallery of some sections; memory does not grow with the number of pairs, but for a few numbers each.

    Raises:
        ConfigError: an unknown method, one that a model has not, or a module without a spatial layer.
        DataError: no pair.
    """
    check_any_method(settings.method)
    sections = [section for section in sections if len(section.rows)]
    if not sections:
        raise DataError("there is no pair to explain; choose others")
    total = sum(len(section.rows) for section in sections)
    with ExitStack() as stack:
        runs = open_runs(stack, records, index, settings.method, settings.least_cells, device, total)
        (folder / SHEETS).mkdir(parents=True, exist_ok=True)  # not before: a layer may be missing
        gallery = _Gallery(index, sections, folder, settings, runs)

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", newline="") as table:
                gallery.fill(table, device)

        write_atomic(folder / TABLE_FILE, write)
    summary = gallery.summary(notes)
    if settings.method not in OWN_METHODS:
        save_class_shares(summary["runs"], folder / CLASSES_FILE)
    write_text(folder / SUMMARY_FILE, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_page(folder / PAGE_FILE, summary, gallery.sheets.written, CLASSES_FILE)
    return summary


class _Gallery:
    """What is written while batches go by, and the few numbers per pair that the means need."""

    def __init__(
        self, index: PairIndex, sections: Sequence[Section], folder: Path, settings: Settings, runs: list[OpenRun]
    ) -> None:
        self.index, self.sections, self.settings, self.runs = index, sections, settings, runs
        self.rows = np.concatenate([section.rows for section in sections])
        self._columns = _in_order([run.table for run in runs])
        self._heading = heading_of(settings.method, settings.target)
        panels = _in_order([run.panels for run in runs])
        self.sheets = SheetWriter(folder / SHEETS, settings.per_sheet, panels, key_of(settings.method))

    def fill(self, table: TextIO, device: torch.device) -> None:
        """Explain every pair, in order: table rows at once, a sheet whenever enough pairs are there."""
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*KEY, *ANSWER, *self._columns])
        batches = list(self._batches())
        frames = {frame: run.record for run in self.runs for frame in run.frames.values()}
        self._gather_cuts(frames, device)
        loaded = load_frames(self.index, frames, [rows for _, rows in batches], device.type)
        done = 0
        with tqdm(total=len(self.rows), unit="pair", disable=None, leave=False) as bar:
            for (section, rows), pictures in zip(batches, loaded, strict=True):
                answers = [run.answer(self.index, pictures, rows, done, self.settings.target) for run in self.runs]
                self._write(writer, section, rows, answers)
                done += len(rows)
                bar.update(len(rows))
        self.sheets.close()

    def _gather_cuts(self, frames: Mapping[Frame, RunRecord], device: torch.device) -> None:
        """Give every run the cuts of pairs that are spread evenly over all; no draw, and no matter of batches."""
        places = np.linspace(0, len(self.rows) - 1, min(len(self.rows), _MOST_CUTS)).round().astype(np.int64)
        size = self.settings.batch_size
        batches = [self.rows[places[start : start + size]] for start in range(0, len(places), size)]
        for rows, pictures in zip(batches, load_frames(self.index, frames, batches, device.type), strict=True):
            for run in self.runs:
                run.add_cuts(self.index, pictures, rows)

    def _batches(self) -> Iterator[tuple[Section, NDArray[np.int64]]]:
        for section in self.sections:
            for start in range(0, len(section.rows), self.settings.batch_size):
                yield section, section.rows[start : start + self.settings.batch_size]

    def _write(self, table: Any, section: Section, rows: NDArray[np.int64], answers: list[Answer]) -> None:  # noqa: ANN401  # csv's writer has no public type
        """Write the table rows of a batch and hand its pictures on."""
        for place, row in enumerate(rows.tolist()):
            pair = PairPicture(
                title=f"truth: {self.index.classes.names[self.index.label[row]]}",
                key=self.index.draw_key(row),
                photo=answers[0].photos[place],
                rows=[answer.pictures[place] for answer in answers],
            )
            name = f"{self.index.classes.folders[self.index.label[row]]}_{self.index.stems[row]}"
            sheet = self.sheets.add(section.title or self._heading, name, pair)
            group = self.index.group_names[self.index.group[row]]
            for run, answer in zip(self.runs, answers, strict=True):
                key = [section.title, f"{SHEETS}/{sheet}", *self.index.key(row), group]
                table.writerow([run.record.name, *key, *answer.cells(place, self._columns)])

    def summary(self, notes: Sequence[str]) -> dict[str, Any]:
        """Return the content of ``summary.json``."""
        label, groups = self.index.label[self.rows], self.index.group[self.rows]
        result: dict[str, Any] = {
            **dataclasses.asdict(self.settings),
            "maps_have_a_unit": self.settings.method not in (*WITHOUT_EVIDENCE, *OWN_METHODS),
            "definitions": definitions(self.settings.method, self._columns),
            "data_root": str(self.index.root),
            "split": self.index.split,
            "n_pairs": len(self.rows),
            "n_groups": int(np.unique(groups).size),
            "sections": [{"title": s.title, "pairs": len(s.rows)} for s in self.sections],
            "runs": {},
            "alarms": [],
            "notes": list(notes),
        }
        if self.settings.least_cells > 1:
            result["notes"].append(
                f"Maps have at least {self.settings.least_cells} cells a side, for which some come from an earlier "
                f"layer than the last; shares of evidence do not come from maps and are the same with --least_cells 1"
            )
        for run in self.runs:
            outcome = run.outcome(label, groups, self.index.classes.names)
            result["runs"][run.record.name] = {"path": str(run.record.path), **outcome.measured}
            result["alarms"] += outcome.alarms
            result["notes"] += outcome.remarks
        return result


def _in_order(named: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """Return the names that runs have for each view, each once, view by view."""
    return list(dict.fromkeys(name for view in VIEWS for names in named for name in names.get(view, ())))
