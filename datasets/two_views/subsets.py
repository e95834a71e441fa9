"""A text file that names some of the photos below a folder."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from utils.errors import DataError, nearest, problem_list

_MOST_SHOWN = 10
_MOST_HINTS = 3
_MOST_COMPARED = 2000  # names that a wrong one is compared with, which takes about 50 µs each
_PATH, _FOLDER, _PATH_STEM, _NAME, _STEM = range(5)  # how an entry can name a photo, strongest first


def choose(names: list[str], file: Path, root: Path, section: str = "data") -> list[str]:
    """Return the names that a file lists, in the order of ``names``.

    A line holds a path below the root, a file's name, either with or without its ending, or a folder, for all that
    lies in it. Where several photos have a name, the one in the folder that is called like the text before its ``_``
    is meant, as in ImageNet (``n01440764_10183.JPEG``).

    Args:
        names: sorted paths below ``root`` with ``/``.
        file: UTF-8 text, one entry per line; blank lines mean nothing.
        root: for messages.
        section: of the option ``subset`` that names the file, for messages.

    Raises:
        DataError: the file cannot be read or is empty; an entry that names nothing, a photo that another entry named,
            or several photos; all of them are told.
    """
    entries = _read(file, section)
    found = _matches(names, set(entries.values()))
    chosen: dict[int, int] = {}
    problems, unknown = [], 0
    for line, entry in entries.items():
        rows = _meant(names, entry, found.get(entry, []))
        if not rows:
            unknown += 1
            hint = nearest(entry, _candidates(names, entry)) if unknown <= _MOST_HINTS else ""
            problems.append(f"line {line}: '{entry}' names no photo below {root}{hint}")
        elif len(rows) > 1 and not _is_folder(found[entry]):
            problems.append(
                f"line {line}: '{entry}' may be {names[rows[0]]} or {names[rows[1]]}; write the path below {root}"
            )
        else:
            twice = [row for row in rows if row in chosen]
            if twice:
                problems.append(
                    f"line {line}: '{entry}' names {names[twice[0]]}, as line {chosen[twice[0]]} does; remove one"
                )
            chosen.update((row, line) for row in rows if row not in chosen)
    if problems:
        more = len(problems) - _MOST_SHOWN
        about = f" ({unknown} of {len(entries)} entries name no photo)" if unknown > 1 else ""
        shown = [*problems[:_MOST_SHOWN], f"and {more} more"] if more > 0 else problems
        raise DataError(problem_list(f"{file} cannot be used{about}", shown))
    return [names[row] for row in sorted(chosen)]


def _read(file: Path, section: str) -> dict[int, str]:
    """Return the entries of a file by line, counted from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{section}.subset {file} cannot be read ({error.strerror or error}); set another file"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{section}.subset {file} is no UTF-8 text; list one photo per line") from None
    lines = ((number, _plain(line)) for number, line in enumerate(text.splitlines(), start=1))
    entries = {number: line for number, line in lines if line}
    if not entries:
        raise DataError(f"{section}.subset {file} names no photo; list one per line")
    return entries


def _plain(line: str) -> str:
    return line.strip().replace("\\", "/").removeprefix("./").rstrip("/")


def _matches(names: list[str], wanted: set[str]) -> dict[str, list[tuple[int, int]]]:
    """Return (kind, row) of the photos that each wanted entry may name, in one pass over the names."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row, name in enumerate(names):
        for kind, text in _texts(name):
            if text in wanted:
                found.setdefault(text, []).append((kind, row))
    return found


def _texts(name: str) -> Iterator[tuple[int, str]]:
    """Yield what an entry may call a photo."""
    folder, _, last = name.rpartition("/")
    yield _PATH, name
    yield _PATH_STEM, name[: name.rfind(".")]
    yield _NAME, last
    yield _STEM, last[: last.rfind(".")]
    while folder:
        yield _FOLDER, folder
        folder = folder.rpartition("/")[0]


def _is_folder(matches: list[tuple[int, int]]) -> bool:
    return min(kind for kind, _ in matches) == _FOLDER


def _meant(names: list[str], entry: str, matches: list[tuple[int, int]]) -> list[int]:
    """Return the rows of the strongest kind; of several photos of one name the one in its class folder, if any."""
    if not matches:
        return []
    strongest = min(kind for kind, _ in matches)
    rows = [row for kind, row in matches if kind == strongest]
    if len(rows) > 1 and strongest in (_NAME, _STEM):
        own = entry.partition("_")[0]
        return [row for row in rows if PurePosixPath(names[row]).parent.name == own] or rows
    return rows


def _candidates(names: list[str], entry: str) -> list[str]:
    """Return the names that an entry is compared with: all, or those that start alike."""
    compared = names if "/" in entry else [name.rpartition("/")[2] for name in names]
    for length in (0, 10, 5, 3):
        alike = [name for name in compared if name.startswith(entry[:length])]
        if alike and (length or len(alike) <= _MOST_COMPARED):
            return alike[:_MOST_COMPARED]
    return []
