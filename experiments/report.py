"""Tables and a page that people read: plain text for a terminal, Markdown, and one self-contained HTML file."""

import base64
import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.files import write_text

UNDEFINED = "n/a"
HEADINGS = {
    "top1": "top-1",
    "top5": "top-5",
    "macro_f1": "macro-F1",
    "macro_f1_declared": "macro-F1, declared classes",
    "ambiguous_f1": "ambiguous-F1",
    "ambiguous_f1_subset": "ambiguous-F1, subset",
    "n_pairs": "pairs",
    "n_groups": "groups",
    "n_classes": "classes",
    "n_classes_averaged": "classes averaged",
}

Row = Mapping[str, Any]
Columns = Mapping[str, str] | Sequence[str] | None


class Change(float):
    """A difference of scores; a table shows it, and its interval, with a sign."""


class PValue(float):
    """A p-value; a table never shows it as 0."""


@dataclass(frozen=True)
class Block:
    """A table that was written elsewhere, once for each kind of page, such as one whose cells carry marks."""

    html: str
    markdown: str


@dataclass(frozen=True)
class Section:
    """A part of a page: a table, paragraphs and pictures under a heading.

    Attributes:
        heading: empty for none.
        rows: of the table, as in ``text_table``; none leaves the table out.
        columns: as in ``text_table``.
        notes: paragraphs after the table; what stands between backticks is set as code.
        images: caption and PNG file, embedded in order.
        folded: show the heading alone until it is clicked.
        block: stands before the table; its HTML is taken as it is.
    """

    heading: str = ""
    rows: Sequence[Row] = ()
    columns: Columns = None
    notes: Sequence[str] = ()
    images: Sequence[tuple[str, Path]] = ()
    folded: bool = False
    block: Block | None = None


def format_score(value: float | None, interval: Sequence[float] | None = None, digits: int = 3) -> str:
    """Return a score with its interval, such as ``0.974 [0.951, 0.990]``; ``n/a`` where there is no score."""
    if value is None:
        return UNDEFINED
    if isinstance(value, PValue):
        return f"{value:.{digits}f}" if value >= 0.5 * 10**-digits else f"<{10**-digits:.{digits}f}"
    form = f"{'+' if isinstance(value, Change) else ''}.{digits}f"
    text = f"{value:{form}}"
    return f"{text} [{interval[0]:{form}}, {interval[1]:{form}}]" if interval is not None else text


def text_table(rows: Sequence[Row], columns: Columns = None) -> str:
    """Return an aligned table for a terminal: text to the left, numbers to the right.

    Args:
        rows: one mapping per line. A fraction under ``name`` is shown with the interval under ``name_ci``, if there
            is one. Missing keys and None are shown as ``n/a``, an empty text as nothing.
        columns: keys in order, or keys with their headings; None takes every key of the rows except the intervals.
    """
    table = _Table(rows, columns)
    head, *body = table.padded()
    rule = ["-" * display_width(cell) for cell in head]
    return "\n".join("  ".join(line).rstrip() for line in [head, rule, *body])


def markdown_table(rows: Sequence[Row], columns: Columns = None) -> str:
    """Return the rows as a Markdown table that also reads well as plain text; the arguments of ``text_table``."""
    table = _Table(rows, columns, escape=lambda cell: cell.replace("|", "\\|").replace("\n", " "))
    head, *body = table.padded(least=3)
    widths = [display_width(cell) for cell in head]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, table.right, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def write_report(
    path: Path,
    title: str,
    rows: Sequence[Row],
    images: Sequence[tuple[str, Path]] = (),
    notes: Sequence[str] = (),
    *,
    columns: Columns = None,
) -> None:
    """Write one HTML page that needs no other file: a table, notes and pictures.

    It reads on a phone and on a desktop, by day and by night; a click, or the space bar, shows a picture at full size.

    Args:
        path: of the page.
        title: of the page.
        rows: of the table, as in ``text_table``; none leaves the table out.
        images: caption and PNG file, embedded in order.
        notes: paragraphs between table and pictures; what stands between backticks is set as code.
        columns: as in ``text_table``.
    """
    write_page(path, title, [Section("", rows, columns, notes, images)])


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write one HTML page of several sections that needs no other file; it reads as that of ``write_report`` does."""
    write_text(path, html_page(title, list(map(_html_section, sections))))


def html_page(title: str, parts: Sequence[str]) -> str:
    """Return a whole HTML page: the title as its heading, then the parts, which are HTML already."""
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *parts])
    return _PAGE.format(title=html.escape(title), style=_STYLE, body=body)


def write_markdown(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the sections of a page as Markdown; pictures in the file's folder or below it are linked."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.heading}"] if section.heading else []
        parts += [section.block.markdown] if section.block is not None else []
        parts += [markdown_table(section.rows, section.columns)] if section.rows else []
        parts += section.notes
        parts += [
            f"![{caption}]({image.relative_to(path.parent).as_posix()})"
            for caption, image in section.images
            if image.is_relative_to(path.parent)
        ]
    write_text(path, "\n\n".join(parts) + "\n")


def _html_section(section: Section) -> str:
    parts = [section.block.html] if section.block is not None else []
    parts += [_html_table(_Table(section.rows, section.columns))] if section.rows else []
    parts += [f"<p>{_prose(note)}</p>" for note in section.notes]
    parts += [_html_figure(caption, image.read_bytes()) for caption, image in section.images]
    heading = html.escape(section.heading)
    if section.folded:
        return "\n".join([f"<details><summary>{heading}</summary>", *parts, "</details>"])
    return "\n".join([f"<h2>{heading}</h2>", *parts] if heading else parts)


def display_width(text: str) -> int:
    """Return the number of terminal columns that ``text`` takes; East Asian wide characters take two."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


