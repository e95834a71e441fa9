"""The published values, read from ``configs/paper_tables.yaml`` and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from utils.config import load_yaml
from utils.errors import ConfigError, nearest

Measure = Literal["top1", "macro_f1", "ambiguous_f1", "count"]
MEASURES = ("top1", "macro_f1", "ambiguous_f1", "count")
IDENTITY = "identity"


@dataclass(frozen=True)
class Remark:
    """What a reader should know; about the whole where ``row`` and ``column`` are None.

    ``compared`` is False where the published value is shown and never set against another number.
    """

    text: str
    row: str | None = None
    column: str | None = None
    compared: bool = True


@dataclass(frozen=True)
class Column:
    """A column of a table, as the head of ``configs/paper_tables.yaml`` describes it.

    Attributes:
        key: unique in the table.
        heading: what stands over it.
        measure: what is measured.
        conditions: names of the condition, the first that a run's suite has.
        change: what is subtracted; None where nothing is.
        exclude: class that the scored runs were trained without.
        cell: true and predicted class of a count.
        better: ``higher``, ``lower``, or None.
        tested: whether rows are compared in it.
    """

    key: str
    heading: str
    measure: Measure
    conditions: tuple[str, ...] = (IDENTITY,)
    change: Literal["from_identity", "from_excluded"] | None = None
    exclude: str | None = None
    cell: tuple[str, str] | None = None
    better: Literal["higher", "lower"] | None = "higher"
    tested: bool = False

    @property
    def digits(self) -> int:
        """Decimals that the paper prints."""
        return {"top1": 3, "count": 0}.get(self.measure, 4)

    @property
    def factor(self) -> float:
        """What turns a fraction into the unit that the paper prints."""
        return 100.0 if self.measure == "top1" else 1.0


@dataclass(frozen=True)
class PaperRow:
    """A row: the runs that it averages over (most often one), and what is printed, by column."""

    label: str
    runs: tuple[str, ...]
    values: Mapping[str, float | None]
    underlined: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What remarks and claims call it: the run's key, or the label of a row over several."""
        return self.runs[0] if len(self.runs) == 1 else self.label


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[PaperRow, ...]
    claims: tuple[tuple[str, str], ...] = ()
    remarks: tuple[Remark, ...] = ()
    baselines: bool = False

    def row(self, name: str) -> PaperRow:
        """Return a row by its name or its label."""
        return next(row for row in self.rows if name in (row.name, row.label))

    def compared(self, row: PaperRow, column: Column) -> bool:
        """Say whether the published value of a cell may be set against another number."""
        return all(remark.compared for remark in self.remarks if _meets(remark, row, column))

    def remarks_on(self, row: PaperRow | None = None, column: Column | None = None) -> list[Remark]:
        """Return the remarks on exactly this: a cell, a row, a column, or the table where both are None."""
        names = (row.name, row.label) if row else (None,)
        key = column.key if column else None
        return [remark for remark in self.remarks if remark.row in names and remark.column == key]


@dataclass(frozen=True)
class Overlap:
    """A count of pairs that all of ``right`` get right and all of ``wrong`` get wrong; ``value`` is published."""

    label: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    value: int | None


