"""A published table beside ours: rows of cells as text, marks, notes and sentences, for any way of printing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.paper.cells import SIGNIFICANT, Cell, Runs, Verdict, compare_rows, make_cell
from experiments.paper.finished import Finished
from experiments.paper.grid import run_key
from experiments.paper.notes import other_backbones, perturbation_lines, row_notes
from experiments.paper.published import IDENTITY, Column, PaperRow, PaperTable, Published
from experiments.report import Change, format_score

Mark = Literal["", "best", "worst"]
LINES = ("published", "ours", "difference")
NOTHING = "–"
NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Shown:
    """A text with its mark."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class ReportCell:
    """One cell: what the paper prints, ours with its interval, ours less the paper's, and the letters of its notes."""

    published: Shown
    ours: Shown
    difference: Shown
    letters: str
    published_value: float | None
    cell: Cell
    compared: bool

    @property
    def difference_value(self) -> float | None:
        """Ours less the paper's; None where one is missing or the published value is not to be compared."""
        ours, theirs = self.cell.value, self.published_value
        return ours - theirs if self.compared and ours is not None and theirs is not None else None

    def lines(self) -> tuple[Shown, Shown, Shown]:
        """Return the three in the order of ``LINES``."""
        return self.published, self.ours, self.difference


@dataclass(frozen=True)
class ReportRow:
    """One row: label, letters of its notes, keys of its runs, cells."""

    label: str
    letters: str
    runs: str
    cells: tuple[ReportCell, ...]


@dataclass(frozen=True)
class ReportTable:
    """A table as it is printed: notes are (letter, text), in the order in which the letters first appear."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[ReportRow, ...]
    notes: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    sentences: tuple[str, ...]
    baselines: bool


class _Letters:
    """Gives each different note a letter."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def of(self, texts: Sequence[str]) -> str:
        letters = [self.known.setdefault(text, _letter(len(self.known))) for text in texts]
        return ",".join(sorted(dict.fromkeys(letters), key=lambda letter: (len(letter), letter)))


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + chr(ord("a") + number % 26)


def build_table(
    table: PaperTable,
    published: Published,
    runs: Runs,
    seeds: Sequence[int],
    counts: Mapping[str, Mapping[str, int]],
    resamples: int,
) -> ReportTable:
    """Set a published table beside our runs.

    Args:
        table: what is published.
        published: the file that it is part of.
        runs: our finished runs.
        seeds: training seeds that count.
        counts: class counts of training pairs by their fingerprint.
        resamples: behind the runs' scores.
    """
    places = [(row, column) for row in table.rows for column in table.columns]
    cells = {(row.name, column.key): make_cell(table, row, column, runs, seeds) for row, column in places}
    everything = [one for row in table.rows for one in _runs_behind(table, row, runs)]
    stand_ins = list(dict.fromkeys(pair for one in everything for pair in other_backbones(one)))
    letters = _Letters()
    shown = _shown_cells(table, cells)
    rows = []
    for row in table.rows:
        behind = _runs_behind(table, row, runs)
        notes = [note for one in behind for note in row_notes(one, published, counts, stand_ins)]
        finished = sorted({one.seed for one in behind})
        if finished and finished != sorted(seeds):
            notes.append(f"Finished for the training seeds {', '.join(map(str, finished))} alone.")
        row_letters = letters.of([*notes, *(remark.text for remark in table.remarks_on(row))])
        line = []
        for column in table.columns:
            texts = [remark.text for remark in table.remarks_on(row, column)]
            line.append(replace(shown[row.name, column.key], letters=letters.of(texts)))
        rows.append(ReportRow(row.label, row_letters, " + ".join(row.runs), tuple(line)))
    remarks = [remark.text for remark in table.remarks_on()]
    remarks += [f"{c.heading}: {remark.text}" for c in table.columns for remark in table.remarks_on(column=c)]
    conditions = dict.fromkeys(name for column in table.columns for name in column.conditions if name != IDENTITY)
    return ReportTable(
        name=table.name,
        title=table.title,
        columns=table.columns,
        rows=tuple(rows),
        notes=tuple((letter, text) for text, letter in letters.known.items()),
        remarks=(*remarks, *perturbation_lines(everything, list(conditions))),
        sentences=tuple(_sentences(table, compare_rows(table, cells), resamples)),
        baselines=table.baselines,
    )


