"""A table beside the published one, printed as Markdown, HTML, CSV and LaTeX."""

import csv
import html
import io
import re
from collections.abc import Sequence

from experiments.paper.cells import NOT_EVALUATED, NOT_RUN
from experiments.paper.tables import LINES, NOT_COMPARED, Mark, ReportCell, ReportRow, ReportTable, Shown
from experiments.report import markdown_table

# In one pass, so that what a replacement brings in is not replaced again.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "−": r"$-$",
    "–": r"--",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "’": "'",
    "“": "``",
    "”": "''",
}
# Stripes go by line on these pages; a row of three lines is told apart by its rule instead.
_STYLE = (
    ".beside tbody tr { background: none; } .beside tbody td { border-bottom: none; padding-top: .15rem; "
    "padding-bottom: .15rem; } .beside tbody th { vertical-align: top; min-width: 11rem; } "
    ".beside tr.difference td { border-bottom: 1px solid var(--line); color: var(--soft); } "
    ".beside th { padding-top: .15rem; } .beside sup { font-size: .7em; font-weight: 400; color: var(--soft); } "
    ".beside td { vertical-align: top; } .narrow thead th { white-space: normal; } "
    ".narrow small { display: block; } .narrow th, .narrow td { padding-left: .4rem; padding-right: .4rem; }"
)
_WIDE = 3  # columns; wider tables are set closer
_LATEX_PATTERN = re.compile("|".join(map(re.escape, _LATEX)))


def markdown_of(table: ReportTable) -> str:
    """Return the table in Markdown: three lines per row, best bold, worst underlined, letters of notes in brackets."""
    rows = []
    for row in table.rows:
        for place, line in enumerate(LINES):
            entry: dict[str, str] = {"row": _labelled(row) if place == 0 else "", "line": line}
            for number, cell in enumerate(row.cells):
                entry[str(number)] = _markdown(cell.lines()[place], cell.letters if place == 0 else "")
            rows.append(entry)
    columns = {"row": "row", "line": ""} | {str(i): column.heading for i, column in enumerate(table.columns)}
    return markdown_table(rows, columns)


def html_of(table: ReportTable) -> str:
    """Return the table in HTML: three lines per row, marks as in ``markdown_of``, letters of notes raised."""
    headings = "".join(f'<th scope="col" class="number">{html.escape(column.heading)}</th>' for column in table.columns)
    body = []
    for row in table.rows:
        for place, line in enumerate(LINES):
            label = f"{html.escape(row.label)}{_raised(row.letters)}"
            first = f'<th scope="rowgroup" rowspan="{len(LINES)}">{label}</th>' if place == 0 else ""
            cells = "".join(
                f'<td class="number">{_html(cell.lines()[place], cell.letters if place == 0 else "")}</td>'
                for cell in row.cells
            )
            body.append(f'<tr class="{line}">{first}<td>{line}</td>{cells}</tr>')
    head = f'<tr><th scope="col">row</th><th scope="col"></th>{headings}</tr>'
    lines = "\n".join(body)
    style = "beside narrow" if len(table.columns) > _WIDE else "beside"
    return (
        f'<style>{_STYLE}</style>\n<div class="wide"><table class="{style}">\n<thead>{head}</thead>\n'
        f"<tbody>{lines}</tbody>\n</table></div>"
    )


