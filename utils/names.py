"""Names that become files and folders: one folder or file below the root, and never a way out of it."""

import re
from collections.abc import Iterable

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_DRIVE = re.compile(r"[A-Za-z]:")
LONGEST = 240  # bytes; file systems end at 255, and a suffix follows


def name_problem(name: str) -> str | None:
    r"""Say why a name cannot be that of one file or folder inside another, on any system; None where it can.

    Refused are empty names, ``.`` and ``..``, leading dots, ``/`` and ``\``, drives, names that a system keeps for
    itself, characters that cannot be printed (NUL, line ends, control characters) and more than 240 bytes of UTF-8.
    """
    if not name.strip():
        return "is empty"
    if not name.isprintable():
        return "holds a character that cannot be printed"
    if "/" in name or "\\" in name:
        return "holds a slash or backslash, which would lead to another folder"
    if name.startswith("."):
        return "starts with a dot, which hides it or leads to another folder"
    if _DRIVE.match(name):
        return "starts with a drive"
    if name.partition(".")[0].strip().lower() in _RESERVED:
        return "is a name that some systems keep for themselves"
    if len(name.encode("utf-8")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def path_problem(path: str) -> str | None:
    """Say why a path with ``/`` cannot be one inside a folder; None where each of its parts is a safe name."""
    return next((problem for part in path.split("/") if (problem := name_problem(part))), None)


def all_safe(names: Iterable[str]) -> bool:
    """Say quickly whether names and paths are beyond doubt; where not, ``name_problem`` decides."""
    text = "/" + "/".join(names) + "/"
    return text.isprintable() and "\\" not in text and "/." not in text and "//" not in text and ":" not in text


def shown(name: str) -> str:
    """Return a name for a message: in quotes, one line, at most 80 characters."""
    return repr(name if len(name) <= 80 else name[:79] + "…")