def _shown_cells(table: PaperTable, cells: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], ReportCell]:
    """Return every cell as text, best and worst of each column marked on either side, without letters."""
    shown = {}
    for column in table.columns:
        ours = _marks([cells[row.name, column.key].value for row in table.rows], column)
        theirs = _marks([row.values[column.key] for row in table.rows], column)
        for row, our_mark, their_mark in zip(table.rows, ours, theirs, strict=True):
            cell, value, compared = cells[row.name, column.key], row.values[column.key], table.compared(row, column)
            shown[row.name, column.key] = ReportCell(
                published=Shown(_published_text(value, column), their_mark),
                ours=Shown(_our_text(cell, column), our_mark),
                difference=Shown(_difference_text(value, cell, column, compared=compared)),
                letters="",
                published_value=value,
                cell=cell,
                compared=compared,
            )
    return shown


def _runs_behind(table: PaperTable, row: PaperRow, runs: Runs) -> list[Finished]:
    """Return the finished runs of a row, its twins without a class last."""
    excluded = sorted({column.exclude or "" for column in table.columns})
    keys = [run_key(run, exclude or None) for exclude in excluded for run in row.runs]
    return [one for key in keys for (name, _), one in runs.items() if name == key]


def _marks(values: Sequence[float | None], column: Column) -> list[Mark]:
    """Mark the best and the worst of a column, all of those that tie; none where fewer than two values are there."""
    shown = [None if value is None else round(value, column.digits) for value in values]
    defined = {value for value in shown if value is not None}
    if column.better is None or len(defined) < 2:
        return [""] * len(values)
    best, worst = (max(defined), min(defined)) if column.better == "higher" else (min(defined), max(defined))
    return ["best" if value == best else "worst" if value == worst else "" for value in shown]


def _published_text(value: float | None, column: Column) -> str:
    return NOTHING if value is None else _format(value, None, column)


def _our_text(cell: Cell, column: Column) -> str:
    return cell.missing if cell.value is None else _format(cell.value, cell.interval, column)


def _format(value: float, interval: list[float] | None, column: Column) -> str:
    digits = column.digits
    if column.measure == "count" and interval is not None:
        digits = 1
    return format_score(Change(value) if column.change else value, interval, digits)


def _difference_text(value: float | None, cell: Cell, column: Column, *, compared: bool) -> str:
    if not compared:
        return NOT_COMPARED
    if value is None or cell.value is None:
        return NOTHING
    return format_score(Change(cell.value - value), None, column.digits)


def _sentences(table: PaperTable, verdicts: Sequence[Verdict], resamples: int) -> list[str]:
    """Return what was compared and how, a sentence for each difference inside the noise, and the others together."""
    if not verdicts:
        return []
    chosen = (
        "those that the table sets against each other" if table.claims else "our best and second best of each column"
    )
    by_seeds = ", and over training seeds" if max(verdict.seeds for verdict in verdicts) > 1 else ""
    least = min(1.0, 2 * len(verdicts) / (resamples + 1))
    hopeless = ", so none can be significant: raise --resamples" if least > SIGNIFICANT else ""
    number = "1 comparison" if len(verdicts) == 1 else f"{len(verdicts)} comparisons"
    lines = [
        f"Rows of ours compared ({chosen}): {number}, paired bootstrap over groups of the same test pairs{by_seeds}; "
        f"p is "
        f"two-sided and adjusted by Holm for the table, and cannot fall below {least:.3f}{hopeless}."
    ]
    lines += [f"Inside the noise: {_compared(verdict)}." for verdict in verdicts if verdict.inside_noise]
    beyond = [_compared(verdict) for verdict in verdicts if not verdict.inside_noise]
    return [*lines, f"More than noise: {'; '.join(beyond)}."] if beyond else lines


def _compared(verdict: Verdict) -> str:
    """Return one comparison in words; both values are ours."""
    column, compared = verdict.column, verdict.comparison
    digits = column.digits
    difference = format_score(Change(compared.difference), compared.interval, digits)
    values = [format_score(Change(x) if column.change else x, None, digits) for x in (compared.a, compared.b)]
    p = "p undefined" if verdict.p_holm is None else f"p {verdict.p_holm:.3f}"
    text = f"{verdict.a} ({values[0]}) against {verdict.b} ({values[1]}) in '{column.heading}', {difference}, {p}"
    if verdict.over_seeds is not None:
        low, high = (f"{end:+.{digits}f}" for end in verdict.over_seeds)
        text += f", over {verdict.seeds} training seeds [{low}, {high}]"
    return text