def csv_of(table: ReportTable) -> str:
    """Return one line per cell: numbers in the paper's units, empty where there is none, and why."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            line = {"table": table.name, "row": row.label, "runs": row.runs, "column": column.key}
            line |= {"heading": column.heading, "measure": column.measure} | _csv_numbers(cell)
            line |= {"status": _status(cell), "row_notes": row.letters, "cell_notes": cell.letters}
            if writer is None:
                writer = csv.DictWriter(text, list(line), lineterminator="\n")
                writer.writeheader()
            writer.writerow(line)
    return text.getvalue()


def _csv_numbers(cell: ReportCell) -> dict[str, str]:
    low, high = cell.cell.interval or (None, None)
    return {
        "published": _number(cell.published_value),
        "published_mark": cell.published.mark,
        "ours": _number(cell.cell.value),
        "ours_low": _number(low),
        "ours_high": _number(high),
        "ours_mark": cell.ours.mark,
        "seeds": str(len(cell.cell.by_seed)),
        "difference": _number(cell.difference_value),
    }


def latex_of(table: ReportTable) -> str:
    r"""Return a ``table`` environment with a plain ``tabular``; it needs no package.

    Best values are ``\textbf``, worst ``\underline``; notes follow below the tabular.
    """
    columns = "ll" + "r" * len(table.columns)
    wide = len(table.columns) > _WIDE
    font = "\\scriptsize\n\\setlength{\\tabcolsep}{2pt}" if wide else "\\small"
    head = ["row", "", *(column.heading for column in table.columns)]
    lines = [" & ".join(latex(text) for text in head) + r" \\", r"\hline"]
    for row in table.rows:
        for place, line in enumerate(LINES):
            label = f"{latex(row.label)}{_superscript(row.letters)}" if place == 0 else ""
            cells = [_latex(cell.lines()[place], cell.letters if place == 0 else "") for cell in row.cells]
            lines.append(" & ".join([label, latex(line), *cells]) + r" \\")
        lines.append(r"\hline")
    caption = f"Table {table.name} of the paper beside ours: {table.title}."
    notes = [f"$^{{{letter}}}$ {latex(text)}" for letter, text in table.notes]
    notes += [latex(text.replace("`", "")) for text in (*table.remarks, *table.sentences)]
    body = "\n".join(lines)
    below = "".join(f"\n\\par\\noindent {note}" for note in notes)
    return (
        f"\\begin{{table}}\n\\caption{{{latex(caption)}}}\n\\label{{tab:paper-{table.name}}}\n{font}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\hline\n{body}\n\\end{{tabular}}\n\\par\\medskip\\footnotesize{below}\n"
        f"\\end{{table}}\n"
    )


def latex(text: str) -> str:
    """Escape text for LaTeX; signs that pdfLaTeX does not know become its commands."""
    return _LATEX_PATTERN.sub(lambda found: _LATEX[found.group()], text)


def notes_of(table: ReportTable) -> list[str]:
    """Return the paragraphs under a table: notes with their letters, remarks, comparisons."""
    return [*(f"[{letter}] {text}" for letter, text in table.notes), *table.remarks, *table.sentences]


def _labelled(row: ReportRow) -> str:
    return f"{row.label} [{row.letters}]" if row.letters else row.label


def _markdown(shown: Shown, letters: str) -> str:
    return _wrapped(shown.text, shown.mark, "**", "**", "<u>", "</u>") + (f" [{letters}]" if letters else "")


def _html(shown: Shown, letters: str) -> str:
    # The interval stands smaller beside its score.
    value, bracket, interval = shown.text.partition(" [")
    text = _wrapped(html.escape(value), shown.mark, "<b>", "</b>", "<u>", "</u>")
    small = f" <small>[{html.escape(interval)}</small>" if bracket else ""
    return text + small + _raised(letters)


def _latex(shown: Shown, letters: str) -> str:
    value, bracket, interval = shown.text.partition(" [")
    text = _wrapped(_signed(latex(value)), shown.mark, r"\textbf{", "}", r"\underline{", "}")
    small = f" {{\\scriptsize[{_signed(latex(interval))}}}" if bracket else ""
    return text + small + _superscript(letters)


def _signed(text: str) -> str:
    """Return numbers with a real minus sign."""
    return re.sub(r"-(?=\d)", "$-$", text)


def _wrapped(text: str, mark: Mark, *signs: str) -> str:
    if not mark:
        return text
    start, end = signs[:2] if mark == "best" else signs[2:]
    value, bracket, rest = text.partition(" [")
    return f"{start}{value}{end}{bracket}{rest}"


def _raised(letters: str) -> str:
    return f"<sup>{letters}</sup>" if letters else ""


def _superscript(letters: str) -> str:
    return f"$^{{{letters}}}$" if letters else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _status(cell: ReportCell) -> str:
    return cell.cell.missing or ("ok" if cell.compared else NOT_COMPARED)


def unfinished(tables: Sequence[ReportTable]) -> int:
    """Return the number of cells that wait for a run or its evaluation."""
    waiting = (NOT_RUN, NOT_EVALUATED)
    return sum(cell.cell.missing.startswith(waiting) for table in tables for row in table.rows for cell in row.cells)
