"""Findings about names and text files: hidden files, blanks and case, line ends."""

import os
from collections.abc import Iterable
from pathlib import Path

from datasets.doctor.findings import Finding, finding, some
from datasets.listing import is_left_aside


def hidden_files(root: Path) -> list[Finding]:
    """Return one finding of all hidden files and folders below a folder; it does not look into hidden folders."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        hidden = [name for name in (*folders, *files) if is_left_aside(name)]
        folders[:] = sorted(name for name in folders if name not in hidden)
        found += [str(Path(folder, name).relative_to(root)) for name in sorted(hidden)]
    if not found:
        return []
    what = f"{len(found):,} hidden files or folders are left aside: {some(found)}"
    return [finding("hidden-folder", root, what, "nothing to do; delete them if they are in the way", places=found)]


def windows_line_ends(paths: Iterable[Path]) -> list[Finding]:
    """Return a finding for each text file that ends its lines with CR LF."""
    found = []
    for path in paths:
        try:
            has_them = path.is_file() and b"\r\n" in path.read_bytes()
        except OSError:  # whoever needs the file reports it
            continue
        if has_them:
            found.append(finding("crlf", path, "lines end with CR LF, as on Windows; they are read rightly"))
    return found


def spelling(name: str) -> str:
    """Return what two names share that differ by blanks, underscores, hyphens or case alone."""
    return "".join(name.casefold().split()).replace("_", "").replace("-", "")


def alike_names(where: str | Path, names: Iterable[str], what: str) -> list[Finding]:
    """Return a finding for each two names that differ by blanks or case alone, so that some systems see one file.

    Args:
        where: the folder.
        names: to compare.
        what: they name, such as ``photos``.
    """
    seen: dict[str, str] = {}
    found = []
    for name in sorted(names):
        other = seen.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            text = f"the {what} '{other}' and '{name}' differ by blanks or case alone"
            found.append(finding("name-blanks-or-case", where, text, "rename one: macOS and Windows see one file"))
    return found


def blank_names(where: str | Path, names: Iterable[str], what: str) -> list[Finding]:
    """Return a finding for each name with blanks at an end, or more than one in a row."""
    return [
        finding(
            "name-blanks-or-case",
            where,
            f"the {what} '{name}' has blanks at an end or several in a row",
            "rename it with single blanks, as they are easily lost",
        )
        for name in names
        if name != " ".join(name.split())
    ]


def near_spelling(path: Path) -> str | None:
    """Return the name of a neighbour of a missing file that differs by blanks, case or hyphens alone, if any."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    wanted = spelling(path.stem)
    return next((name for name in sorted(names) if name != path.name and spelling(Path(name).stem) == wanted), None)
