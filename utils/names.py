"""Names that become files and folders: one folder or file below the root, and never a way out of it."""

import re
from collections.abc import Iterable

_RESERVED = "con|prn|aux|nul|conin\\$|conout\\$|(?:com|lpt)[1-9¹²³]"
_RESERVED_NAME = re.compile(rf" *(?:{_RESERVED}) *(?:[.:].*)?", re.IGNORECASE | re.DOTALL)
_DOUBTFUL_PART = re.compile(rf"/ *(?:{_RESERVED})? *[./]", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_NOT_EVERYWHERE = re.compile(r'[<>:"/|?*]')
LONGEST = 240  # bytes; file systems end at 255, and a suffix follows


def name_problem(name: str) -> str | None:
    r"""Say why a name is refused as that of one file or folder inside another; None where it is not.

    Refused is what would lead to another place on some system: empty names, ``.`` and ``..``, leading dots, ``/`` and
    ``\``, drives, names that a system keeps for itself, characters that cannot be printed (NUL, line ends, control
    characters) and more than 240 bytes of UTF-8. Names that a system merely cannot hold, such as ``12:30`` on Windows,
    are read where they are; ``portable_name`` makes those that are written.
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
    if _RESERVED_NAME.fullmatch(name):
        return "is a name that some systems keep for themselves"
    if len(name.encode("utf-8")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def path_problem(path: str) -> str | None:
    """Say why a path with ``/`` cannot be one inside a folder; None where each of its parts is a safe name."""
    if path.startswith("/"):
        return "starts with '/', which leads to another folder"
    if "//" in path or path.endswith("/"):
        return "holds a '/' that no name follows"
    return next((problem for part in path.split("/") if (problem := name_problem(part))), None)


def portable_name(name: str) -> str:
    """Return a name with ``-`` for each character that some system cannot hold, without dots and blanks at the end."""
    return _NOT_EVERYWHERE.sub("-", name).rstrip(". ")


def all_safe(names: Iterable[str]) -> bool:
    """Say quickly whether names and paths are beyond doubt; where not, ``name_problem`` decides."""
    text = "/" + "/".join(names) + "/"
    if not text.isprintable() or "\\" in text or ":" in text or _DOUBTFUL_PART.search(text):
        return False
    return len(text) <= LONGEST if text.isascii() else len(text) * 4 <= LONGEST


def shown(name: str) -> str:
    """Return a name for a message: in quotes, one line, at most 80 characters."""
    return repr(name if len(name) <= 80 else name[:79] + "…")
