"""Aligned columns of text, wrapped so that a line stays readable."""

import textwrap
from collections.abc import Sequence

WIDTH = 120
GAP = "  "


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Return lines of at most ``width`` characters; long cells are wrapped, empty columns left out.

    A column is never narrower than its longest word, so a table of long words may be wider than asked.
    """
    kept = [column for column in range(len(header)) if any(row[column] for row in rows)]
    table = [[row[column] for column in kept] for row in (header, *rows)]
    widths = _widths(table, width - len(GAP) * (len(kept) - 1))
    lines = [line for row in table for line in _wrapped(row, widths)]
    head = len(_wrapped(table[0], widths))
    lines.insert(head, GAP.join("-" * width for width in widths))
    return "\n".join(lines)


def _widths(table: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the columns' widths: as wide as they wish, the widest narrowed first until all fit."""
    columns = list(zip(*table, strict=True))
    least = [max((len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) > room:
        spare = [wish - need for wish, need in zip(widths, least, strict=True)]
        if not any(spare):
            break
        widest = max((column for column, left in enumerate(spare) if left), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [
        textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, cells))
    padded = [[*lines, *[""] * (height - len(lines))] for lines in cells]
    return [
        GAP.join(lines[number].ljust(width) for lines, width in zip(padded, widths, strict=True)).rstrip()
        for number in range(height)
    ]