@dataclass(frozen=True)
class PaperFigure:
    """A figure that is repeated: ``overlap`` counts pairs, ``curve`` draws scores against epochs.

    ``curves`` are (label, run).
    """

    name: str
    kind: Literal["overlap", "curve"]
    title: str
    rows: tuple[Overlap, ...] = ()
    curves: tuple[tuple[str, str], ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Published:
    """Everything that the paper publishes."""

    source: str
    marks: str
    data: Mapping[str, Any]
    aliases: tuple[tuple[str, ...], ...]
    tables: Mapping[str, PaperTable]
    figures: Mapping[str, PaperFigure]
    remarks: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of tables and figures, such as ``2`` and ``figure3``."""
        return [*self.tables, *self.figures]

    def spellings(self, food: str) -> tuple[str, ...]:
        """Return every spelling of a class, its own first."""
        return next((group for group in self.aliases if food.lower() in group), (food,))

    def find_class(self, food: str, names: tuple[str, ...]) -> str | None:
        """Return the one of ``names`` that is this food under any spelling, None where none is."""
        wanted = {_plain(spelling) for spelling in self.spellings(food)}
        return next((name for name in names if _plain(name) in wanted), None)

    def conditions_shown(self, items: list[str], run: str) -> set[str]:
        """Return the conditions under which the given tables show a run, the identity aside."""
        return {
            condition
            for table in map(self.tables.get, items)
            if table is not None
            for row in table.rows
            if run in row.runs
            for column in table.columns
            for condition in column.conditions
        } - {IDENTITY}

    def runs_of(self, items: list[str]) -> set[tuple[str, str | None]]:
        """Return (run, class left out) of all that the given tables and figures show."""
        found: set[tuple[str, str | None]] = set()
        for item in items:
            if item in self.tables:
                table = self.tables[item]
                runs = [run for row in table.rows for run in row.runs]
                found |= {(run, column.exclude) for run in runs for column in table.columns}
            else:
                figure = self.figures[item]
                shown = {run for row in figure.rows for run in (*row.right, *row.wrong)}
                shown |= {run for _, run in figure.curves}
                found |= {(run, None) for run in shown}
        return found


def load_published(path: Path) -> Published:
    """Read the published values.

    Raises:
        ConfigError: a key is unknown or missing, a row has more or fewer values than columns, a remark or a claim names
            no row; names the table.
    """
    document = load_yaml(path)
    try:
        tables = {str(entry["number"]): _table(entry, path) for entry in document["tables"]}
        figures = {f"figure{entry['number']}": _figure(entry) for entry in document["figures"]}
        return Published(
            source=str(document["source"]),
            marks=str(document["marks"]),
            data=document["data"],
            aliases=tuple(tuple(str(name).lower() for name in group) for group in document["aliases"]),
            tables=tables,
            figures=figures,
            remarks=tuple(str(text).strip() for text in document["remarks"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not a file of published values: {type(error).__name__} {error}") from error


def _table(entry: dict[str, Any], path: Path) -> PaperTable:
    where = f"{path}: table {entry['number']}"
    columns = tuple(_column(column, where) for column in entry["columns"])
    keys = [column.key for column in columns]
    rows = tuple(_row(row, keys, where) for row in entry["rows"])
    names = {name for row in rows for name in (row.name, row.label)}
    table = PaperTable(
        name=str(entry["number"]),
        title=str(entry["title"]),
        columns=columns,
        rows=rows,
        claims=tuple((str(ours), str(other)) for ours, other in entry.get("claims", [])),
        remarks=_remarks(entry),
        baselines=bool(entry.get("baselines", False)),
    )
    cited = [name for claim in table.claims for name in claim]
    cited += [remark.row for remark in table.remarks if remark.row]
    for name in cited:
        if name not in names:
            raise ConfigError(f"{where} speaks of the row '{name}', which it does not have{nearest(name, names)}")
    for remark in table.remarks:
        if remark.column and remark.column not in keys:
            raise ConfigError(f"{where} has no column '{remark.column}'{nearest(remark.column, keys)}")
    return table


def _column(entry: dict[str, Any], where: str) -> Column:
    known = {"key", "heading", "measure", "condition", "change", "exclude", "cell", "better", "tested"}
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where}: a column has the unknown key '{key}'{nearest(key, known)}")
    if entry["measure"] not in MEASURES:
        raise ConfigError(f"{where}: '{entry['measure']}' is no measure; one of {', '.join(MEASURES)}")
    condition = entry.get("condition", IDENTITY)
    return Column(
        key=str(entry["key"]),
        heading=str(entry["heading"]),
        measure=entry["measure"],
        conditions=tuple(condition) if isinstance(condition, list) else (str(condition),),
        change=entry.get("change"),
        exclude=entry.get("exclude"),
        cell=tuple(entry["cell"]) if "cell" in entry else None,
        better=entry.get("better", "higher"),
        tested=bool(entry.get("tested", False)),
    )


def _row(entry: dict[str, Any], keys: list[str], where: str) -> PaperRow:
    values = entry["values"]
    if len(values) != len(keys):
        raise ConfigError(f"{where}: the row '{entry['label']}' has {len(values)} values for {len(keys)} columns")
    runs = entry["runs"] if "runs" in entry else [entry["run"]]
    underlined = tuple(entry.get("underlined", ()))
    return PaperRow(str(entry["label"]), tuple(runs), dict(zip(keys, values, strict=True)), underlined)


def _figure(entry: dict[str, Any]) -> PaperFigure:
    rows = tuple(
        Overlap(str(row["label"]), tuple(row["right"]), tuple(row["wrong"]), row["value"])
        for row in entry.get("rows", [])
    )
    return PaperFigure(
        name=f"figure{entry['number']}",
        kind=entry["kind"],
        title=str(entry["title"]),
        rows=rows,
        curves=tuple((str(curve["label"]), str(curve["run"])) for curve in entry.get("curves", [])),
        remarks=_remarks(entry),
    )


def _remarks(entry: dict[str, Any]) -> tuple[Remark, ...]:
    return tuple(
        Remark(str(item["text"]).strip(), item.get("row"), item.get("column"), bool(item.get("compared", True)))
        for item in entry.get("remarks", [])
    )


def _meets(remark: Remark, row: PaperRow, column: Column) -> bool:
    return remark.row in (None, row.name, row.label) and remark.column in (None, column.key)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())