class _Table:
    """Cells as text, each passed through ``escape``, with the columns that hold numbers marked."""

    def __init__(self, rows: Sequence[Row], columns: Columns, escape: Callable[[str], str] = str) -> None:
        if columns is None:
            seen = dict.fromkeys(key for row in rows for key in row)
            columns = [key for key in seen if not (key.endswith("_ci") and key.removesuffix("_ci") in seen)]
        if not isinstance(columns, Mapping):
            columns = {key: HEADINGS.get(key, key.replace("_", " ")) for key in columns}
        if not columns:
            raise ValueError("a table needs at least one column")
        self.headings = [escape(heading) for heading in columns.values()]
        self.cells = [[escape(_cell(row, key)) for key in columns] for row in rows]
        self.right = [bool(rows) and all(_is_number(row.get(key)) for row in rows) for key in columns]

    def padded(self, least: int = 1) -> list[list[str]]:
        """Return the headings and the lines, every cell as wide as its column, ``least`` at the least."""
        lines = [self.headings, *self.cells]
        widths = [max(least, *map(display_width, column)) for column in zip(*lines, strict=True)]
        return [
            [_pad(cell, width, right) for cell, width, right in zip(line, widths, self.right, strict=True)]
            for line in lines
        ]


def _is_number(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return format_score(value, row.get(f"{key}_ci"))
    return str(value)


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _html_table(table: _Table) -> str:
    def line(cells: Sequence[str], scope: str) -> str:
        parts = []
        for number, (cell, right) in enumerate(zip(cells, table.right, strict=True)):
            tag = "th" if scope == "col" or number == 0 else "td"
            attributes = f' scope="{scope}"' if tag == "th" else ""
            attributes += ' class="number"' if right else ""
            # The interval stands smaller beside its score.
            text = re.sub(r"(\[[^\]]*\])$", r"<small>\1</small>", html.escape(cell)) if right else html.escape(cell)
            parts.append(f"<{tag}{attributes}>{text}</{tag}>")
        return "<tr>" + "".join(parts) + "</tr>"

    body = "\n".join(line(cells, "row") for cells in table.cells)
    head = line(table.headings, "col")
    return f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table></div>'


def _html_figure(caption: str, png: bytes) -> str:
    text = html.escape(caption)
    data = base64.b64encode(png).decode("ascii")
    return (
        f"<figure><figcaption>{text}</figcaption>"
        f'<label><input type="checkbox" aria-label="full size: {text}">'
        f'<span class="wide"><img alt="{text}" src="data:image/png;base64,{data}"></span></label></figure>'
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { --ink: #222; --soft: #5f6368; --line: #dadce0; --page: #fff; --stripe: #f6f7f9; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a8adb3; --line: #3c4043; --page: #17191c; --stripe: #1f2226; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2, summary { font-size: 1.2rem; font-weight: 600; line-height: 1.3; margin: 2.2rem 0 .6rem; }
summary { cursor: pointer; margin-bottom: .8rem; }
p { max-width: 46rem; }
pre { overflow-x: auto; font-size: .85rem; }
code { font-size: .9em; background: var(--stripe); padding: .1em .3em; border-radius: 3px; white-space: nowrap;
  display: inline-block; max-width: 100%; overflow-x: auto; vertical-align: bottom; }
.wide { display: block; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
th, td { padding: .45rem .8rem; text-align: left; border-bottom: 1px solid var(--line); }
thead th { font-size: .85rem; color: var(--soft); vertical-align: bottom; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 600; }
tbody tr:nth-child(even) { background: var(--stripe); }
.number { text-align: right; white-space: nowrap; }
small { color: var(--soft); }
figure { margin: 2rem 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); cursor: zoom-in; }
input { position: absolute; opacity: 0; pointer-events: none; }
input:focus-visible + .wide { outline: 2px solid var(--accent); }
input:checked + .wide img { max-width: none; cursor: zoom-out; }
@media (max-width: 640px) { small { display: block; } th, td { padding: .35rem .5rem; } }
"""
